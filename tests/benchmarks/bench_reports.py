"""The reports of a run of the paper's size, each with its time and memory.

    python tests/benchmarks/bench_reports.py [--users 200] [--prompts 18] [--runs 2] [--side 64]

Outcomes are made up: every rater ends on an image of their own, over bests that are drawn, for each prompt and run,
from a few more images than there are users, with words as the lexicon has them. Images are on the disk as PNG. The
reports are made in a process of their own, for its peak of memory (VmHWM); `cpu_s` counts all its threads. Beside
consistency, the same by its definition: a loop over all pairs of finals, timed for one prompt and three shuffles, and
scaled. Its means have to agree.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.planning.users import Audience
from pipelines.records.image_store import ImageStore
from pipelines.records.outcomes import Outcome
from pipelines.reporting.consistency import PERMUTATIONS, consistency
from pipelines.reporting.forest_plot import Finding
from pipelines.reporting.gallery import Page, write_gallery
from pipelines.reporting.results import Attributes, cases_of, measured
from pipelines.reporting.trends import trends
from pipelines.search.trajectory import Trajectory
from predictor.simulation.raters import sample_raters
from predictor.simulation.verdict import judge
from tests.benchmarks.simulated_roles import report
from tests.histories import best, outcome_of
from tests.pipelines.console import peak_mb

ITERATIONS = 5
SPARE = 1.11
"""Distinct winners of a prompt and run, for each user: 8,000 at the paper's size."""
WORDS = [f"{how} {what}" for how in ("slightly", "very", "soft") for what in ("warm", "dim", "foggy", "sharp", "matte")]


def winners(prompt: int, run: int, users: int) -> list[str]:
    return [f"{prompt:02x}{run:02x}{number:028x}" for number in range(round(SPARE * users))]


def initial(prompt: int) -> str:
    return f"{prompt:02x}{0:030x}"


def draw(folder: Path, keys: Sequence[str], side: int) -> None:
    """Images with large and small structure, each of its own, as PNG in the run folder."""
    store = ImageStore(folder)
    for key in keys:
        rng = np.random.default_rng(int(key, 16))
        coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8)).resize(
            (side, side), Image.Resampling.BICUBIC
        )
        pixels = np.asarray(coarse, np.int16) + rng.normal(0, rng.uniform(1, 12), (side, side, 3))
        path = store.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def steered(users: Sequence[str], prompts: int, runs: int) -> Iterator[Outcome]:
    """What every trajectory came to: six bests, each a little better than the one before."""
    rng = np.random.default_rng(0)
    for prompt in range(prompts):
        base = f"prompt number {prompt}, of a thing on a table in a room"
        for run in range(1, runs + 1):
            images = winners(prompt, run, len(users))
            for user, final in zip(users, images, strict=False):
                scores = 0.3 + np.cumsum([0.0, *rng.uniform(0.01, 0.1, ITERATIONS)])
                drawn = [initial(prompt), *rng.choice(images, ITERATIONS - 1, replace=False), final]
                words = rng.permutation(WORDS)
                bests = [
                    best(", ".join([base, *words[:n]]), str(image), float(score))
                    for n, (image, score) in enumerate(zip(drawn, scores, strict=True))
                ]
                yield outcome_of(
                    Trajectory(
                        user=user,
                        user_ids=(user,),
                        prompt_id=f"p{prompt:02d}",
                        base_prompt=base,
                        scorer="pamela",
                        run=run,
                        image_seed=prompt,
                        seed=0,
                    ),
                    *bests,
                )


@contextmanager
def timed(what: str, **figures: Any) -> Iterator[dict[str, Any]]:
    """Report the block's time, with the figures that it adds."""
    began, cpu = time.perf_counter(), time.process_time()
    yield figures
    spent = {"s": round(time.perf_counter() - began, 2), "cpu_s": round(time.process_time() - cpu, 2)}
    report("reports", {"report": what, **spent, "peak_mb": round(peak_mb()), **figures})


def by_definition(outcomes: Sequence[Outcome], attributes: Attributes, prompts: int) -> tuple[dict[str, float], float]:
    """Means of the images of one prompt from all pairs of its finals, and the seconds that all prompts would take."""
    spread = np.std([attributes[o.bests[-1].image] for o in outcomes], axis=0) + 1e-9
    began = time.perf_counter()
    looks = [attributes[o.bests[-1].image] / spread for o in outcomes]
    users = np.array([o.trajectory.user for o in outcomes])
    runs = [o.trajectory.run for o in outcomes]
    pairs = np.array([(m, n) for m, n in combinations(range(len(outcomes)), 2) if runs[m] != runs[n]])
    alike = np.array([-float(np.linalg.norm(looks[m] - looks[n])) for m, n in pairs])
    means, compared = {}, time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(3):
        same = users[pairs[:, 0]] == users[pairs[:, 1]]
        means = {"within": float(alike[same].mean()), "between": float(alike[~same].mean())}
    return means, prompts * (compared + (time.perf_counter() - began) / 3 * PERMUTATIONS)


def measure(folder: Path, raters: int, prompts: int, runs: int) -> None:
    people = {rater.user_id: rater for rater in sample_raters(raters, seed=0)}
    outcomes = list(steered(list(people), prompts, runs))
    began, cpu, held = time.perf_counter(), time.process_time(), round(peak_mb())
    cases = cases_of(outcomes)
    with timed("attributes") as figures:
        attributes = measured(ImageStore(folder), (key for case in cases for key in (case.initial, case.final)))
        figures["images"] = len(attributes)
    with timed("consistency") as figures:
        agreement = consistency(outcomes, attributes)
        assert agreement is not None
        figures |= {name: agreement[name] for name in ("users", "of_users", "shuffles", "exact")}
    with timed("truth"):
        verdict = judge(cases, attributes, people)
        assert verdict is not None
    with timed("trends"):
        audiences = [Audience(name=user, user_ids=(user,)) for user in people]
        found = trends(cases, attributes, audiences, {user: {"age": rater.age} for user, rater in people.items()})
    with timed("gallery") as figures:
        differences = verdict.differences.items()
        shown = tuple(Finding(label=n, value=i.value, ci_low=i.ci_low, ci_high=i.ci_high) for n, i in differences)
        write_gallery(folder, outcomes, Page(title="bench", notes=(), people={}, verdict=shown, trends=found))
        pages = [page.stat().st_size / 1e6 for page in folder.glob("gallery*.html")]
        figures |= {"pages": len(pages), "largest_page_mb": round(max(pages), 2)}
    whole = {"s": round(time.perf_counter() - began, 2), "cpu_s": round(time.process_time() - cpu, 2)}
    report(
        "reports",
        {"report": "all", **whole, "peak_mb": round(peak_mb()), "before_mb": held, "trajectories": len(outcomes)},
    )
    first = [o for o in outcomes if o.trajectory.prompt_id == outcomes[0].trajectory.prompt_id]
    alone = consistency(first, attributes)
    assert alone is not None
    means, seconds = by_definition(first, attributes, prompts)
    assert all(abs(alone["images"][name] - value) < 1e-9 for name, value in means.items())
    report("reports", {"report": "consistency of images by its definition, scaled", "s": round(seconds, 1)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--prompts", type=int, default=18)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--side", type=int, default=64, help="of the images, in pixels")
    parser.add_argument("--here", type=Path, help="measure in this process, with the images of this folder")
    given = parser.parse_args()
    if given.here:
        measure(given.here, given.users, given.prompts, given.runs)
        return
    with tempfile.TemporaryDirectory() as folder:
        runs = [(prompt, run) for prompt in range(given.prompts) for run in range(1, given.runs + 1)]
        every = [key for prompt, run in runs for key in winners(prompt, run, given.users)]
        draw(Path(folder), [*map(initial, range(given.prompts)), *every], given.side)
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--here", folder], check=True)


if __name__ == "__main__":
    main()
