"""Which previews are finished, and whether previews are worth having at all: both by what is recorded."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipelines.search.trajectory import Candidate, History
from pipelines.settings.search import SearchSettings
from predictor.metrics import srocc

LEAST_PAIRS = 8
"""With fewer the rank correlation says too little to switch anything off."""


def agreement(history: History) -> float | None:
    """Rank correlation (SROCC) of preview and final score over all that a trajectory has finished; None: too few.

    From the second round on only the best previews are finished, which draws it towards zero; the first round is whole.
    """
    pairs = [
        (candidate.preview_score, candidate.score)
        for iteration in history
        for candidate in iteration.candidates
        if candidate.preview_score is not None and candidate.score is not None
    ]
    if len(pairs) < LEAST_PAIRS:
        return None
    preview, final = np.array(pairs).T
    return float(srocc(preview, final))


def previews_help(history: History, protocol: SearchSettings) -> bool:
    """Whether the next round of a trajectory has previews: while they rank as the finished images do."""
    measured = agreement(history)
    return measured is None or (not math.isnan(measured) and measured >= protocol.preview_agreement)


def best_previews(candidates: Sequence[Candidate], keep: int) -> list[Candidate]:
    """The candidates, all but the best previews rejected with their rank; of equals the earliest is better."""
    ranked = sorted(
        (place for place, candidate in enumerate(candidates) if candidate.preview_score is not None),
        key=lambda place: -(candidates[place].preview_score or 0.0),
    )
    marked = list(candidates)
    for rank, place in enumerate(ranked[keep:], start=keep + 1):
        marked[place] = replace(candidates[place], rejected=f"preview: ranked {rank} of {len(ranked)}")
    return marked
