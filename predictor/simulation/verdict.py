"""The true liking, by simulated raters, of images that were steered for them and for others.

    own      the image steered for the rater
    other    the images of the same prompt steered for everybody else, averaged
    initial  the image of the base prompt

Values are true liking, 0 to 1. Raters are the independent units: prompts and runs are averaged within each rater, and
intervals come from a bootstrap over raters, paired for the differences.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictor.metrics import Interval, bootstrap_mean
from predictor.simulation.raters import Rater

FEW_RATERS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Steered:
    """The outcome of steering one prompt for one rater; images by any key."""

    user: str
    prompt_id: str
    run: int
    initial: str
    final: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Mean true liking by condition, and paired differences, each with its 95% interval over raters."""

    raters: int
    cases: int
    means: Mapping[str, Interval]
    differences: Mapping[str, Interval]

    @property
    def caveat(self) -> str | None:
        """The caveat of intervals over few raters; None over enough."""
        if self.raters >= FEW_RATERS:
            return None
        return f"Only {self.raters} raters: a bootstrap over so few people gives intervals that are too narrow."

    def as_dict(self) -> dict[str, object]:
        return {
            "unit": "true liking, 0 to 1",
            "n_raters": self.raters,
            "n_cases": self.cases,
            "means": {name: interval.as_dict() for name, interval in self.means.items()},
            "differences": {name: interval.as_dict() for name, interval in self.differences.items()},
        }


def judge(
    cases: Sequence[Steered],
    attributes: Mapping[str, NDArray[np.float64]],
    raters: Mapping[str, Rater],
    *,
    seed: int = 0,
) -> Verdict | None:
    """Compare steered images by the raters' true liking.

    Parameters
    ----------
    attributes
        Image key -> measured attributes, shape (7,), of every initial and final image.

    Returns
    -------
    None where there are fewer than two raters with a known taste: there is no `other` to compare with.
    """
    known = [case for case in cases if case.user in raters]
    if len({case.user for case in known}) < 2:
        return None
    finals: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    for case in known:
        finals[case.prompt_id, case.run][case.user] = case.final
    looks = {where: np.stack([attributes[image] for image in of.values()]) for where, of in finals.items()}  # (n, 7)
    places = {where: {user: place for place, user in enumerate(of)} for where, of in finals.items()}
    liked: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for case in known:
        where = case.prompt_id, case.run
        if len(finals[where]) > 1:
            images = np.vstack([looks[where], attributes[case.final], attributes[case.initial]])
            liking = raters[case.user].utility(images)
            other = np.delete(liking[:-2], places[where][case.user]).mean()
            liked[case.user].append((float(liking[-2]), float(other), float(liking[-1])))
    if len(liked) < 2:
        return None
    own, other, initial = np.array([np.mean(rows, 0) for rows in liked.values()]).T
    return Verdict(
        raters=len(liked),
        cases=sum(len(rows) for rows in liked.values()),
        means={
            name: bootstrap_mean(v, seed=seed) for name, v in (("own", own), ("other", other), ("initial", initial))
        },
        differences={
            "own - other": bootstrap_mean(own - other, seed=seed),
            "own - initial": bootstrap_mean(own - initial, seed=seed),
            "other - initial": bootstrap_mean(other - initial, seed=seed),
        },
    )
