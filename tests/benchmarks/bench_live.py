"""steer-live by real HTTP: how long people wait, and how much they like what they keep, beside the batch path.

    python tests/benchmarks/bench_live.py [--raters 3] [--prompts 2] [--seed 2026] [--look 2.0]
    python tests/benchmarks/bench_live.py --raters 20 --prompts 4 --from 0 --to 5 --out part1.json     # and so on
    python tests/benchmarks/bench_live.py --sum part1.json part2.json …
    python tests/benchmarks/bench_live.py --together 4       # so many people at once, beside one

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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from pipelines import steer
from pipelines.live.catalogue import QuestionPictures, read_catalogue
from predictor.encoders.cache import cache_folder
from predictor.metrics import bootstrap_mean
from predictor.predictor import PamelaPredictor
from predictor.simulation.attributes import measure
from predictor.simulation.raters import Rater, rate, sample_raters
from predictor.taste.evidence import Rating
from tests.pipelines.console import descendants
from tests.pipelines.live.visitor import Visitor

QUESTIONS, ROUNDS, RATINGS = 12, 5, 15
PROMPTS = ("a cup of coffee", "a pagoda above a lake", "a cat", "a rocket on its launch pad")
HIT_S = 0.8
"""Within which the next four shall be there where they were prepared."""


@dataclass(kw_only=True)
class Waits:
    """Seconds that people waited."""

    answers: list[float] = field(default_factory=list)
    """From an answer to the next question."""
    first: list[float] = field(default_factory=list)
    """From a prompt to the first four."""
    following: list[float] = field(default_factory=list)
    """From a choice to the next four."""

    def __add__(self, other: "Waits") -> "Waits":
        return Waits(**{name: values + getattr(other, name) for name, values in vars(self).items()})

    def tell(self, of: str) -> None:
        named = {"answer to next": self.answers, "prompt to four": self.first, "choice to four": self.following}
        for what, seconds in named.items():
            tell(measured=f"{what}, s", of=of, count=len(seconds), **quantiles(seconds), load=os.getloadavg()[0])


@dataclass(kw_only=True)
class Part:
    """What was measured of some of the raters; parts can be summed."""

    load: list[float] = field(default_factory=list)
    waits: Waits = field(default_factory=Waits)
    hits: list[bool] = field(default_factory=list)
    """Whether the round was ready when it was asked for; as `waits.following`."""
    liking: dict[str, list[list[float]]] = field(default_factory=dict)
    """By path: of each rater and prompt, true liking of what is kept."""
    core_s: dict[str, list[float]] = field(default_factory=dict)
    """Of steer-live and its actors, for an answer and for a prompt from beginning to end: mean of each rater. The
    same on a machine that has more to do."""
    chosen_from: int = 0
    """Images in rounds that people chose from."""
    drawn: int = 0
    """All images, those that were prepared and dropped too."""
    batch: int = 0
    """Images of the batch path."""

    def __add__(self, other: "Part") -> "Part":
        paths = {**self.liking, **other.liking}
        costs = {**self.core_s, **other.core_s}
        return Part(
            load=self.load + other.load,
            waits=self.waits + other.waits,
            hits=self.hits + other.hits,
            liking={path: self.liking.get(path, []) + other.liking.get(path, []) for path in paths},
            core_s={what: self.core_s.get(what, []) + other.core_s.get(what, []) for what in costs},
            **{n: getattr(self, n) + getattr(other, n) for n in ("chosen_from", "drawn", "batch")},
        )

    @classmethod
    def read(cls, path: Path) -> "Part":
        values = json.loads(path.read_text())
        return cls(waits=Waits(**values.pop("waits")), **values)

    def tell(self) -> None:
        self.waits.tell("one person")
        ready = [seconds for seconds, hit in zip(self.waits.following, self.hits, strict=True) if hit]
        tell(
            measured="speculation",
            choices=len(self.hits),
            hits=len(ready),
            hits_in_time=sum(seconds <= HIT_S for seconds in ready),
            **(quantiles(ready) if ready else {}),
        )
        tell(measured="core seconds", **{what: round(float(np.mean(s)), 3) for what, s in self.core_s.items()})
        live = np.array(self.liking["live"])
        for path, values in self.liking.items():
            tell(measured="true liking", of=path, mean=round(float(np.mean(values)), 4), cases=live.size)
        for path in [name for name in self.liking if name != "live"]:
            found = bootstrap_mean((live - np.array(self.liking[path])).mean(1))
            rounded = {name: round(getattr(found, name), 4) for name in ("value", "ci_low", "ci_high")}
            tell(measured="true liking, live minus", of=path, **rounded, raters=len(live))
        gain = np.mean(self.liking["batch, paper"]) - np.mean(self.liking["as written"])
        tell(measured="gain of the batch path", value=round(float(gain), 4), five_percent=round(float(gain) / 20, 4))
        shares = {name: round(getattr(self, name) / self.batch, 3) for name in ("chosen_from", "drawn")}
        tell(measured="images", chosen_from=self.chosen_from, drawn=self.drawn, batch=self.batch, shares=shares)
        tell(measured="load of the machine", least=min(self.load), most=max(self.load))


def tell(**values: object) -> None:
    sys.stdout.write(json.dumps({"benchmark": "live", **values}) + "\n")
    sys.stdout.flush()


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    return {name: round(float(np.quantile(seconds, q)), 3) for name, q in (("p50", 0.5), ("p95", 0.95), ("most", 1.0))}


def attributes(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return measure(image)


def true_liking(rater: Rater, png: bytes) -> float:
    return float(rater.utility(attributes(png)[None])[0])


def looking(rater: Rater, rng: np.random.Generator) -> Callable[[bytes], float]:
    """How much a rater likes a picture at a glance, as noisily as they rate."""
    return lambda png: true_liking(rater, png) + rng.normal(0, rater.noise / 100)


def core_s(pid: int) -> float:
    """User and system time of a process and all that it has started."""
    ticks = 0
    for each in (pid, *(child for child, _ in descendants(pid))):
        with suppress(OSError):  # it has ended meanwhile
            ticks += sum(map(int, Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def server(people: Path) -> Iterator[tuple[str, int]]:
    """Link and process id of a server that is started for the second time."""
    with started(people):  # the first start makes predictor and catalogue, where they are not there yet
        pass
    with started(people) as running:
        yield running


@contextmanager
def started(people: Path) -> Iterator[tuple[str, int]]:
    """A server until it is stopped; tells the seconds to the link and to the first page, and from Ctrl-C to the end."""
    began = time.perf_counter()
    command = [str(Path(sys.executable).parent / "steer-live"), "--people", str(people), "--port", "0"]
    environment = {**{k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}, "NO_COLOR": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    link = next(line for line in process.stderr if "open http" in line).split()[-1]
    to_link = time.perf_counter() - began
    Visitor(link).wait_for("What shall we call you?", "/")
    tell(measured="start, s", to_link=round(to_link, 2), to_first_page=round(time.perf_counter() - began, 2))
    try:
        yield link, process.pid
    finally:
        began = time.perf_counter()
        process.send_signal(2)
        process.wait(300)
        tell(measured="Ctrl-C to the end, s", seconds=round(time.perf_counter() - began, 2))


def sit(
    running: tuple[str, int], name: str, rater: Rater, prompts: Sequence[str], look_s: float, rng: np.random.Generator
) -> Part:
    """One rater: what they wait for, and how much they truly like what they keep of each prompt."""
    link, pid = running
    liking, waits, kept = looking(rater, rng), Waits(), list[float]()
    visitor = Visitor(link)
    visitor.begin(name)
    before = core_s(pid)
    waits.answers = visitor.answer_questions(liking, QUESTIONS)
    an_answer = (core_s(pid) - before) / QUESTIONS
    visitor.post("/know/stop")
    before = core_s(pid)
    for prompt in prompts:
        picture, took = visitor.steer(prompt, liking, ROUNDS, look_s=look_s)
        waits.first.append(took[0])
        waits.following += took[1:]
        kept.append(true_liking(rater, picture))
    costs = {"an answer": [an_answer], "a prompt": [(core_s(pid) - before) / len(prompts)]}
    return Part(load=[os.getloadavg()[0]], waits=waits, liking={"live": [kept]}, core_s=costs)


def live_path(
    running: tuple[str, int], people: Path, raters: dict[int, Rater], prompts: Sequence[str], look_s: float
) -> Part:
    """One rater after the other."""
    part = Part(liking={"live": []})
    _warm_up(running, prompts[0])
    for number, rater in raters.items():
        part += sit(running, f"Rater {number}", rater, prompts, look_s, np.random.default_rng([number, 2]))
        for run in sorted((people / f"Rater {number}" / "runs").iterdir()):
            ready = json.loads((run / "run.json").read_text())["speculation"]["hits"]
            part.hits += [1 + choice in ready for choice in range(1, ROUNDS + 1)]  # after round 0, as written, and 1
            part.chosen_from += sum(row["renders"] for row in pq.read_table(run / "trajectories.parquet").to_pylist())
            part.drawn += len(list((run / "images").glob("*/*.png")))
    return part


def _warm_up(running: tuple[str, int], prompt: str) -> None:
    """Whoever comes first waits for the pools to come up."""
    visitor = Visitor(running[0])
    visitor.begin("First of all")
    visitor.steer(prompt, lambda png: 0.0, 0)


def together(running: tuple[str, int], count: int, raters: Sequence[Rater], look_s: float, seed: int) -> None:
    """What one person waits for, and what several at once wait for."""
    _warm_up(running, PROMPTS[0])
    for people in (1, count):
        with ThreadPoolExecutor(people) as threads:
            sitting = [
                threads.submit(
                    *(sit, running, f"One of {people} {place}", rater, PROMPTS[:2], look_s),
                    np.random.default_rng([seed, people, place]),
                )
                for place, rater in enumerate(raters[:people])
            ]
            waits = [each.result().waits for each in sitting]
        sum(waits, Waits()).tell(f"{people} at once")


def batch_path(
    checkpoint: Path, raters: dict[int, Rater], prompts: Sequence[str], folder: Path
) -> tuple[dict[str, list[list[float]]], int]:
    """True liking of the batch path, of best of 20 for anybody, and as written; and the batch path's images."""
    predictor = PamelaPredictor.from_pretrained(checkpoint)
    catalogue = next(
        filter(None, (_catalogue_of(place, predictor) for place in (cache_folder() / "questions").iterdir()))
    )
    for number, rater in raters.items():
        rng = np.random.default_rng([number, 1])
        rows = rng.permutation(len(catalogue.seen))[:RATINGS].tolist()
        pictures = [Image.open(catalogue.file(catalogue.ids[row])).convert("RGB") for row in rows]
        images = predictor.encode(pictures, prompts=[catalogue.subjects[row] for row in rows])
        ratings = rate(rater, catalogue.attributes[rows], rng) / 100
        said = [Rating(image=place, rating=float(rating)) for place, rating in enumerate(ratings)]
        predictor = predictor.enroll(f"rater{number}", images, said)
    predictor.save_pretrained(folder / "checkpoint")
    users = {f"rater{number}": rater for number, rater in raters.items()}
    common = {"predictor": folder / "checkpoint", "protocol": "paper"}
    personal = steer(prompts, list(users), out=folder / "paper", **common).result()
    anybody = steer(
        prompts, list(users), out=folder / "anybody", scorers=["population"], iterations=1, **common
    ).result()

    def liked(run: str, key: str, rater: Rater) -> float:
        return true_liking(rater, (folder / run / "images" / key[:2] / f"{key}.png").read_bytes())

    ends = {(o.trajectory.user, o.trajectory.base_prompt): o.bests for o in personal.outcomes}
    best20 = {o.trajectory.base_prompt: o.bests[-1].image for o in anybody.outcomes}
    cases = [[(user, prompt) for prompt in prompts] for user in users]
    return {
        "batch, paper": [[liked("paper", ends[case][-1].image, users[case[0]]) for case in row] for row in cases],
        "best of 20 for anybody": [
            [liked("anybody", best20[case[1]], users[case[0]]) for case in row] for row in cases
        ],
        "as written": [[liked("paper", ends[case][0].image, users[case[0]]) for case in row] for row in cases],
    }, personal.images


def _catalogue_of(place: Path, predictor: PamelaPredictor) -> QuestionPictures | None:
    catalogue = read_catalogue(place)
    rank = predictor.taste.config.rank
    return catalogue if catalogue is not None and len(catalogue.seen[0].values) == rank else None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--raters", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=2)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--look", type=float, default=2.0, help="seconds that people look before they choose")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first of the raters of this part")
    parser.add_argument("--to", type=int, help="the one after the last of them")
    parser.add_argument("--out", type=Path, help="where this part is kept")
    parser.add_argument("--sum", type=Path, nargs="+", help="parts to sum; nothing is measured")
    parser.add_argument("--together", type=int, help="only measure what so many people at once wait for, beside one")
    options = parser.parse_args()
    if options.sum:
        sum((Part.read(path) for path in options.sum), Part()).tell()
        return
    everybody, prompts = sample_raters(options.raters, options.seed), list(PROMPTS[: options.prompts])
    raters = dict(list(enumerate(everybody, start=1))[options.first : options.to])
    with tempfile.TemporaryDirectory() as scratch:
        folder, people = Path(scratch), Path(scratch) / "people"
        with server(people) as running:
            if options.together:
                others = sample_raters(options.together, options.seed + 1)
                together(running, options.together, others, options.look, options.seed)
                return
            part = live_path(running, people, raters, prompts, options.look)
        about = json.loads(next(people.glob("*/person.json")).read_text())
        liking, part.batch = batch_path(Path(about["checkpoint"]), raters, prompts, folder)
        part.liking |= liking
    if options.out:
        options.out.write_text(json.dumps(asdict(part)))
    part.tell()


if __name__ == "__main__":
    main()
