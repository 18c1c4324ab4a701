"""Elo at the paper's size and at a thousand times its conditions: `python tests/benchmarks/bench_elo.py`.

The whole analysis of 7,650 votes over 5 conditions, from the coded votes on, beside the fit alone by choix and evalica.
Then 1,000,000 votes over 100 conditions by 2,000 people on 500 prompts, from a file to the report, in a process of its
own whose peak memory is taken; and 49,463 votes over 316 conditions.
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


def one_study() -> None:
    import choix
    import evalica

    from studies.elo.analysis import analyse
    from tests.studies.elo.voters import Population

    votes = Population(votes_each=1275, prompt_spread_elo=35).study(6, np.random.default_rng(0))
    winner = np.where(votes.outcome == 0, votes.left, votes.right)
    loser = np.where(votes.outcome == 0, votes.right, votes.left)
    pairs = np.stack([winner, loser], 1).tolist()

    def evalica_fit() -> None:
        evalica.bradley_terry(winner.tolist(), loser.tolist(), [evalica.Winner.X] * len(votes), tolerance=1e-12)

    print(f"{len(votes):,} votes over 5 conditions, 6 participants, 18 prompts, one core")  # noqa: T201
    print("| | least | median |\n|---|---:|---:|")  # noqa: T201
    for label, work in (
        ("ours: fit, two-way clustered errors, tests, rank sets, diagnostics", lambda: analyse(votes)),
        ("evalica, the fit alone", evalica_fit),
        ("choix on pairs, the fit alone", lambda: choix.ilsr_pairwise(5, pairs)),
    ):
        least, median = seconds(work)
        print(f"| {label} | {1000 * least:.0f} ms | {1000 * median:.0f} ms |")  # noqa: T201


def large_files(folder: Path) -> list[Path]:
    """1,000,000 votes on 100 conditions with names like real ones, as CSV and Parquet."""
    table = votes_table(1_000_000, conditions=100, participants=2000, prompts=500)
    pyarrow.csv.write_csv(table, folder / "votes.csv")
    pq.write_table(table, folder / "votes.parquet")
    return [folder / "votes.csv", folder / "votes.parquet"]


def votes_table(votes: int, *, conditions: int, participants: int, prompts: int) -> pa.Table:
    """Votes of one taste, a tenth of them ties."""
    rng = np.random.default_rng(1)
    strength = rng.normal(0, 0.5, conditions)
    left = rng.integers(0, conditions, votes)
    right = (left + rng.integers(1, conditions, votes)) % conditions
    won = rng.random(votes) < 1 / (1 + np.exp(strength[right] - strength[left]))
    names = np.array([f"condition-{n}" for n in range(conditions)])
    return pa.table(
        {
            "participant": np.array([f"participant-{n}" for n in range(participants)])[
                rng.integers(0, participants, votes)
            ],
            "prompt_id": np.array([f"prompt-{n}" for n in range(prompts)])[rng.integers(0, prompts, votes)],
            "left": names[left],
            "right": names[right],
            "winner": np.where(rng.random(votes) < 0.1, "tie", np.where(won, "left", "right")),
        }
    )


def analyse_one(path: Path) -> None:
    """What the process of one file does: from the file to the report folder."""
    began = time.perf_counter()
    from studies.elo.analysis import analyse
    from studies.elo.reporting.report import write_report
    from studies.elo.vote_files import read_votes

    imported = time.perf_counter()
    votes = read_votes(path)
    read = time.perf_counter()
    report = analyse(votes)
    analysed = time.perf_counter()
    write_report(report, path.parent / "report")
    done = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(  # noqa: T201
        f"| {len(votes):,} × {len(report.conditions)}, {path.suffix[1:]} | {imported - began:.2f} s "
        f"| {read - imported:.2f} s | {analysed - read:.2f} s | {done - analysed:.2f} s | {done - began:.2f} s "
        f"| {time.process_time():.2f} s | {peak:.0f} MB |"
    )


def main() -> None:
    if len(sys.argv) > 1:
        analyse_one(Path(sys.argv[1]))
        return
    one_study()
    print("\n| votes × conditions | imports | reading | analysis | report | all | CPU | peak memory |")  # noqa: T201
    print("|---|---:|---:|---:|---:|---:|---:|---:|", flush=True)  # noqa: T201
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = large_files(folder)
        for votes, conditions in ((49_463, 316), (8_931, 5)):
            files.append(folder / f"votes-{conditions}.csv")
            table = votes_table(votes, conditions=conditions, participants=120, prompts=160)
            pyarrow.csv.write_csv(table, files[-1])
        for path in files:
            subprocess.run([sys.executable, __file__, str(path)], check=True)


if __name__ == "__main__":
    main()
