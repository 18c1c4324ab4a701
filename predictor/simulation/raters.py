"""Simulated raters of known taste: the ground truth to check the whole system against.

An ideal-point (unfolding) model of preference (Coombs 1964, A Theory of Data). A rater has an ideal point on the
attributes of `attributes.measure`: the population's ideal, plus an effect of age, plus a personal one; the attributes
have personal weights. Ratings add a bias and noise, on a slider from 0 to 100. Prompts and encoders play no part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from predictor.simulation.attributes import ATTRIBUTES

RATING_MIN, RATING_MAX = 0.0, 100.0

_POPULATION_IDEAL = np.array([60.0, 18.0, 30.0, 0.0, 1.6, 10.0, 0.028])
"""In the attributes' own units: brighter, softer and more colourful than the average photograph."""

_SPREAD = np.array([13.0, 6.0, 13.0, 12.0, 0.75, 8.5, 0.007])
"""Standard deviation of each attribute over many developments of one photograph: the unit of the constants below."""

_PERSONAL_SD = 0.7
_TOLERANCE = 1.0
"""In spreads: standard deviation of the personal part of ideals, and width of the utility around an ideal. Two raters'
utilities of one photograph's developments then correlate at about 0.3: taste is partly shared, as in the paper."""

_SATURATION_PER_YEAR = -0.035
"""In spreads: the ideal at 20 has 1.75 spreads more saturation than at 70 (the trend of the paper's Figure 7)."""

_GENDERS = ("female", "male", "non-binary")
_NATIONALITIES = ("German", "Brazilian", "Japanese", "Nigerian", "American", "Indian", "French", "Mexican")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rater:
    """One simulated person. Arrays have shape (7,), in the order of `ATTRIBUTES`."""

    user_id: str
    age: int
    gender: str
    nationality: str
    ideal: NDArray[np.float64]
    """In the attributes' own units."""
    tolerance: NDArray[np.float64]
    """In the attributes' own units: at this distance from the ideal an attribute's part of the utility is 61%."""
    weight: NDArray[np.float64]
    """How much each attribute matters; sums to 1."""
    bias: float
    noise: float
    """In rating points: a constant offset, and the standard deviation of the noise of one rating."""

    def utility(self, attributes: NDArray[np.float64]) -> NDArray[np.float64]:
        """True liking, 0 to 1, without bias and noise; `attributes` has shape (N, 7), the result (N,)."""
        distance = (attributes - self.ideal) / self.tolerance
        return np.exp(-0.5 * distance**2) @ self.weight


def sample_raters(count: int, seed: int) -> list[Rater]:
    """Draw `count` people, ages spread evenly from 18 to 78; the same seed gives the same people."""
    rng = np.random.default_rng([seed, 0x7A57E])
    ages = np.linspace(18, 78, count).round().astype(int) if count > 1 else np.array([40])
    raters = []
    for number, age in enumerate(rng.permutation(ages), start=1):
        personal = rng.normal(0, _PERSONAL_SD, len(ATTRIBUTES))
        demographic = np.zeros(len(ATTRIBUTES))
        demographic[ATTRIBUTES.index("saturation")] = _SATURATION_PER_YEAR * (age - 48)
        raters.append(
            Rater(
                user_id=f"u{number:02d}",
                age=int(age),
                gender=str(rng.choice(_GENDERS, p=[0.48, 0.48, 0.04])),
                nationality=str(rng.choice(_NATIONALITIES)),
                ideal=_POPULATION_IDEAL + _SPREAD * (demographic + personal),
                tolerance=_TOLERANCE * _SPREAD,
                weight=rng.dirichlet(np.full(len(ATTRIBUTES), 2.0)),
                bias=float(rng.normal(0, 6)),
                noise=float(rng.uniform(2, 6)),
            )
        )
    return raters


def rate(rater: Rater, attributes: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Ratings of images by their attributes, with bias and noise; (N, 7) -> (N,), 0 to 100."""
    liking = RATING_MAX * rater.utility(attributes)
    noisy = liking + rater.bias + rng.normal(0, rater.noise, len(attributes))
    return np.clip(noisy, RATING_MIN, RATING_MAX).round(1)


def write_truth(raters: Sequence[Rater], path: Path) -> None:
    """Write one row a rater: user_id, demographics, bias, noise, and ideal_, tolerance_, weight_ of each attribute."""
    rows = []
    for rater in raters:
        row = {name: getattr(rater, name) for name in ("user_id", "age", "gender", "nationality", "bias", "noise")}
        for part in ("ideal", "tolerance", "weight"):
            row |= {f"{part}_{a}": float(v) for a, v in zip(ATTRIBUTES, getattr(rater, part), strict=True)}
        rows.append(row)
    pq.write_table(pa.Table.from_pylist(rows), path)


def read_truth(path: Path) -> dict[str, Rater]:
    """Read what `write_truth` wrote, by user_id.

    Raises
    ------
    ValueError
        It is no such file.
    """
    raters = {}
    try:
        for row in pq.read_table(path).to_pylist():
            parts = {
                part: np.array([row.pop(f"{part}_{attribute}") for attribute in ATTRIBUTES])
                for part in ("ideal", "tolerance", "weight")
            }
            values: dict[str, Any] = {**row, **parts}
            raters[values["user_id"]] = Rater(**values)
    except (pa.ArrowException, KeyError, TypeError) as error:
        raise ValueError(f"{path}: does not hold the taste of simulated raters, as a truth.parquet does") from error
    return raters
