"""Runs of steer-batch in which the driver or one of its actors is killed by SIGKILL at random moments.

    python tests/benchmarks/bench_kills.py --runs 30

Each run is struck up to three times, and continued by --resume wherever the strike ended it. Its records then have to
equal, byte for byte, those of a run that nobody disturbed. Exit status 1 where one does not.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from actors.renderers.darkroom.darkroom import Darkroom
from pipelines.planning.embedded_predictor import embedded_checkpoint
from tests.benchmarks.simulated_roles import report
from tests.pipelines.conftest import SMALL
from tests.pipelines.console import command, descendants, environment, small

RECORDS = ("candidates.parquet", "trajectories.parquet")
STRIKES = 3
ACTORS = ("ray::Darkroom", "ray::Lexicon", "ray::PamelaScorer")
_LIMIT_S = 300


def start(*arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
    )


def struck(process: subprocess.Popen[bytes], chance: random.Random, after_s: float) -> str | None:
    """Who was killed: the driver, an actor by its class, or nobody, where the run was quicker."""
    try:
        process.wait(after_s)
        return None
    except subprocess.TimeoutExpired:
        pass
    actors = [(pid, title) for pid, title in descendants(process.pid) if title.startswith(ACTORS)]
    pid, name = chance.choice([*actors, *[(process.pid, "driver")] * max(1, len(actors))])
    os.kill(pid, signal.SIGKILL)
    if name == "driver":
        process.wait()
    return name.strip("\0").removeprefix("ray::").partition(".")[0].partition("\0")[0]


def go_on(run: Path, checkpoint: Path, prompts: Path) -> subprocess.Popen[bytes]:
    """A run that was struck before it had a folder begins again."""
    return start(*(("--resume", "--out", run) if (run / "run.json").exists() else small(checkpoint, prompts, run)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Runs under kill -9")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    said = parser.parse_args()
    victims: Counter[str] = Counter()
    equal = resumed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prompts = folder / "prompts.txt"
        prompts.write_text("a cup of coffee\na pagoda above a lake\n", "utf-8")
        checkpoint = embedded_checkpoint(Darkroom(size=64), SMALL)
        began = time.monotonic()
        assert start(*small(checkpoint, prompts, folder / "whole")).wait(_LIMIT_S) == 0
        wall_s = time.monotonic() - began
        whole = [(folder / "whole" / record).read_bytes() for record in RECORDS]
        for number in range(said.runs):
            chance = random.Random(f"{said.seed} {number}")
            run = folder / f"run{number}"
            process = start(*small(checkpoint, prompts, run))
            for _ in range(STRIKES):
                if process.poll() is None and (victim := struck(process, chance, wall_s * chance.uniform(0.2, 0.9))):
                    victims[victim] += 1
                if process.poll() == -signal.SIGKILL:
                    process = go_on(run, checkpoint, prompts)
                    resumed += 1
            assert process.wait(_LIMIT_S) == 0, f"run {number} of seed {said.seed} did not finish"
            equal += [(run / record).read_bytes() for record in RECORDS] == whole
    report(
        "kills",
        {
            "runs": said.runs,
            "kills": sum(victims.values()),
            "victims": dict(victims),
            "resumed": resumed,
            "equal": equal,
            "seconds": round(time.monotonic() - began),
        },
    )
    sys.exit(equal != said.runs)


if __name__ == "__main__":
    main()
