"""steer-live by real HTTP: how long people wait, and how much they like what they keep, beside the batch path.

    python tests/benchmarks/bench_live.py [--raters 3] [--prompts 2] [--seed 2026] [--look 2.0]

Simulated raters of a known taste, whom the predictor has never seen, answer 12 questions, steer each prompt for five
rounds by what they like (with the noise of their ratings), and keep their favourite. As baselines in the same run, the
same raters rate 15 pictures with the same noise, are enrolled, and steered by `steer-batch --protocol paper`; and the
best of 20 for anybody: one round by the population's score. Liking is the raters' true one, 0 to 1, by the pixels.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from pipelines import steer
from pipelines.live.catalogue import read_catalogue
from predictor.encoders.cache import cache_folder
from predictor.metrics import bootstrap_mean
from predictor.predictor import PamelaPredictor
from predictor.simulation.attributes import measure
from predictor.simulation.raters import Rater, rate, sample_raters
from predictor.taste.evidence import Rating
from tests.pipelines.live.visitor import Visitor

QUESTIONS, ROUNDS, RATINGS = 12, 5, 15
PROMPTS = ("a cup of coffee", "a pagoda above a lake", "a cat", "a rocket on its launch pad")


def tell(**values: object) -> None:
    sys.stdout.write(json.dumps({"benchmark": "live", **values}) + "\n")
    sys.stdout.flush()


def attributes(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return measure(image)


def true_liking(rater: Rater, png: bytes) -> float:
    return float(rater.utility(attributes(png)[None])[0])


def looking(rater: Rater, rng: np.random.Generator) -> Callable[[bytes], float]:
    """How much a rater likes a picture at a glance, as noisily as they rate."""
    return lambda png: true_liking(rater, png) + rng.normal(0, rater.noise / 100)


def start(people: Path) -> tuple[subprocess.Popen[str], str, float, float]:
    """A server, its link, and seconds from the command to the link and to the first page that can ask a question."""
    began = time.perf_counter()
    command = [str(Path(sys.executable).parent / "steer-live"), "--people", str(people), "--port", "0"]
    environment = {**{k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}, "NO_COLOR": "1"}
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert server.stderr is not None
    link = next(line for line in server.stderr if "open http" in line).split()[-1]
    to_link = time.perf_counter() - began
    visitor = Visitor(link)
    visitor.wait_for("What shall we call you?", "/")
    return server, link, to_link, time.perf_counter() - began


def stop(server: subprocess.Popen[str]) -> float:
    began = time.perf_counter()
    server.send_signal(2)
    server.wait(60)
    return time.perf_counter() - began


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    return {name: round(float(np.quantile(seconds, q)), 3) for name, q in (("p50", 0.5), ("p95", 0.95), ("most", 1.0))}


def live_path(link: str, raters: Sequence[Rater], prompts: Sequence[str], look_s: float, seed: int) -> np.ndarray:
    """True liking of what each rater keeps of each prompt, (raters, prompts)."""
    answers: list[float] = []
    first: list[float] = []
    following: list[float] = []
    kept = np.zeros((len(raters), len(prompts)))
    for number, rater in enumerate(raters):
        liking = looking(rater, np.random.default_rng([seed, number]))
        visitor = Visitor(link)
        visitor.begin(f"Rater {number + 1}")
        answers += visitor.answer_questions(liking, QUESTIONS)
        visitor.post("/know/stop")
        for place, prompt in enumerate(prompts):
            picture, took = visitor.steer(prompt, liking, ROUNDS, look_s=look_s)
            first.append(took[0])
            following += took[1:]
            kept[number, place] = true_liking(rater, picture)
    first = first[1:]  # the first of all waits for the pools to come up
    for what, seconds in (("answer to next", answers), ("prompt to four", first), ("choice to four", following)):
        tell(measured=f"{what}, s", count=len(seconds), **quantiles(seconds), load=os.getloadavg()[0])
    return kept


def batch_path(
    checkpoint: Path, raters: Sequence[Rater], prompts: Sequence[str], folder: Path, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """True liking, (raters, prompts), of the batch path, of best of 20 for anybody, and as written; and its renders."""
    predictor = PamelaPredictor.from_pretrained(checkpoint)
    (place,) = [found for found in (cache_folder() / "questions").iterdir() if _is_of(found, predictor)][:1]
    catalogue = read_catalogue(place)
    assert catalogue is not None
    for number, rater in enumerate(raters):
        rng = np.random.default_rng([seed, number, 1])
        rows = rng.permutation(len(catalogue.seen))[:RATINGS].tolist()
        pictures = [Image.open(catalogue.file(catalogue.ids[row])).convert("RGB") for row in rows]
        images = predictor.encode(pictures, prompts=[catalogue.subjects[row] for row in rows])
        ratings = rate(rater, catalogue.attributes[rows], rng) / 100
        said = [Rating(image=place, rating=float(rating)) for place, rating in enumerate(ratings)]
        predictor = predictor.enroll(f"rater{number + 1}", images, said)
    predictor.save_pretrained(folder / "checkpoint")
    users = [f"rater{number + 1}" for number in range(len(raters))]
    personal = steer(prompts, users, predictor=folder / "checkpoint", protocol="paper", out=folder / "paper").result()
    anybody = steer(
        prompts, users, predictor=folder / "checkpoint", protocol="paper", scorers=["population"], iterations=1,
        out=folder / "anybody",
    ).result()  # fmt: skip
    final, written, best20 = (np.zeros((len(raters), len(prompts))) for _ in range(3))

    def liked(run: str, key: str, rater: Rater) -> float:
        return true_liking(rater, (folder / run / "images" / key[:2] / f"{key}.png").read_bytes())

    for outcome in personal.outcomes:
        who, what = users.index(outcome.trajectory.user), prompts.index(outcome.trajectory.base_prompt)
        final[who, what] = liked("paper", outcome.bests[-1].image, raters[who])
        written[who, what] = liked("paper", outcome.bests[0].image, raters[who])
    for outcome in anybody.outcomes:
        what = prompts.index(outcome.trajectory.base_prompt)
        for who, rater in enumerate(raters):
            best20[who, what] = liked("anybody", outcome.bests[-1].image, rater)
    return final, best20, written, personal.images


def _is_of(place: Path, predictor: PamelaPredictor) -> bool:
    catalogue = read_catalogue(place)
    return catalogue is not None and len(catalogue.seen[0].values) == predictor.taste.config.rank


def renders_of(people: Path) -> tuple[int, int]:
    """Images that were proposed in rounds that people chose from, and all images on the disk, prepared ones too."""
    shown = every = 0
    for run in people.glob("*/runs/*"):
        rows = pq.read_table(run / "trajectories.parquet").to_pylist()
        shown += sum(row["renders"] for row in rows)
        every += len(list((run / "images").glob("*/*.png")))
    return shown, every


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--raters", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=2)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--look", type=float, default=2.0, help="seconds that people look before they choose")
    options = parser.parse_args()
    raters, prompts = sample_raters(options.raters, options.seed), list(PROMPTS[: options.prompts])
    with tempfile.TemporaryDirectory() as scratch:
        folder, people = Path(scratch), Path(scratch) / "people"
        stop(start(people)[0])  # the first start makes predictor and catalogue, where they are not there yet
        server, link, to_link, to_question = start(people)
        tell(measured="second start, s", to_link=round(to_link, 2), to_first_page=round(to_question, 2))
        try:
            live = live_path(link, raters, prompts, options.look, options.seed)
        finally:
            tell(measured="Ctrl-C to the end, s", seconds=round(stop(server), 2))
        shown, every = renders_of(people)
        about = json.loads(next(people.glob("*/person.json")).read_text())
        batch, best20, written, images = batch_path(Path(about["checkpoint"]), raters, prompts, folder, options.seed)
        found = {"live": live, "batch, paper": batch, "best of 20 for anybody": best20, "as written": written}
        for name, values in found.items():
            tell(measured="true liking", of=name, mean=round(float(values.mean()), 4), cases=values.size)
        for name in ("batch, paper", "best of 20 for anybody", "as written"):
            interval = bootstrap_mean((live - found[name]).mean(1))
            tell(
                measured="true liking, live minus",
                of=name,
                value=round(interval.value, 4),
                ci_low=round(interval.ci_low, 4),
                ci_high=round(interval.ci_high, 4),
                raters=len(raters),
            )
        tell(measured="images", chosen_from=shown, with_prepared=every, batch=images)


if __name__ == "__main__":
    main()
