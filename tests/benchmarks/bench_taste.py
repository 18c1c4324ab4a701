"""What answers of each kind are worth, which questions to ask, and whether the model knows what it does not know.

    python tests/benchmarks/bench_taste.py CHECKPOINT DATASET [--split test_unseen] [--draws 8]

On real ratings of people whom training has not seen: their answers are made of their ratings of photographs that
training knows (the better rated of a pair is preferred, equal ratings are a tie, the best of four is the best rated, at
random among equals), and the ranking is judged on photographs that training has not seen. SROCC within people;
differences are paired, and intervals are 95% bootstraps over people. The baseline of the same run is as many random
ratings. One JSON line each.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from numpy.typing import NDArray

from predictor.data.dataset import Dataset, read_dataset
from predictor.encoders.encoding import Images
from predictor.evaluation.reliability import RatedPerson, reliability
from predictor.metrics import bootstrap_mean, srocc
from predictor.people.evidence_table import image_ids
from predictor.people.person import Person
from predictor.predictor import PamelaPredictor
from predictor.taste.evidence import Answer, Choice, Evidence, Like, Order, Pair, Rating
from predictor.taste.hierarchical import ImageFeatures
from predictor.taste.posterior import Posterior, covariance_factor, infer
from predictor.taste.question import next_question

COUNTS = (5, 7, 8, 10, 15)
ASKED = (5, 8, 10, 15)


@dataclass(frozen=True)
class Stranger:
    """One person whom training has not seen: what they can be asked, and what is judged."""

    number: int
    askable: NDArray[np.int64]  # images
    said: NDArray[np.float64]  # their ratings
    judged: NDArray[np.int64]
    rating: NDArray[np.float64]
    base: NDArray[np.float64]  # (judged,), scores while nothing is known of them

    def order(self, draw: int) -> NDArray[np.intp]:
        return np.random.default_rng([7, draw, self.number]).permutation(len(self.askable))


class Bench:
    """One checkpoint on one split."""

    def __init__(self, predictor: PamelaPredictor, dataset: Dataset, split: str) -> None:
        self.predictor, self.taste = predictor, predictor.taste
        files, described = dataset.image_paths, dataset.images.to_pylist()
        self.images: Images = predictor.encoders.encode_files(files, dataset.prompts, described)
        self.features: ImageFeatures = self.taste.features(self.images)
        self.catalogue = np.unique(dataset.image[dataset.rows("train")])
        known = np.isin(np.arange(len(self.images)), self.catalogue)
        demographics = predictor.encoders.encode_people(dataset.users.to_pylist())
        rows = dataset.rows(split)
        self.people = []
        for user in np.unique(dataset.user[rows]).tolist():
            own = rows[dataset.user[rows] == user]
            asked, judged = own[known[dataset.image[own]]], own[~known[dataset.image[own]]]
            vector = demographics[user]
            person = Person(name="", demographics=None if bool(vector.isnan().any()) else vector)
            base = predictor.score_images(self.images[dataset.image[judged]], [person])[0]
            self.people.append(
                Stranger(
                    user,
                    dataset.image[asked],
                    dataset.rating[asked],
                    dataset.image[judged],
                    dataset.rating[judged],
                    base,
                )
            )

    def posterior(self, person: Stranger, answers: list[Answer]) -> Posterior:
        """From answers that name places of `person.askable`."""
        return infer(
            self.taste,
            Evidence(
                answers=tuple(answers),
                ids=tuple(map(str, person.askable.tolist())),
                features=self.features[torch.from_numpy(person.askable)],
            ),
        )

    def scores(self, person: Stranger, known: Posterior) -> NDArray[np.float64]:
        return person.base + (self.features.values[person.judged] @ known.taste).numpy() + known.level

    def few(self, person: Stranger, answers: list[Answer]) -> Posterior:
        """From answers, with only the images that they are about."""
        used = sorted({place for answer in answers for place in answer.shown})
        places = {place: row for row, place in enumerate(used)}
        rows = [places.get(place, -1) for place in range(len(person.askable))]
        evidence = Evidence(
            answers=tuple(answer.relabelled(rows) for answer in answers),
            ids=tuple(map(str, used)),
            features=self.features[torch.from_numpy(person.askable[used])],
        )
        return infer(self.taste, evidence)

    def srocc(self, person: Stranger, answers: list[Answer]) -> float:
        return srocc(person.rating, self.scores(person, self.few(person, answers)))


def ratings(person: Stranger, order: NDArray[np.intp], k: int, _: int) -> list[Answer]:
    return [Rating(image=place, rating=float(person.said[place])) for place in order[:k].tolist()]


def likes(person: Stranger, order: NDArray[np.intp], k: int, _: int) -> list[Answer]:
    middle = float(np.median(person.said))
    return [Like(image=place, liked=bool(person.said[place] > middle)) for place in order[:k].tolist()]


def pairs(person: Stranger, order: NDArray[np.intp], k: int, _: int) -> list[Answer]:
    made: list[Answer] = []
    for a, b in order[: 2 * k].reshape(-1, 2).tolist():
        gap = person.said[a] - person.said[b]
        made.append(Pair(first=a, second=b, preferred=None if abs(gap) < 1e-9 else a if gap > 0 else b))
    return made


def fours(person: Stranger, order: NDArray[np.intp], k: int, draw: int, *, kind: str) -> list[Answer]:
    rng = np.random.default_rng([8, draw, person.number])
    made: list[Answer] = []
    for shown in order[: 4 * k].reshape(-1, 4).tolist():
        ranked = sorted(shown, key=lambda place: (-person.said[place], rng.random()))
        if kind == "order":
            made.append(Order(shown=tuple(ranked)))
        else:
            made.append(Choice(shown=tuple(shown), best=ranked[0], worst=ranked[-1] if kind == "both" else None))
    return made


KINDS: dict[str, Callable[[Stranger, NDArray[np.intp], int, int], list[Answer]]] = {
    "ratings": ratings,
    "pairs": pairs,
    "likes": likes,
    "best of four": partial(fours, kind="best"),
    "best and worst of four": partial(fours, kind="both"),
    "orders of four": partial(fours, kind="order"),
}


def evidence_lines(bench: Bench, draws: int) -> tuple[dict[tuple[str, int], NDArray[np.float64]], list[dict]]:
    """SROCC of each person (means over draws) by kind and number of answers, and the lines of the report."""
    found: dict[tuple[str, int], NDArray[np.float64]] = {}
    for kind, make in KINDS.items():
        for k in COUNTS:
            values = [
                [bench.srocc(person, make(person, person.order(draw), k, draw)) for draw in range(draws)]
                for person in bench.people
            ]
            found[kind, k] = np.nanmean(values, 1)
    lines = [
        {
            "answers": k,
            "kind": kind,
            "srocc": str(bootstrap_mean(of)),
            "minus as many ratings": str(bootstrap_mean(of - found["ratings", k])),
            "minus 15 ratings": str(bootstrap_mean(of - found["ratings", 15])),
        }
        for (kind, k), of in found.items()
    ]
    return found, lines


def asked(bench: Bench, person: Stranger, most: int, *, starters: int, times: list[float]) -> NDArray[np.intp]:
    """Places of `askable` in the order in which they are asked about: starters first, then what should gain most."""
    ids = image_ids(bench.images[person.askable])
    lists: dict[int, list[int]] = {}
    table = bench.predictor.starter
    for number, name in zip(table["list"].to_pylist(), table["id"].to_pylist(), strict=True):
        if name in ids:
            lists.setdefault(number, []).append(ids.index(name))
    order = max(lists.values(), key=len, default=[])[:starters]
    catalogue = bench.features[torch.from_numpy(bench.catalogue)]
    where = {image: row for row, image in enumerate(bench.catalogue.tolist())}
    while len(order) < most:
        left = np.array([where[int(image)] for place, image in enumerate(person.askable) if place not in order])
        known = bench.posterior(person, ratings(person, np.array(order, int), len(order), 0))
        began = time.perf_counter()
        rng = np.random.default_rng([5, person.number, len(order)])
        (row,) = next_question(bench.taste, known, catalogue, left, rng=rng)
        times.append(1e3 * (time.perf_counter() - began))
        order.append(int(np.flatnonzero(person.askable == bench.catalogue[row])[0]))
    return np.array(order[:most])


def question_lines(bench: Bench, random: dict[tuple[str, int], NDArray[np.float64]]) -> Iterator[dict]:
    for name, starters in (("starter set", 15), ("5 of the starter set, then adaptive", 5), ("adaptive", 0)):
        times: list[float] = []
        orders = [asked(bench, person, max(ASKED), starters=starters, times=times) for person in bench.people]
        for k in ASKED:
            of = np.array(
                [
                    bench.srocc(person, ratings(person, order, k, 0))
                    for person, order in zip(bench.people, orders, strict=True)
                ]
            )
            yield {
                "questions": name,
                "asked": k,
                "srocc": str(bootstrap_mean(of)),
                "minus as many random": str(bootstrap_mean(of - random["ratings", k])),
                "minus 15 random": str(bootstrap_mean(of - random["ratings", 15])),
                "ms a question": round(statistics.median(times), 1) if times else 0.0,
            }


def uncertainty_lines(bench: Bench) -> Iterator[dict]:
    noise, perceived = bench.predictor.answer_noise, bench.taste.config.perceived_noise
    zone = bench.taste.config.tie_zone
    for k in (0, 5, 15, 25):
        people: list[RatedPerson] = []
        for person in bench.people:
            known = bench.posterior(person, ratings(person, person.order(0), k, 0))
            factor = covariance_factor(known.factor, bench.features[torch.from_numpy(person.judged)])
            people.append(RatedPerson(rating=person.rating, score=bench.scores(person, known), factor=factor))
        found = reliability(people, noise=noise, perceived_noise=perceived, tie_zone=zone)
        yield {
            "ratings known": k,
            **{f"{row['level']:.0%} intervals hold": round(row["covered"], 4) for row in found["intervals"]},
            "calibration error of preferences": round(found["calibration_error"], 4),
            "pairs": found["n_pairs"],
            "ties predicted, observed": [round(found["ties"][name], 3) for name in ("predicted", "observed")],
            "tie zone": zone,
        }


def speed_lines(bench: Bench) -> Iterator[dict]:
    """Milliseconds of an update by thirty choices of four, and of questions over 10,000 images."""
    rng = np.random.default_rng(0)

    def median_ms(work: Callable[[], object]) -> float:
        times = []
        for _ in range(9):
            began = time.process_time()
            work()
            times.append(1e3 * (time.process_time() - began))
        return round(statistics.median(times[1:]), 1)

    person = max(bench.people, key=lambda each: len(each.askable))
    choices = fours(person, person.order(0), min(30, len(person.askable) // 4), 0, kind="both")
    for what, answer in (("ratings", ratings), ("pairs", pairs), ("choices of four", lambda *_: choices)):
        made = answer(person, person.order(0), 30, 0)
        yield {"work": f"update by {len(made)} {what}", "CPU ms": median_ms(partial(bench.few, person, made))}
    many = torch.from_numpy(rng.integers(0, len(bench.images), 10_000))
    features, known = bench.features[many], bench.posterior(person, choices[:5])
    for size in (1, 2, 4):
        ask = partial(next_question, bench.taste, known, features, np.arange(10_000), size=size, rng=rng)
        yield {"work": f"a question of {size} among 10,000 images", "CPU ms": median_ms(ask)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--split", default="test_unseen")
    parser.add_argument("--draws", type=int, default=8)
    given = parser.parse_args()
    bench = Bench(PamelaPredictor.from_pretrained(given.checkpoint), read_dataset(given.dataset), given.split)
    found, lines = evidence_lines(bench, given.draws)
    parts = (lines, question_lines(bench, found), uncertainty_lines(bench), speed_lines(bench))
    for part in parts:
        for line in part:
            print(json.dumps({"benchmark": "taste", "split": given.split, **line}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
