"""For whom an interval holds: other people, other prompts, both, or just those who were asked.

A vote shares its participant with some votes and its prompt with others. With the variances of an estimate by
participant a, by prompt b, by their cells e (the votes of one participant on one prompt, which the other two both
count) and by single votes, the variance for other people *and* other prompts is two-way clustered,

    A = max(a, e),   B = max(b, e),   V = A + B − e    (Cameron, Gelbach and Miller 2011, J. Bus. Econ. Stat. 29),

where the maxima keep V above either way alone (MacKinnon, Nielsen and Webb 2024, arXiv:2406.08880), with

    max{ V² / (A²/(G* − 1) + B²/(P* − 1)),  min(G*, P*) − 1,  1 }                        (Satterthwaite 1946)

degrees of freedom of t, and no more than those of all estimates taken together: else one whose B is small by chance
would have a large t and many degrees of freedom at once, and with four prompts three in forty studies would claim what
is not there. G* = n²/Σ n_g² is the number of participants with equally many votes that the votes are worth (Kish 1965),
P* that of prompts. Where everybody sees every prompt equally often V is that of Clark's min F′ (1973).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Codes = NDArray[np.int64]
Generalisation = Literal["people+prompts", "people", "prompts", "these"]
GENERALISATIONS: tuple[Generalisation, ...] = get_args(Generalisation)

MEANINGS: Mapping[Generalisation, str] = {
    "people+prompts": "other people and other prompts",
    "people": "other people, on these very prompts",
    "prompts": "these very people, on other prompts",
    "these": "these very people on these very prompts, voting once more",
}
"""What the intervals and tests hold for, in words."""

CLUSTERED: Mapping[Generalisation, str] = {
    "people+prompts": "two-way clustered by participant and prompt",
    "people": "clustered by participant",
    "prompts": "clustered by prompt",
    "these": "by single votes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """How much was sampled."""

    people: float
    """G*; 1 for one participant."""
    prompts: float
    votes: int
    """Those of one ballot count once."""

    @classmethod
    def of(cls, participant: Codes, prompt: Codes, ballot: Codes | None = None) -> "Sample":
        """Of votes that are coded by participant and prompt, and by ballot where some are one answer; each (n,)."""
        votes = len(participant) if ballot is None else len(np.unique(ballot))
        return cls(people=_equal_groups(participant), prompts=_equal_groups(prompt), votes=votes)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Variances:
    """Variances (M,) of M estimates."""

    people: Numbers
    prompts: Numbers
    cells: Numbers
    votes: Numbers
    sample: Sample


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Errors:
    """Standard errors (M,) of M estimates, and their degrees of freedom; nan where nothing can be said."""

    error: Numbers
    freedom: Numbers

    def half_width(self, level: float = 0.95) -> Numbers:
        """Half of each interval's width (M,)."""
        from scipy.special import stdtrit

        return stdtrit(self.freedom, (1 + level) / 2) * self.error

    def p_values(self, estimate: Numbers) -> Numbers:
        """Two-sided p values (M,) of no effect."""
        from scipy.special import stdtr

        with np.errstate(divide="ignore", invalid="ignore"):
            return 2 * stdtr(self.freedom, -np.abs(estimate / self.error))


def errors_for(variances: Variances, to: Generalisation) -> Errors:
    """Standard errors and degrees of freedom for whom they are to hold.

    With one participant nothing can be said of other people, with one prompt nothing of other prompts: nan. Yet for
    "people+prompts" one prompt alone gives the errors for "people", which whoever reports them has to say.
    """
    sample = variances.sample
    people, prompts = sample.people - 1, sample.prompts - 1
    if to == "these":
        return _one_way(variances.votes, sample.votes - 1.0)
    if to == "prompts":
        return _one_way(variances.prompts, prompts)
    if to == "people" or (prompts < 1e-9 and people > 1e-9):
        return _one_way(variances.people, people)
    if people < 1e-9:
        return _one_way(variances.people, 0.0)
    a, b = np.maximum(variances.people, variances.cells), np.maximum(variances.prompts, variances.cells)
    v, least = a + b - variances.cells, max(min(people, prompts), 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        own = v**2 / (a**2 / people + b**2 / prompts)
        together = v.sum() ** 2 / (a.sum() ** 2 / people + b.sum() ** 2 / prompts)
    return Errors(error=np.sqrt(v), freedom=np.fmax(np.fmin(own, together), least))


def without_gaps(group: Codes) -> Codes:
    """The groups numbered without gaps."""
    most = int(group.max(initial=0))
    if most > 4 * len(group) + 1024:
        return np.unique(group, return_inverse=True)[1]
    present = np.bincount(group, minlength=most + 1) > 0
    return group if present.all() else (np.cumsum(present) - 1)[group]


def _one_way(variance: Numbers, freedom: float) -> Errors:
    known = freedom > 1e-9
    error = np.sqrt(variance.clip(0)) if known else np.full_like(variance, math.nan)
    return Errors(error=error, freedom=np.full_like(variance, max(freedom, 1.0) if known else math.nan))


def _equal_groups(group: Codes) -> float:
    size = np.bincount(group).astype(float)
    return float(len(group) ** 2 / (size @ size)) if len(group) else 0.0
