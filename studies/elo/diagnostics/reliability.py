"""How far votes can be trusted: the same person asked twice, and different people asked the same."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictor.metrics import Interval
from studies.elo.inference.clustered import Clusters, clustered_ratio, clustered_share
from studies.elo.inference.intervals import Generalisation
from studies.elo.pair_counts import FIRST, SECOND, TIED, outcomes_of
from studies.elo.votes import LEFT, TIE, Votes

Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retest:
    """What participants answered when a trial came again."""

    repeats: int
    unmatched: int
    """Repeats whose first showing has no vote."""
    same: Interval
    """Share of repeats with the same answer."""
    kappa: float
    """Cohen's kappa (1960, Educ. Psychol. Meas. 20): 0 is chance, 1 is always the same; nan if all answers are one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What different participants answered to the same comparison."""

    unit: str
    """What counts as the same comparison."""
    units: int
    """Comparisons with two participants or more."""
    pairwise: Interval
    """Chance that two participants on the same comparison answer alike; every two answers count alike."""
    alpha: float
    """Krippendorff's alpha for nominal data (2019, Content Analysis, ch. 12): 0 is chance, 1 is perfect."""


def retest(votes: Votes, to: Generalisation) -> Retest | None:
    """Repeats against first showings, matched by participant and trial; None where nothing was repeated."""
    if votes.trial is None or not votes.repeat.any():
        return None
    key = votes.participant * (int(votes.trial.max()) + 1) + votes.trial
    answer = _answers(votes)
    first, again = np.flatnonzero(~votes.repeat), np.flatnonzero(votes.repeat)
    keys, position = np.unique(key[first], return_index=True)
    at = np.searchsorted(keys, key[again]).clip(0, max(0, len(keys) - 1))
    matched = keys[at] == key[again] if len(keys) else np.zeros(len(again), bool)
    before, after = answer[first[position[at[matched]]]] if len(keys) else answer[:0], answer[again[matched]]
    clusters = Clusters.among(votes, again[matched])
    return Retest(
        repeats=int(matched.sum()),
        unmatched=int((~matched).sum()),
        same=clustered_share(clusters, (before == after).astype(float), to),
        kappa=_kappa(before, after),
    )


def agreement(votes: Votes, to: Generalisation) -> Agreement | None:
    """Agreement of participants about the same comparison; None where no comparison has two participants.

    The same comparison is the same two images where images are known, else the same trial, else the same prompt with
    the same two conditions. A participant's first vote on each counts.
    """
    unit, name = _units(votes)
    people = max(1, len(votes.participants))
    key = unit * people + votes.participant
    rows = np.argsort(key, kind="stable")
    key = key[rows]
    first = np.diff(key, prepend=-1) > 0
    rows, unit = rows[first], key[first] // people
    unit = np.cumsum(np.diff(unit, prepend=-1) > 0) - 1
    answer = _answers(votes)[rows]
    units = int(unit.max(initial=-1)) + 1
    answers = np.bincount(3 * unit + answer, minlength=3 * units).reshape(units, 3).astype(float)
    shared = answers.sum(1)[unit] >= 2
    if not shared.any():
        return None
    others = answers.sum(1)[unit] - 1
    clusters = Clusters.among(votes, rows[shared])
    alike = (answers[unit, answer] - 1)[shared]
    return Agreement(
        unit=name,
        units=int((answers.sum(1) >= 2).sum()),
        pairwise=clustered_ratio(clusters, alike, others[shared], to, twice=True),
        alpha=_alpha(answers[answers.sum(1) >= 2]),
    )


def _alpha(answers: NDArray[np.float64]) -> float:
    """Krippendorff's alpha of answers (units, 3), two or more a unit."""
    size, total = answers.sum(1), answers.sum(0)
    alike = (answers * (answers - 1)).sum(1)
    observed = 1 - (alike / (size - 1)).sum() / size.sum()
    expected = 1 - (total * (total - 1)).sum() / (size.sum() * (size.sum() - 1))
    return float(1 - observed / expected) if expected > 0 else math.nan


def _answers(votes: Votes) -> Codes:
    """FIRST, SECOND or TIED of what was compared, whichever side it stood on: images where known, else conditions."""
    if votes.left_image is None or votes.right_image is None:
        return outcomes_of(votes)[1]
    left_is_first = votes.left_image <= votes.right_image
    return np.where(votes.outcome == TIE, TIED, np.where(left_is_first == (votes.outcome == LEFT), FIRST, SECOND))


def _units(votes: Votes) -> tuple[Codes, str]:
    pair, _ = outcomes_of(votes)
    conditions = len(votes.conditions)
    if votes.left_image is not None and votes.right_image is not None:
        low, high = np.minimum(votes.left_image, votes.right_image), np.maximum(votes.left_image, votes.right_image)
        return low * (int(high.max(initial=0)) + 1) + high, "the same two images"
    if votes.trial is not None:
        return votes.trial * conditions**2 + pair, "the same trial"
    return votes.prompt * conditions**2 + pair, "the same prompt and the same two conditions"


def _kappa(before: Codes, after: Codes) -> float:
    if not len(before):
        return math.nan
    table = np.zeros((3, 3))
    np.add.at(table, (before, after), 1 / len(before))
    chance = float(table.sum(0) @ table.sum(1))
    return (float(np.trace(table)) - chance) / (1 - chance) if chance < 1 else math.nan
