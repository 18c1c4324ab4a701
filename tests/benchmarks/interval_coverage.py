"""How often 95% intervals hold the truth: `python tests/benchmarks/interval_coverage.py [studies [processes]]`.

Five conditions, of which two are truly alike and the others lie as in the paper's figure 8. People differ by 35 Elo in
every condition, prompts by 0, 20, 35 and 70. There are 6 to 200 people with 0.2 to 1.8 times 100 votes each (six
people: 1,275, as in the paper), 4, 18 and 50 prompts, and either everybody sees every prompt, or each person a few that
chance picks. The truth is that of all people and all prompts. Coverage is a mean over the five conditions and all
studies.

A false positive is a significant difference of the two that are alike, without correction for the number of pairs.
Where all five conditions are alike, rank sets hold if they leave no rank out, and a false claim is any pair that is
significant after Holm's correction.

The studies of a cell are worked on together, by the same formulas with exact jackknives; the first of each is analysed
by the package as well, and has to agree. Prints a row a cell, then the extremes; exit status 1 if one is not as it
should be.
"""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from numpy.typing import NDArray

from studies.elo.bradley_terry import ELO_PER_LOG_STRENGTH, fit_counts, fit_replicates, to_elo
from studies.elo.inference.covariance import Covariance, covariance_of
from studies.elo.inference.intervals import Generalisation, Sample
from studies.elo.inference.ranks import holm, simultaneous_level
from studies.elo.pair_counts import PairCounts, members
from studies.elo.votes import LEFT, RIGHT, Votes
from tests.studies.elo.voters import Population

Numbers = NDArray[np.float64]

PEOPLE = ((6, 1275), (20, 100), (60, 100), (200, 100))
"""Participants, and votes of each in the mean."""
PROMPTS = ((4, 2), (18, 6), (50, 5))
"""Prompts, and how many of them each person sees where not all."""
SPREADS = (0.0, 20.0, 35.0, 70.0)
TWO_ALIKE = (1065.0, 1016.0, 1016.0, 959.0, 922.0)
ALIKE = (1000.0,) * 5
SHOWN: tuple[Generalisation, ...] = ("people+prompts", "people")
_VOTES_AT_ONCE = 400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A kind of study."""

    spread: float
    prompts: int
    prompts_each: int | None
    people: int
    votes_each: int


def cells() -> Iterator[Cell]:
    for prompts, some in PROMPTS:
        for people, votes_each in PEOPLE:
            for spread in SPREADS:
                for prompts_each in (None, some):
                    yield Cell(
                        spread=spread, prompts=prompts, prompts_each=prompts_each, people=people, votes_each=votes_each
                    )


def analysed(
    cell: Cell, elo: tuple[float, ...], studies: int, rng: np.random.Generator
) -> Iterator[tuple[Numbers, Covariance]]:
    """Elo and covariance of one study after the other, as many of them at once as fit."""
    step = max(1, _VOTES_AT_ONCE // (cell.people * cell.votes_each))
    for low in range(0, studies, step):
        yield from _batch(cell, elo, min(step, studies - low), rng, check=low == 0)


def _batch(
    cell: Cell, elo: tuple[float, ...], studies: int, rng: np.random.Generator, *, check: bool
) -> Iterator[tuple[Numbers, Covariance]]:
    people, prompts, count = cell.people, cell.prompts, len(elo)
    (first, second), pairs = members(count), count * (count - 1) // 2
    size = np.maximum(1, np.round(rng.uniform(0.2, 1.8, studies * people) * cell.votes_each).astype(int))
    person = np.repeat(np.arange(studies * people), size)
    order = rng.permuted(np.tile(np.arange(prompts), (studies * people, 1)), axis=1)
    turn = np.arange(len(person)) - np.repeat(np.cumsum(size) - size, size)
    study, own = person // people, order[person, turn % (cell.prompts_each or prompts)]
    prompt = study * prompts + own
    of_person = (np.asarray(elo) + rng.normal(0, 35.0, (studies * people, count))) / ELO_PER_LOG_STRENGTH
    of_prompt = rng.normal(0, cell.spread, (studies * prompts, count)) / ELO_PER_LOG_STRENGTH
    pair = rng.integers(0, pairs, len(person))
    a, b = first[pair], second[pair]
    odds = of_person[person, a] - of_person[person, b] + of_prompt[prompt, a] - of_prompt[prompt, b]
    won = rng.random(len(person)) < 1 / (1 + np.exp(-odds))

    counts = np.zeros((studies, pairs, 3))
    counts[..., :2] = np.bincount((study * pairs + pair) * 2 + ~won, minlength=studies * pairs * 2).reshape(
        -1, pairs, 2
    )
    strength, _ = fit_replicates(counts, count)
    assert np.isfinite(strength).all()
    chance = 1 / (1 + np.exp(strength[:, second] - strength[:, first]))  # (B, pairs)
    residual = won - chance[study, pair]
    at = (person * prompts + own) * count
    cells_ = sum(
        np.bincount(at + side, sign * residual, studies * people * prompts * count) for side, sign in ((a, 1), (b, -1))
    )
    score = np.asarray(cells_).reshape(studies, people, prompts, count)
    met = np.bincount(person * prompts + own, minlength=studies * people * prompts).reshape(studies, -1) > 0
    contrast = np.eye(count)[first] - np.eye(count)[second]
    laplacian = contrast[:, :, None] * contrast[:, None, :]
    curvature = chance * (1 - chance)

    def information(group: np.ndarray, groups: int) -> Numbers:
        votes = np.bincount(group * pairs + pair, minlength=studies * groups * pairs).reshape(studies, groups, pairs)
        return np.einsum("bgp,pij->bgij", votes * curvature[:, None], laplacian, optimize=True)

    whole = (
        np.einsum("bp,pij->bij", counts.sum(2) * curvature, laplacian) + counts.sum((1, 2))[:, None, None] / count**2
    )
    inverse = np.linalg.inv(whole)

    def jackknifed(scores: Numbers, group: np.ndarray, groups: int) -> Numbers:
        influence = np.linalg.solve(whole[:, None] - information(group, groups), scores[..., None])[..., 0]
        return (groups - 1) / groups * np.einsum("bgi,bgj->bij", influence, influence)

    by_person = jackknifed(score.sum(2), person, people)
    by_prompt = jackknifed(score.sum(1), prompt, prompts)
    flat, factor = score.reshape(studies, -1, count), met.sum(1) / (met.sum(1) - 1)
    by_cell = factor[:, None, None] * (inverse @ np.einsum("bci,bcj->bij", flat, flat, optimize=True) @ inverse)
    if check:
        _agree(by_person[0], by_prompt[0], by_cell[0], cell, study == 0, person, own, a, b, won)
    votes = size.reshape(studies, people)
    shown = np.bincount(prompt, minlength=studies * prompts).reshape(studies, prompts)
    for n in range(studies):
        total = int(votes[n].sum())
        sample = Sample(
            people=float(total**2 / (votes[n] ** 2).sum()), prompts=float(total**2 / (shown[n] ** 2).sum()), votes=total
        )
        nothing = np.full((count, count), np.nan)
        yield (
            to_elo(strength[n]),
            Covariance(
                conditions=count, people=by_person[n], prompts=by_prompt[n], cells=by_cell[n], votes=nothing,
                sample=sample,
            ),
        )  # fmt: skip


def _agree(by_person, by_prompt, by_cell, cell: Cell, of_first, person, prompt, left, right, won) -> None:
    """The package's own analysis of one study has to be the same."""
    votes = Votes(
        participants=tuple(map(str, range(cell.people))),
        prompts=tuple(map(str, range(cell.prompts))),
        conditions=tuple("abcde"),
        participant=person[of_first],
        prompt=prompt[of_first],
        left=left[of_first],
        right=right[of_first],
        outcome=np.where(won[of_first], LEFT, RIGHT),
        repeat=np.zeros(int(of_first.sum()), bool),
    )
    people = PairCounts.of(votes, votes.participant, cell.people)
    prompts = PairCounts.of(votes, votes.prompt, cell.prompts)
    found = covariance_of(votes, fit_counts(people.total(), votes.conditions), people, prompts)
    for own, packaged in ((by_person, found.people), (by_prompt, found.prompts), (by_cell, found.cells)):
        np.testing.assert_allclose(own, packaged, rtol=0.01, atol=0.005 * np.abs(packaged).max())


def simulated(cell: Cell, studies: int) -> dict[str, float]:
    """Shares over as many studies of a cell, in percent, and mean widths in Elo."""
    truth = to_elo(Population(elo=TWO_ALIKE, prompt_spread_elo=cell.spread).pooled_strength())
    first, second = members(5)
    alike = int(np.flatnonzero((first == 1) & (second == 2))[0])
    rng = np.random.default_rng([int(cell.spread), cell.prompts, cell.people, cell.prompts_each or 0])
    rows: list[dict[str, float]] = []
    for elo, covariance in analysed(cell, TWO_ALIKE, studies, rng):
        row = {}
        for to in SHOWN:
            half = covariance.of_conditions(to).half_width()
            row[f"{to} coverage"] = 100 * (np.abs(elo - truth) <= half).mean()
            row[f"{to} width"] = 2 * half.mean()
            p = covariance.of_differences(to).p_values(elo[first] - elo[second])
            row[f"{to} false positive"] = 100 * (p[alike] < 0.05)
        rows.append(row)
    for row, (elo, covariance) in zip(rows, analysed(cell, ALIKE, studies, rng), strict=True):
        for to in SHOWN:
            p = covariance.of_differences(to).p_values(elo[first] - elo[second])
            row[f"{to} any claim"] = 100 * (holm(p).min() < 0.05)
            row[f"{to} ranks"] = 100 * (p.min() >= simultaneous_level(5))
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def main() -> int:
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    processes = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    columns = [f"{to} {name}" for to in SHOWN for name in ("coverage", "width", "false positive", "ranks", "any claim")]
    print(f"| prompts | seen by each | people | prompt SD | {' | '.join(columns)} |")  # noqa: T201
    print(f"|---|---|---|---|{'---:|' * len(columns)}", flush=True)  # noqa: T201
    every = list(cells())
    found = []
    with ProcessPoolExecutor(processes) as pool:
        for cell, share in zip(every, pool.map(simulated, every, [studies] * len(every)), strict=True):
            found.append(share)
            given = f"{cell.prompts} | {cell.prompts_each or 'all'} | {cell.people} | {cell.spread:g}"
            print(f"| {given} | {' | '.join(f'{share[name]:.1f}' for name in columns)} |", flush=True)  # noqa: T201
    return judged(every, found, studies)


def judged(every: list[Cell], found: list[dict[str, float]], studies: int) -> int:
    """Print the extremes, and how many cells are beyond a bound by more than chance explains (three errors)."""
    wrong = 0

    def within(name: str, low: float, high: float, *, least_prompts: int) -> None:
        nonlocal wrong
        values = np.array(
            [f[f"people+prompts {name}"] for c, f in zip(every, found, strict=True) if c.prompts >= least_prompts]
        )
        error = np.sqrt(values * (100 - values) / studies)
        if name == "coverage":
            error = error / 2  # five conditions whose Elo sum to a constant: about four independent ones
        outside = int(np.sum((values < low) | (values > high)))
        beyond = int(np.sum((values < low - 3 * error) | (values > high + 3 * error)))
        wrong += beyond
        found_there = f"{values.min():.1f} to {values.max():.1f} (asked: {low:g} to {high:g})"
        print(  # noqa: T201
            f"{name}, {least_prompts} prompts or more: {found_there}; {outside} of {len(values)} outside, "
            f"{beyond} by more than chance"
        )

    within("coverage", 93, 97.5, least_prompts=18)
    within("coverage", 93, 100, least_prompts=4)
    within("false positive", 0, 6.5, least_prompts=4)
    within("ranks", 93, 100, least_prompts=4)
    within("any claim", 0, 6, least_prompts=4)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
