"""What looking at a running study does: `python tests/benchmarks/stopping_error.py [studies]`.

People differ by 35 Elo in every condition and prompts by 0 or 35; 100 people at most give 40 votes each on 18 prompts.
A rule looks at the study while it runs, and stops it at the first claim: that any two conditions differ (after Holm),
or that the leader is the best, because it beats each other. Intervals and tests are for other people and other prompts.
False claims are counted where all conditions are alike, and of a best one where two lie 80 Elo above the others, which
is the hardest case. Where the first alone is 80 Elo above, a claim should name it, after few people. Pairs are
balanced, or from the first look on the leader meets the others.

Then the rule that stops as soon as every interval is narrow enough: how often intervals hold the truth at that moment.
Exit status 1 where a planned rule claims falsely in more than 5%, or coverage lies below 93%, by more than chance.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from numpy.typing import NDArray

from studies.elo.bradley_terry import ELO_PER_LOG_STRENGTH, fit_counts, to_elo
from studies.elo.inference.covariance import Covariance, covariance_of
from studies.elo.inference.ranks import holm
from studies.elo.inference.stopping import pocock_level
from studies.elo.pair_counts import PairCounts, members
from studies.elo.votes import LEFT, RIGHT, Votes
from tests.studies.elo.voters import PAPER_ELO, Population

Numbers = NDArray[np.float64]
Look = tuple[Numbers, Covariance]
Claim = Callable[[Numbers, Covariance, float], int | None]

PEOPLE, VOTES_EACH, PROMPTS, SPREAD = 100, 40, 18, 35.0
ENDS = [20, 40, 60, 80, 100]
EVERY = "after every fifth person, p < 0.05"
RULES = {
    "once, at the end": ([100], 0.05),
    EVERY: (list(range(5, 101, 5)), 0.05),
    "5 planned looks": (ENDS, pocock_level(5)),
}
"""After how many people each rule looks, and at which level."""


@dataclass
class Running:
    """A study that grows; people and prompts are drawn beforehand."""

    elo: Sequence[float]
    prompt_spread: float
    rng: np.random.Generator
    prompts: int = PROMPTS
    people: int = PEOPLE

    def __post_init__(self) -> None:
        count = len(self.elo)
        self.of_person = np.asarray(self.elo) + self.rng.normal(0, SPREAD, (self.people, count))
        self.of_prompt = self.rng.normal(0, self.prompt_spread, (self.prompts, count))
        self.columns: list[NDArray[np.int64]] = []

    def grow(self, begin: int, end: int, leader: int | None) -> None:
        """Let people vote: on any pairs, or on pairs of the leader with another."""
        count, size = len(self.elo), (end - begin) * VOTES_EACH
        person = np.repeat(np.arange(begin, end), VOTES_EACH)
        prompt = self.rng.permuted(np.tile(np.arange(size // (end - begin)) % self.prompts, (end - begin, 1)), axis=1)
        left = self.rng.integers(0, count, size) if leader is None else np.full(size, leader)
        right = (left + self.rng.integers(1, count, size)) % count
        own, prompt = self.of_person, prompt.ravel()
        odds = own[person, left] - own[person, right] + self.of_prompt[prompt, left] - self.of_prompt[prompt, right]
        won = self.rng.random(size) < 1 / (1 + np.exp(-odds / ELO_PER_LOG_STRENGTH))
        self.columns.append(np.stack([person, prompt, left, right, np.where(won, LEFT, RIGHT)]))

    def look(self) -> Look | None:
        """Elo and its covariance now; None where no finite Elo fits."""
        person, prompt, left, right, outcome = np.concatenate(self.columns, 1)
        names = tuple(f"c{n}" for n in range(len(self.elo)))
        votes = Votes(
            participants=tuple(map(str, range(int(person.max()) + 1))),
            prompts=tuple(map(str, range(self.prompts))),
            conditions=names, participant=person, prompt=prompt, left=left, right=right, outcome=outcome,
            repeat=np.zeros(len(person), bool),
        )  # fmt: skip
        people = PairCounts.of(votes, votes.participant, len(votes.participants))
        prompts = PairCounts.of(votes, votes.prompt, self.prompts)
        try:
            fit = fit_counts(people.total(), names)
        except ValueError:
            return None
        return fit.elo, covariance_of(votes, fit, people, prompts)


def best(elo: Numbers, covariance: Covariance, level: float) -> int | None:
    """The condition that beats each other at a level; the same test as `best_claim`."""
    first, second = members(len(elo))
    p = covariance.of_differences("people+prompts").p_values(elo[first] - elo[second])
    leader = int(elo.argmax())
    return leader if (p[(first == leader) | (second == leader)] < level).all() else None


def any_two(elo: Numbers, covariance: Covariance, level: float) -> int | None:
    """0 if some two differ, after Holm's correction."""
    first, second = members(len(elo))
    p = covariance.of_differences("people+prompts").p_values(elo[first] - elo[second])
    return 0 if holm(p).min() < level else None


def stopped(
    running: Running, claim: Claim, looks: Sequence[int], level: float, focused: bool
) -> tuple[int | None, int]:
    """What was claimed, and by how many people's votes."""
    begin, leader = 0, None
    for end in looks:
        running.grow(begin, end, leader)
        begin, seen = end, running.look()
        if seen is None:
            continue
        found = claim(*seen, level)
        if found is not None:
            return found, end
        leader = int(seen[0].argmax()) if focused else None
    return None, begin


def row_of(count: int, spread: float, rule: str, focused: bool, studies: int) -> tuple[str, float]:
    """One row of the table, and the larger of its shares of false claims."""
    looks, level = RULES[rule]
    rng = np.random.default_rng([count, int(spread), len(looks), focused])

    def run(claim: Claim, tops: int, times: int) -> list[tuple[int | None, int]]:
        elo = [1080.0] * tops + [1000.0] * (count - tops)
        return [stopped(Running(elo, spread, rng), claim, looks, level, focused) for _ in range(times)]

    any_false, best_false = (
        100 * float(np.mean([found is not None for found, _ in run(claim, tops, studies)]))
        for claim, tops in ((any_two, 0), (best, 2))
    )
    found = run(best, 1, studies // 2)
    right = 100 * np.mean([name == 0 for name, _ in found])
    people = np.mean([seen for _, seen in found])
    cells = f"{count} | {spread:g} | {rule} | {'leader with others' if focused else 'balanced'}"
    return f"| {cells} | {any_false:.1f} | {best_false:.1f} | {right:.0f} | {people:.0f} |", max(any_false, best_false)


def rows(studies: int) -> Iterator[tuple[str, float]]:
    """Each row, and its share of false claims where the rule promises to keep it down."""
    for count in (5, 10):
        for spread in (0.0, 35.0):
            for rule in RULES:
                for focused in (False, True) if rule == "5 planned looks" else (False,):
                    row, false = row_of(count, spread, rule, focused, studies)
                    yield row, 0.0 if rule == EVERY else false


def on_width(spread: float, prompts: int, width: float, studies: int) -> tuple[str, float]:
    """A row of the second table, and coverage: looked at after every tenth of 200 people at most."""
    truth = to_elo(Population(prompt_spread_elo=spread).pooled_strength())
    rng = np.random.default_rng([int(spread), prompts])
    ended = [_until_narrow(Running(PAPER_ELO, spread, rng, prompts=prompts, people=200), width) for _ in range(studies)]
    coverage = 100 * float(np.mean([np.abs(elo - truth) <= half for elo, half, _ in ended]))
    people = np.mean([seen for *_, seen in ended])
    return f"| {spread:g} | {prompts} | {width:g} | {coverage:.1f} | {people:.0f} |", coverage


def _until_narrow(running: Running, width: float) -> tuple[Numbers, Numbers, int]:
    """Elo, half widths and people at the first look whose intervals are narrow, or at the last."""
    found = None
    for end in range(10, running.people + 1, 10):
        running.grow(end - 10, end, None)
        seen = running.look()
        if seen is not None:
            found = seen[0], seen[1].of_conditions("people+prompts").half_width(), end
            if (2 * found[1] <= width).all():
                break
    assert found is not None
    return found


def main() -> int:
    studies, wrong = int(sys.argv[1]) if len(sys.argv) > 1 else 400, 0
    print("| conditions | prompt SD | looks | pairs | false: any two | false: the best | found | people |")  # noqa: T201
    print("|---|---|---|---|---:|---:|---:|---:|", flush=True)  # noqa: T201
    for row, false in rows(studies):
        print(row, flush=True)  # noqa: T201
        wrong += false > 5 + 300 * np.sqrt(0.05 * 0.95 / studies)
    print("\n| prompt SD | prompts | width | coverage, % | people |\n|---|---|---|---:|---:|", flush=True)  # noqa: T201
    for spread, prompts, width in ((0.0, 18, 40.0), (35.0, 50, 45.0), (35.0, 18, 70.0)):
        row, coverage = on_width(spread, prompts, width, studies)
        print(row, flush=True)  # noqa: T201
        wrong += coverage < 93 - 150 * np.sqrt(0.05 * 0.95 / studies)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
