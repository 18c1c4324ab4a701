"""How often 95% intervals hold the truth: `python tests/benchmarks/interval_coverage.py [studies]`.

People differ by 35 Elo in every condition, and the five conditions lie as in the paper's figure 8, whose study is the
first line. Either everybody votes equally often, or from 0.2 to 1.8 times as often. Each number is a mean over the
five conditions and all studies.
"""

import os
import sys
from collections import defaultdict

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from studies.elo.bradley_terry import fit_counts, to_elo
from studies.elo.inference.bootstrap import Resampling, bootstrap
from studies.elo.inference.cluster_covariance import Correction, cluster_covariance
from studies.elo.inference.clustered import t_quantile
from studies.elo.pair_counts import PairCounts
from studies.elo.votes import Votes
from tests.studies.elo.voters import Population

CORRECTIONS: tuple[Correction, ...] = ("CR1", "CR3")
RESAMPLINGS: tuple[Resampling, ...] = ("participant", "iid", "two-way")
STUDIES = ((6, 1275), (6, 100), (20, 100), (60, 100), (200, 100))
"""Participants, and votes of each."""
BOOTSTRAPS_EVERY = 4
"""A bootstrap takes longer, so it is made for every fourth study."""


def covered(votes: Votes, truth: np.ndarray, *, bootstraps: bool, seed: int) -> dict[str, float]:
    """By method, the share of the conditions whose interval holds the truth."""
    counts = PairCounts.of(votes, votes.participant, len(votes.participants))
    fit = fit_counts(counts.total(), votes.conditions)
    found = {}
    for correction in CORRECTIONS:
        error = cluster_covariance(counts, fit, correction=correction).standard_error
        half = t_quantile(len(votes.participants)) * error
        found[f"cluster {correction}"] = float((np.abs(fit.log_strength - truth) <= half).mean())
    for resampling in RESAMPLINGS if bootstraps else ():
        drawn = bootstrap(votes, fit, resampling, seed=seed)
        low, high = drawn.interval(drawn.elo)
        found[resampling] = float(((low <= to_elo(truth)) & (to_elo(truth) <= high)).mean())
    return found


def main() -> None:
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    methods = [*(f"cluster {c}" for c in CORRECTIONS), *RESAMPLINGS]
    print(f"| participants | votes each | {' | '.join(methods)} |\n|---|---|{'---:|' * len(methods)}")  # noqa: T201
    for participants, votes_each in STUDIES:
        for unequal in (False, True):
            population = Population(unequal=unequal, votes_each=votes_each)
            truth, rng, shares = population.pooled_strength(), np.random.default_rng(participants), defaultdict(list)
            for number in range(studies):
                votes = population.study(participants, rng)
                bootstraps = number % BOOTSTRAPS_EVERY == 0
                for method, share in covered(votes, truth, bootstraps=bootstraps, seed=number).items():
                    shares[method].append(share)
            given = f"{votes_each // 5:,} to {9 * votes_each // 5:,}" if unequal else f"{votes_each:,}"
            cells = " | ".join(f"{np.mean(shares[method]):.1%}" for method in methods)
            print(f"| {participants} | {given} | {cells} |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
