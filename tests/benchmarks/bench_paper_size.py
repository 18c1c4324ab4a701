"""The paper's size to the end on one machine: 200 simulated raters × 18 prompts × 2 runs, killed twice and resumed.

    python tests/benchmarks/bench_paper_size.py --candidates 2 --iterations 1
    python tests/benchmarks/bench_paper_size.py --raters 12 --prompts 4 --candidates 4 --iterations 2   # in minutes

The preset embedded draws at 64 px, by the default protocol but for the size of its rounds. A first run is undisturbed.
Of a second one the driver is killed by SIGKILL as soon as a third and two thirds of the rounds are in its journal, and
continued by --resume. Its records have to equal the first run's, byte for byte; exit status 1 where they do not.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from actors.renderers.darkroom.darkroom import Darkroom
from pipelines.planning.embedded_predictor import EmbeddedRecipe, embedded_checkpoint
from tests.benchmarks.simulated_roles import report
from tests.pipelines.console import command, environment, journal_lines, peak_mb

SUBJECTS = (Path(__file__).parent / "ten_prompts.txt").read_text("utf-8").splitlines()
_POLL_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Course:
    """How one start of a run went."""

    seconds: float
    peak_mb: float
    """Of the driver's memory, resident."""
    killed: bool


def prompts(count: int) -> list[str]:
    return [*SUBJECTS, *(f"{subject} at dusk" for subject in SUBJECTS)][:count]


def start(arguments: Iterable[object], run: Path, *, kill_at: int | None = None) -> Course:
    """Run steer-batch to its end, or until its journal has `kill_at` rounds."""
    began, peak, killed = time.monotonic(), 0.0, False
    with (run.parent / f"{run.name}.txt").open("ab") as said:
        process = subprocess.Popen(command(*arguments), stdout=said, stderr=said, env=environment())
        while process.poll() is None:
            peak = max(peak, peak_mb(process.pid))
            if kill_at is not None and journal_lines(run) >= kill_at:
                process.send_signal(signal.SIGKILL)
                killed = True
                process.wait()
            time.sleep(_POLL_S)
    assert killed or process.returncode == 0, f"status {process.returncode}: see {run}.txt"
    return Course(seconds=round(time.monotonic() - began, 1), peak_mb=peak, killed=killed)


def sizes_mb(run: Path) -> dict[str, float]:
    """Of each file of the run, its images together."""
    found: dict[str, float] = {}
    for path in sorted(path for path in run.rglob("*") if path.is_file()):
        top = path.relative_to(run).parts[0]
        found[top] = found.get(top, 0.0) + path.stat().st_size / 1e6
    return {name: round(size, 2) for name, size in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="The paper's size, killed twice")
    parser.add_argument("--raters", type=int, default=200)
    parser.add_argument("--prompts", type=int, default=18)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--out", type=Path, help="where the runs are kept; default: nowhere")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = said.out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "prompts.txt"
        file.write_text("\n".join(prompts(said.prompts)) + "\n", "utf-8")
        recipe = EmbeddedRecipe(raters=said.raters, ratings_per_image=min(said.raters, 60))
        checkpoint = embedded_checkpoint(Darkroom(size=64), recipe)
        whole, killed = folder / "whole", folder / "killed"
        size = ("--runs", said.runs, "--candidates", said.candidates, "--iterations", said.iterations)
        steer = ("--users", "all", "--prompts", file, "--predictor", checkpoint, "--set", "renderer.size=64", *size)
        undisturbed = start((*steer, "--out", whole), whole)
        rounds = journal_lines(whole)
        report("undisturbed", {"rounds": rounds, "size_mb": sizes_mb(whole), **vars(undisturbed)})
        courses = [start((*steer, "--out", killed), killed, kill_at=rounds // 3)]
        courses.append(start(("--resume", "--out", killed), killed, kill_at=2 * rounds // 3))
        courses.append(start(("--resume", "--out", killed), killed))
        for course in courses:
            report("killed and resumed", vars(course))
        records = sorted(path.name for path in whole.glob("*.parquet"))
        equal = [name for name in records if (whole / name).read_bytes() == (killed / name).read_bytes()]
        report("records", {"equal": equal, "different": sorted({*records} - {*equal})})
    sys.exit(equal != records or sum(course.killed for course in courses) != 2)


if __name__ == "__main__":
    main()
