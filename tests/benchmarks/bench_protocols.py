"""What each way to save renders costs and yields beside the paper's protocol, all in one go, judged by a known taste.

One JSON line a protocol: renders (previews as the parts of renders that they cost), seconds, the raters' true liking of
what was steered for them, and how far that lies from the paper's, person by person. Intervals are 95% bootstraps over
people, of whom each counts by the mean over prompts and seeds. Half an hour a seed on two cores.

    python tests/benchmarks/bench_protocols.py [--prompts FILE] [--seed N]… [--only NAME]… [--out FOLDER]
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from predictor.metrics import bootstrap_mean
from predictor.simulation.attributes import measure
from predictor.simulation.raters import read_truth
from tests.benchmarks.simulated_roles import report

PAPER = ("--protocol", "paper")
PROTOCOLS = {
    "paper": PAPER,
    "round": (*PAPER, "--share", "round"),
    "pool": (*PAPER, "--share", "pool"),
    "screen 4": (*PAPER, "--set", "protocol.screen=4"),
    "previews 4": (*PAPER, "--set", "protocol.previews=4"),
    "pool, previews 4": (*PAPER, "--share", "pool", "--set", "protocol.previews=4"),
    "frugal": (),
    "frugal, screen 6": ("--set", "protocol.screen=6"),
    "frugal, previews 4": ("--set", "protocol.previews=4"),
}


def run(name: str, folder: Path, prompts: Path, seed: int) -> Path:
    """One run of steer-batch; its folder."""
    out = folder / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
    script = Path(sys.executable).parent / "steer-batch"
    command = [script, "--users", "all", "--prompts", prompts, "--seed", str(seed), "--out", out, *PROTOCOLS[name]]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out


def liking(runs: Sequence[Path]) -> NDArray[np.float64]:
    """Each rater's true liking of initial and final images, means over prompts and runs; shape (raters, 2)."""
    found: dict[str, list[NDArray[np.float64]]] = {}
    for run in runs:
        truth = read_truth(run / "truth.parquet")
        for row in pq.read_table(run / "trajectories.parquet").to_pylist():
            looks = np.stack([_measured(run, row[f"{part}_image"]) for part in ("initial", "final")])
            found.setdefault(row["user"], []).append(truth[row["user"]].utility(looks))
    return np.array([np.mean(found[user], 0) for user in sorted(found)])


def costs(runs: Sequence[Path]) -> tuple[float, float]:
    """Renders and seconds of several runs together."""
    each = [json.loads((run / "run.json").read_text("utf-8"))["costs"][0] for run in runs]
    return sum(cost["render_equivalents"] for cost in each), sum(cost["wall_s"] for cost in each)


def line(name: str, runs: Sequence[Path], paper: Sequence[Path]) -> dict[str, object]:
    (renders, seconds), (paid, _) = costs(runs), costs(paper)
    own, papers = liking(runs), liking(paper)
    gain = float(np.mean(papers[:, 1] - papers[:, 0]))
    apart = bootstrap_mean(own[:, 1] - papers[:, 1], seed=0)
    return {
        "protocol": name,
        "renders": renders,
        "of the paper's": round(renders / paid, 3),
        "seconds": round(seconds, 1),
        "true liking": str(bootstrap_mean(own[:, 1], seed=0)),
        "minus the paper's": str(apart),
        "lower end in gains": round(apart.ci_low / gain, 3),
    }


def _measured(run: Path, key: str) -> NDArray[np.float64]:
    with Image.open(run / "images" / key[:2] / f"{key}.png") as image:
        return measure(image)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompts", type=Path, default=Path(__file__).with_name("ten_prompts.txt"))
    parser.add_argument("--seed", type=int, action="append")
    parser.add_argument("--only", action="append", choices=PROTOCOLS)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    folder = asked.out or Path(mkdtemp(prefix="protocols-"))
    paper: list[Path] = []
    for name in ["paper", *(asked.only or list(PROTOCOLS)[1:])]:
        runs = [run(name, folder, asked.prompts, seed) for seed in asked.seed or [0]]
        paper = paper or runs
        report("protocols", line(name, runs, paper))


if __name__ == "__main__":
    main()
