"""How likely a person's answers are, given how well they like the images: value, gradient and curvature.

The unknowns are the utilities f of N images, in units of the rating scale, and two offsets of the person's own: the
level of their ratings and the threshold of their likes. Utilities are perceived with normal noise of variance s²:

    rating            f + level + noise
    like              noise makes f exceed the threshold (probit)
    pair              Phi((f_a - f_b - h) / sqrt(2) s), a tie in between (Thurstone 1927; Glenn and David 1960)
    choice, order     softmax(f / tau) with tau = sqrt(6) s / pi, the best first and then the next, or the worst by
                      softmax(-f / tau) of what is left (Plackett 1975; Marley and Louviere 2005)

The tie zone h counts only for a person who ever said that two are alike: others may not have been asked. All terms are
log-concave, so that there is one mode.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from predictor.taste.evidence import Answer, Choice, Like, Order, Pair, Rating

LEVEL, THRESHOLD = 0, 1
"""Places of the offsets behind the utilities."""

_LOG_ROOT_TAU = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True, slots=True)
class Terms:
    """A log likelihood at one point: its value, its gradient (D,), and its negative second derivatives (D, D)."""

    value: float
    gradient: Tensor
    curvature: Tensor


class Likelihood:
    """The likelihood of answers about `images` images; D = images + 2 unknowns.

    Parameters
    ----------
    noise
        Variance of the perceived utility of one image in one question, s².
    tie_zone
        h: differences below it may be called a tie.
    """

    def __init__(self, answers: Sequence[Answer], images: int, *, noise: float, tie_zone: float) -> None:
        self._dimensions = images + 2
        self._noise = noise
        ratings = [answer for answer in answers if isinstance(answer, Rating)]
        likes = [answer for answer in answers if isinstance(answer, Like)]
        pairs = [answer for answer in answers if isinstance(answer, Pair)]
        won = [pair for pair in pairs if pair.preferred is not None]
        tied = [pair for pair in pairs if pair.preferred is None]
        level, threshold = images + LEVEL, images + THRESHOLD
        self._rating = self._design([((answer.image, 1.0), (level, 1.0)) for answer in ratings])
        self._rated = torch.tensor([answer.rating for answer in ratings], dtype=torch.float64)
        sign = [1.0 if answer.liked else -1.0 for answer in likes]
        s, self._spread = noise**0.5, (2 * noise) ** 0.5
        liked = [((answer.image, way / s), (threshold, way / s)) for answer, way in zip(likes, sign, strict=True)]
        better = [(pair.preferred, pair.second if pair.preferred == pair.first else pair.first) for pair in won]
        preferred = [((a, 1 / self._spread), (b, -1 / self._spread)) for a, b in better if a is not None]
        margin = (tie_zone if tied else 0.0) / self._spread
        self._margin = margin
        self._probit = self._design([*liked, *preferred])
        self._probit_offset = torch.tensor([0.0] * len(liked) + [-margin] * len(preferred), dtype=torch.float64)
        self._tie = self._design([((p.first, 1 / self._spread), (p.second, -1 / self._spread)) for p in tied])
        stages = [stage for answer in answers if isinstance(answer, Choice | Order) for stage in _stages(answer)]
        tau = (6 * noise) ** 0.5 / math.pi
        self._option = torch.tensor([row for _, rows in stages for row in rows], dtype=torch.int64)
        self._weight = torch.tensor([way / tau for way, rows in stages for _ in rows], dtype=torch.float64)
        self._stage = torch.tensor([n for n, (_, rows) in enumerate(stages) for _ in rows], dtype=torch.int64)
        first = [place == 0 for _, rows in stages for place in range(len(rows))]
        self._chosen = torch.tensor(first, dtype=torch.bool)
        self._stages = len(stages)
        kinds = {
            self._ratings: self._rating,
            self._probits: self._probit,
            self._ties: self._tie,
            self._choices: self._option,
        }
        self._present = [terms for terms, design in kinds.items() if len(design)]

    def _design(self, rows: Sequence[Sequence[tuple[int, float]]]) -> Tensor:
        """Linear predictors as rows over the unknowns, each by its non-zero weights."""
        design = torch.zeros(len(rows), self._dimensions, dtype=torch.float64)
        cells = [(number, place, weight) for number, row in enumerate(rows) for place, weight in row]
        if cells:
            numbers, places, weights = zip(*cells, strict=True)
            design[list(numbers), list(places)] = torch.tensor(weights, dtype=torch.float64)
        return design

    def __call__(self, unknowns: Tensor) -> Terms:
        """The log likelihood at utilities and offsets (D,)."""
        parts = [terms(unknowns) for terms in self._present]
        return Terms(
            sum(part.value for part in parts),
            sum((part.gradient for part in parts), torch.zeros(self._dimensions, dtype=torch.float64)),
            sum((part.curvature for part in parts), torch.zeros(2 * (self._dimensions,), dtype=torch.float64)),
        )

    def _ratings(self, unknowns: Tensor) -> Terms:
        design, residual = self._rating, self._rated - self._rating @ unknowns
        return Terms(
            -0.5 * float(residual @ residual) / self._noise,
            design.T @ residual / self._noise,
            design.T @ design / self._noise,
        )

    def _probits(self, unknowns: Tensor) -> Terms:
        design = self._probit
        z = design @ unknowns + self._probit_offset
        log_p = torch.special.log_ndtr(z)
        mills = torch.exp(-0.5 * z * z - _LOG_ROOT_TAU - log_p)
        return Terms(float(log_p.sum()), design.T @ mills, design.T @ ((mills * (mills + z))[:, None] * design))

    def _ties(self, unknowns: Tensor) -> Terms:
        design = self._tie
        signed = design @ unknowns
        z, way = signed.abs(), torch.where(signed < 0, -1.0, 1.0).double()
        upper, lower = -(z - self._margin), -(z + self._margin)  # P = Phi(upper) - Phi(lower), in the lower tail
        log_upper, log_lower = torch.special.log_ndtr(upper), torch.special.log_ndtr(lower)
        log_p = log_upper + torch.log(-torch.expm1(log_lower - log_upper))
        a, b = (torch.exp(-0.5 * x * x - _LOG_ROOT_TAU - log_p) for x in (upper, lower))
        slope = -(a - b)  # of log_p by z
        return Terms(
            float(log_p.sum()),
            design.T @ (slope * way),
            design.T @ ((upper * a - lower * b + slope * slope)[:, None] * design),
        )

    def _choices(self, unknowns: Tensor) -> Terms:
        option, weight, stage = self._option, self._weight, self._stage
        utility = weight * unknowns[option]
        highest = torch.full((self._stages,), -torch.inf, dtype=torch.float64).scatter_reduce(0, stage, utility, "amax")
        odds = torch.exp(utility - highest[stage])
        total = torch.zeros(self._stages, dtype=torch.float64).index_add(0, stage, odds)
        share = odds / total[stage]
        nothing = torch.zeros(self._dimensions, dtype=torch.float64)
        mean = torch.zeros(self._stages, self._dimensions, dtype=torch.float64)
        mean[stage, option] = share * weight  # a stage has every option once
        return Terms(
            float((utility - highest[stage])[self._chosen].sum() - total.log().sum()),
            nothing.index_add(0, option, weight * (self._chosen.double() - share)),
            torch.diag(nothing.index_add(0, option, share * weight**2)) - mean.T @ mean,
        )


def _stages(answer: Choice | Order) -> list[tuple[float, list[int]]]:
    """Softmax choices that make up an answer: +1 for the best, -1 for the worst, and the options, the chosen first."""
    if isinstance(answer, Order):
        return [(1.0, list(answer.shown[place:])) for place in range(len(answer.shown) - 1)]
    left, stages = list(answer.shown), []
    for way, chosen in ((1.0, answer.best), (-1.0, answer.worst)):
        if chosen is not None and len(left) > 1:
            stages.append((way, [chosen, *(row for row in left if row != chosen)]))
            left.remove(chosen)
    return stages
