"""Which previews are finished into images, and whether previews are of use at all: both follow from the history."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipelines.search.history import History
from pipelines.search.notices import Check, Notice
from pipelines.search.rounds import Candidate
from pipelines.settings.search import SearchSettings
from predictor.metrics import srocc

LEAST_PAIRS = 8
"""With fewer pairs of scores the rank correlation is too uncertain to switch previews off by."""


def agreement(history: History, user: str) -> float | None:
    """Rank correlation (SROCC) of preview and final score over all images that were finished for a user.

    Of proposals that several users share, previews are scored for the first of them, and so are the images here.

    None where there are fewer than `LEAST_PAIRS`. The first round is finished whole. From the second on only the best
    previews are, and this restriction of range lowers the correlation.
    """
    pairs = [
        (candidate.preview_score, score)
        for _, proposals in history.proposed_for(user)
        for candidate in proposals.candidates
        if candidate.preview_score is not None and (score := history.score(proposals.users[0], candidate)) is not None
    ]
    if len(pairs) < LEAST_PAIRS:
        return None
    preview, final = np.array(pairs).T
    return float(srocc(preview, final))


def previews_help(history: History, user: str, settings: SearchSettings) -> bool:
    """Whether a user's next round has previews: as long as they rank candidates as the images do."""
    measured = agreement(history, user)
    return measured is None or (not math.isnan(measured) and measured >= settings.preview_agreement)


def best_previews(candidates: Sequence[Candidate], keep: int) -> list[Candidate]:
    """The candidates, with all but the `keep` best previews rejected; of equal scores the earlier ranks higher."""
    ranked = sorted(
        (place for place, candidate in enumerate(candidates) if candidate.preview_score is not None),
        key=lambda place: -(candidates[place].preview_score or 0.0),
    )
    marked = list(candidates)
    for rank, place in enumerate(ranked[keep:], start=keep + 1):
        notice = Notice(Check.PREVIEW, rank, keep, f"ranked {rank} of {len(ranked)}")
        marked[place] = replace(candidates[place], rejected=notice)
    return marked
