"""What each way to save renders costs and yields beside the paper's protocol, all in one go, judged by a known taste.

One JSON line a protocol: renders (previews as the parts of renders that they cost), seconds, the raters' true liking of
what was steered for them, and how far that lies from the paper's, person by person. Intervals are 95% bootstraps over
people. Forty minutes on two cores.

    python tests/benchmarks/bench_protocols.py [--prompts FILE] [--seed N] [--only NAME]… [--out FOLDER]
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from predictor.attributes import measure
from predictor.metrics import bootstrap_mean
from predictor.raters import read_truth
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
    "frugal, screen 4": ("--set", "protocol.screen=4"),
    "frugal, previews 4": ("--set", "protocol.previews=4"),
}


def run(name: str, folder: Path, prompts: Path, seed: int) -> Path:
    """One run of steer-batch; its folder."""
    out = folder / name.replace(", ", "-").replace(" ", "-")
    script = Path(sys.executable).parent / "steer-batch"
    command = [script, "--users", "all", "--prompts", prompts, "--seed", str(seed), "--out", out, *PROTOCOLS[name]]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out


def liking(run: Path) -> dict[str, NDArray[np.float64]]:
    """Of each rater: the true liking of the initial and of the final images, means over prompts; shape (2,)."""
    truth = read_truth(run / "truth.parquet")
    found: dict[str, list[NDArray[np.float64]]] = {}
    for row in pq.read_table(run / "trajectories.parquet").to_pylist():
        looks = np.stack([_measured(run, row[f"{part}_image"]) for part in ("initial", "final")])
        found.setdefault(row["user"], []).append(truth[row["user"]].utility(looks))
    return {user: np.mean(likings, 0) for user, likings in found.items()}


def line(name: str, run: Path, paper: Path) -> dict[str, object]:
    (costs,) = json.loads((run / "run.json").read_text("utf-8"))["costs"]
    (paid,) = json.loads((paper / "run.json").read_text("utf-8"))["costs"]
    own, papers = liking(run), liking(paper)
    final = np.array([own[user][1] for user in own])
    difference = np.array([own[user][1] - papers[user][1] for user in own])
    gain = float(np.mean([papers[user][1] - papers[user][0] for user in own]))
    apart = bootstrap_mean(difference, seed=0)
    return {
        "protocol": name,
        "renders": costs["render_equivalents"],
        "of the paper's": round(costs["render_equivalents"] / paid["render_equivalents"], 3),
        "seconds": round(costs["wall_s"], 1),
        "true liking": str(bootstrap_mean(final, seed=0)),
        "minus the paper's": str(apart),
        "lower end in gains": round(apart.ci_low / gain, 3),
    }


def _measured(run: Path, key: str) -> NDArray[np.float64]:
    with Image.open(run / "images" / key[:2] / f"{key}.png") as image:
        return measure(image)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompts", type=Path, default=Path(__file__).with_name("ten_prompts.txt"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=PROTOCOLS)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    folder = asked.out or Path(mkdtemp(prefix="protocols-"))
    paper = run("paper", folder, asked.prompts, asked.seed)
    report("protocols", line("paper", paper, paper))
    for name in asked.only or list(PROTOCOLS)[1:]:
        report("protocols", line(name, run(name, folder, asked.prompts, asked.seed), paper))


if __name__ == "__main__":
    main()
