"""How many winners of a scorer that can be hacked the guards notice, and how many honest ones they let through.

The proxy adores saturation, and nothing else: what wins by it is *hacked* where its rater likes the winner less than
the base image, by a taste that is known. Winners by the predictor are *honest* where their raters like them more. All
guards that need no download warn, and the same limits, the defaults, hold for both: they were set on the seeds 0 to 2.
One JSON line each; ten minutes on two cores.

    python tests/benchmarks/bench_guards.py [--seed N] [--out FOLDER]
"""

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path
from tempfile import mkdtemp
from unittest.mock import patch

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from pipelines.cli import app
from pipelines.planning import roles
from predictor.simulation.attributes import measure
from predictor.simulation.raters import read_truth
from tests.benchmarks.saturation_lover import SaturationLover
from tests.benchmarks.simulated_roles import report

PROMPTS = (
    *("a cup of coffee", "a tabby cat", "a rocket on its launch pad", "a pagoda above a lake", "ancient coins"),
    *("an orange flower in a garden", "a red motorcycle", "galaxies and stars", "a smiling woman", "a brick wall"),
)
GUARDS = [f"protocol.guards.{guard}=warn" for guard in ("subject", "held_out", "drift", "reseed")]
NOTICED = ("subject", "held-out", "drift", "reseed")
"""What the notices of each begin with."""


def steer(out: Path, seed: int, *, hacked: bool) -> None:
    """The paper's protocol with guards: each rater's winner is found alone."""
    prompts = out.parent / "prompts.txt"
    prompts.write_text("\n".join(PROMPTS) + "\n", "utf-8")
    arguments = ["--users", "all", "--prompts", str(prompts), "--protocol", "paper", "--seed", str(seed)]
    arguments += ["--out", str(out), *(part for guard in GUARDS for part in ("--set", guard))]

    def role(settings: roles.ScorerSettings, checkpoint: Path) -> roles.Role:
        return roles._role("scorer", SaturationLover, {"checkpoint": str(checkpoint)}, settings)

    with patch.object(roles, "scorer_role", role) if hacked else nullcontext():
        app(arguments, standalone_mode=False)


def winners(run: Path) -> list[tuple[float, list[str]]]:
    """Of each winner: its true gain, and what the guards noticed."""
    truth, rows = read_truth(run / "truth.parquet"), pq.read_table(run / "trajectories.parquet").to_pylist()
    noticed = {row["trajectory_id"]: row["warnings"] for row in pq.read_table(run / "winners.parquet").to_pylist()}
    found = []
    for row in rows:
        if row["final_image"] == row["initial_image"]:
            continue
        looks = []
        for key in (row["initial_image"], row["final_image"]):
            with Image.open(run / "images" / key[:2] / f"{key}.png") as image:
                looks.append(measure(image))
        before, after = truth[row["user"]].utility(np.stack(looks))
        found.append((float(after - before), noticed[row["trajectory_id"]]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    folder = asked.out or Path(mkdtemp(prefix="guards-"))
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("hacked", "honest"):
        steer(folder / name, asked.seed, hacked=name == "hacked")
        found = winners(folder / name)
        found = [(gain, lines) for gain, lines in found if (gain < 0) is (name == "hacked")]
        by_guard = {
            guard: sum(any(line.startswith(guard) for line in lines) for _, lines in found) for guard in NOTICED
        }
        noticed = sum(bool(lines) for _, lines in found)
        report("guards", {"winners": name, "of them": len(found), "noticed": noticed, **by_guard})


if __name__ == "__main__":
    sys.exit(main())
