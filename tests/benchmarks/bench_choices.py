"""What training loses where people choose instead of rating: the same people and photographs, ratings against pairs.

    python tests/benchmarks/bench_choices.py DATASET [--recipe small] [--without-transformer]

The pairs are made of the training ratings: the better rated of two photographs of a person is preferred, equal ratings
are a tie. Judged are the test photographs, by SROCC within people: of seen people, and of unseen ones with nothing or
15 ratings known. The baseline of the same run is training on the ratings. Differences are paired, intervals are 95%
bootstraps over people. One JSON line a kind of training.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from numpy.typing import NDArray

from predictor.data.dataset import Dataset, DatasetChoice, read_dataset
from predictor.fitting import fit
from predictor.metrics import bootstrap_mean, srocc
from predictor.people.person import Person
from predictor.predictor import PamelaPredictor
from predictor.taste.evidence import Evidence, Rating
from predictor.taste.posterior import infer
from predictor.transformer.training import RECIPES

KNOWN = 15
DRAWS = 4


def pairs(dataset: Dataset, per_rating: float, seed: int = 0) -> Iterator[DatasetChoice]:
    """So many pairs of each person's training ratings as there are of these, each photograph equally often."""
    rng, rows = np.random.default_rng([seed, 0xC0]), dataset.rows("train")
    for user in np.unique(dataset.user[rows]).tolist():
        own, wanted = rows[dataset.user[rows] == user], round(per_rating * np.sum(dataset.user[rows] == user))
        shuffled = np.concatenate([rng.permutation(own)[: len(own) // 2 * 2] for _ in range(int(2 * per_rating) + 1)])
        for a, b in shuffled.reshape(-1, 2)[:wanted].tolist():
            gap = dataset.rating[a] - dataset.rating[b]
            first, second = int(dataset.image[a]), int(dataset.image[b])
            chosen = None if abs(gap) < 1e-9 else first if gap > 0 else second
            yield DatasetChoice(user=user, shown=(first, second), chosen=chosen, worst=None, split="train")


def without_ratings(dataset: Dataset, share: float) -> Dataset:
    """Without a share of each person's training ratings; held-out ratings stay, also the validation's."""
    rng = np.random.default_rng(1)
    dropped = (dataset.split == "train") & (rng.random(len(dataset.rating)) < share)
    kept = ~dropped
    parts = {name: getattr(dataset, name)[kept] for name in ("user", "image", "rating", "split")}
    return replace(dataset, **parts)


def judged(predictor: PamelaPredictor, dataset: Dataset) -> dict[str, NDArray[np.float64]]:
    """SROCC by person: seen people, and unseen ones with nothing and with some ratings known."""
    images = predictor.encoders.encode_files(dataset.image_paths, dataset.prompts, dataset.images.to_pylist())
    features = predictor.taste.features(images)
    demographics = predictor.encoders.encode_people(dataset.users.to_pylist())
    training = np.zeros(len(images), bool)
    training[dataset.image[dataset.rows("train")]] = True
    seen, nobody, few = [], [], []
    rows = dataset.rows("test_seen")
    for user in np.unique(dataset.user[rows]).tolist():
        own = rows[dataset.user[rows] == user]
        person = predictor.person(dataset.user_ids[user])
        seen.append(srocc(dataset.rating[own], predictor.score_images(images[dataset.image[own]], [person])[0]))
    rows = dataset.rows("test_unseen")
    for user in np.unique(dataset.user[rows]).tolist():
        own = rows[dataset.user[rows] == user]
        asked, judged = own[training[dataset.image[own]]], own[~training[dataset.image[own]]]
        vector = demographics[user]
        person = Person(name="", demographics=None if bool(vector.isnan().any()) else vector)
        shown = images[dataset.image[judged]]
        nobody.append(srocc(dataset.rating[judged], predictor.score_images(shown, [person])[0]))
        found = []
        for draw in range(DRAWS):
            chosen = np.random.default_rng([7, draw, user]).permutation(asked)[:KNOWN]
            said = Evidence(
                answers=tuple(Rating(image=n, rating=float(dataset.rating[row])) for n, row in enumerate(chosen)),
                ids=tuple(map(str, chosen)),
                features=features[dataset.image[chosen]],
            )
            known = infer(predictor.taste, said)
            person = replace(person, taste=known.taste, level=known.level)
            found.append(srocc(dataset.rating[judged], predictor.score_images(shown, [person])[0]))
        few.append(float(np.mean(found)))
    return {"seen": np.array(seen), "unseen": np.array(nobody), f"unseen, {KNOWN} known": np.array(few)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--recipe", default="small")
    parser.add_argument("--without-transformer", action="store_true")
    given = parser.parse_args()
    dataset = read_dataset(given.dataset)
    recipe = RECIPES[given.recipe]
    if given.without_transformer:
        recipe = replace(recipe, epochs=1, transformer_weight=0.0)
    chosen = {
        "ratings": dataset,
        "half of the ratings": without_ratings(dataset, 0.5),
        "a pair for two ratings": replace(without_ratings(dataset, 1.0), choices=tuple(pairs(dataset, 0.5))),
        "a pair for each rating": replace(without_ratings(dataset, 1.0), choices=tuple(pairs(dataset, 1.0))),
        "two pairs for each rating": replace(without_ratings(dataset, 1.0), choices=tuple(pairs(dataset, 2.0))),
        "half of the ratings, a pair for each other one": replace(
            without_ratings(dataset, 0.5), choices=tuple(pairs(dataset, 0.5, seed=1))
        ),
    }
    baseline: dict[str, NDArray[np.float64]] = {}
    for name, data in chosen.items():
        began = time.process_time()
        predictor = fit(data, recipe, seed=0)
        seconds, found = time.process_time() - began, judged(predictor, dataset)
        baseline = baseline or found
        line = {"training": name, "weight": predictor.transformer_weight, "cpu_s": round(seconds)}
        for part, values in found.items():
            line[part] = round(float(np.nanmean(values)), 4)
            if name != "ratings":
                difference = values - baseline[part]  # nan of who gave all test photographs the same
                line[f"{part}, difference"] = str(bootstrap_mean(difference[~np.isnan(difference)]))
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
