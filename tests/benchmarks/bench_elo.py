"""Elo at the paper's size and at a thousand times its conditions: `python tests/benchmarks/bench_elo.py`.

1,000 participant-bootstrap replicates of 7,650 votes over 5 conditions, from the coded votes on, beside what others
offer for the same replicates: choix's dense solver and its solver on pairs, and evalica, each in a loop over the same
kind of resampled votes (a part is timed and scaled). Then 1,000,000 votes over 100 conditions by 2,000 people, from
a file to intervals, in a process of its own whose peak memory is taken.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

REPLICATES = 1000
ROUNDS = 5


def seconds(work: Callable[[], object], rounds: int = ROUNDS) -> tuple[float, float]:
    """Least and median time of some rounds, after one to warm up."""
    times = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times[1:]), float(np.median(times[1:]))


def replicates_table() -> None:
    import choix
    import evalica
    from studies.elo.inference.bootstrap import bootstrap

    from studies.elo.bradley_terry import fit_counts
    from studies.elo.pair_counts import PairCounts, square
    from tests.studies.elo.voters import Population

    rng = np.random.default_rng(0)
    votes = Population(votes_each=1275).study(6, rng)
    counts = PairCounts.of(votes, votes.participant, 6)
    fit = fit_counts(counts.total(), votes.conditions)
    winner = np.where(votes.outcome == 0, votes.left, votes.right)
    loser = np.where(votes.outcome == 0, votes.right, votes.left)
    rows = [np.flatnonzero(votes.participant == n) for n in range(6)]
    by_person = square(counts.by_group(), 5)

    def people() -> np.ndarray:
        return rng.integers(0, 6, 6)

    def resampled() -> np.ndarray:
        return np.concatenate([rows[n] for n in people()])

    def choix_pairs() -> None:
        drawn = resampled()
        choix.ilsr_pairwise(5, np.stack([winner[drawn], loser[drawn]], 1).tolist())

    def evalica_pairs() -> None:
        drawn = resampled()
        evalica.bradley_terry(winner[drawn].tolist(), loser[drawn].tolist(), [evalica.Winner.X] * len(drawn))

    def choix_dense() -> None:
        choix.ilsr_pairwise_dense(by_person[people()].sum(0))

    print(f"{REPLICATES:,} participant-bootstrap replicates of {len(votes):,} votes over 5 conditions, one core")  # noqa: T201
    print("| | least | median |\n|---|---:|---:|")  # noqa: T201
    for label, work, timed in (
        ("ours, counting included", lambda: bootstrap(votes, fit, "participant", replicates=REPLICATES), REPLICATES),
        ("choix dense, counted by person beforehand", choix_dense, 200),
        ("evalica, loop", evalica_pairs, 20),
        ("choix on pairs, loop", choix_pairs, 10),
    ):
        loop = 1 if timed == REPLICATES else timed
        least, median = seconds(lambda work=work, loop=loop: [work() for _ in range(loop)], 10 if loop == 1 else 3)
        print(f"| {label} | {least * REPLICATES / timed:.3f} s | {median * REPLICATES / timed:.3f} s |")  # noqa: T201


def large_files(folder: Path) -> list[Path]:
    """1,000,000 votes with names like real ones, as CSV and Parquet."""
    rng = np.random.default_rng(1)
    count, conditions = 1_000_000, 100
    strength = rng.normal(0, 0.5, conditions)
    left = rng.integers(0, conditions, count)
    right = (left + rng.integers(1, conditions, count)) % conditions
    won = rng.random(count) < 1 / (1 + np.exp(strength[right] - strength[left]))
    winner = np.where(rng.random(count) < 0.1, "tie", np.where(won, "left", "right"))
    names = np.array([f"condition-{n}" for n in range(conditions)])
    people = np.array([f"participant-{n}" for n in range(2000)])
    prompts = np.array([f"prompt-{n}" for n in range(500)])
    table = pa.table(
        {
            "participant": people[rng.integers(0, 2000, count)],
            "prompt_id": prompts[rng.integers(0, 500, count)],
            "left": names[left],
            "right": names[right],
            "winner": winner,
        }
    )
    pyarrow.csv.write_csv(table, folder / "votes.csv")
    pq.write_table(table, folder / "votes.parquet")
    return [folder / "votes.csv", folder / "votes.parquet"]


def analyse_one(path: Path) -> None:
    """What the process of one file does: from the file to fit, intervals and tests."""
    began = time.perf_counter()
    from studies.elo.analysis import analyse
    from studies.elo.vote_files import read_votes

    imported = time.perf_counter()
    votes = read_votes(path)
    read = time.perf_counter()
    report = analyse(votes)
    done = time.perf_counter()
    assert len(report.conditions) == 100
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(  # noqa: T201
        f"| {path.suffix[1:]} | {imported - began:.2f} s | {read - imported:.2f} s | {done - read:.2f} s "
        f"| {done - imported:.2f} s | {time.process_time():.2f} s | {peak:.0f} MB |"
    )


def main() -> None:
    if len(sys.argv) > 1:
        analyse_one(Path(sys.argv[1]))
        return
    replicates_table()
    print("\n1,000,000 votes over 100 conditions by 2,000 participants", flush=True)  # noqa: T201
    print("| file | imports | reading | analysis | both | CPU in all | peak memory |")  # noqa: T201
    print("|---|---:|---:|---:|---:|---:|---:|", flush=True)  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        for path in large_files(Path(folder)):
            subprocess.run([sys.executable, __file__, str(path)], check=True)


if __name__ == "__main__":
    main()
