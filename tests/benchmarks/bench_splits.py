"""How much a figure depends on which people and images are held out: five seeded splits, each trained and judged.

    python tests/benchmarks/bench_splits.py DATASET [--splits 5] [--first 0] [--by COLUMN] [--transformer]

For each seed the splits are made anew, by photograph, and with `--by` by a column of the images' table, whose images
then stay together. SROCC within people on test photographs, of seen people and of unseen ones with 15 ratings known.
The last line has the means, with the standard deviation between splits, by photograph and by the column; beside them
half of the interval over people and images that one split gives: about twice the deviation, if it tells the truth.
And what knowing seen people gains over a generic head, and the share of their ratings that 80% and 95% intervals hold.
"""

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from predictor.data.dataset import Dataset, read_dataset
from predictor.data.splits import split_by_user_and_image
from predictor.fitting import fit
from predictor.metrics import Interval
from predictor.transformer.training import RECIPES
from tests.benchmarks.bench_choices import judged


def split_anew(dataset: Dataset, seed: int, by: str | None) -> Dataset:
    """With other splits; images of one value of a column stay together."""
    ids = dataset.images["image_id" if by is None else by].to_pylist()
    users = [dataset.user_ids[number] for number in dataset.user.tolist()]
    images = [str(ids[number]) for number in dataset.image.tolist()]
    return replace(dataset, split=split_by_user_and_image(users, images, seed=seed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="seed of the first split")
    parser.add_argument("--by", default=None)
    parser.add_argument("--transformer", action="store_true")
    given = parser.parse_args()
    dataset, recipe = read_dataset(given.dataset), RECIPES["small"]
    if not given.transformer:
        recipe = replace(recipe, epochs=1, transformer_weight=0.0)
    means: dict[str, list[float]] = {}
    for by in dict.fromkeys((None, given.by)):
        for seed in range(given.first, given.first + given.splits):
            data = split_anew(dataset, seed, by)
            predictor = fit(data, recipe, seed=0)
            line = {part: round(float(np.nanmean(values)), 4) for part, values in judged(predictor, data).items()}
            interval = Interval.from_dict(predictor.metrics["people_and_images"]["user"]["srocc"])
            gain = predictor.metrics["differences"]["generic_head"]["srocc"]["value"]
            line["seen, more than a generic head"] = round(gain, 4)
            line["half of the seen people's interval"] = (interval.ci_high - interval.ci_low) / 2
            for held in predictor.metrics["reliability"]["intervals"]:
                line[f"{held['level']:.0%} intervals hold"] = held["covered"]
            _tell({"split": seed, "by": by or "photograph", **line, "seen, over people and images": str(interval)})
            for part, value in line.items():
                means.setdefault(f"{part}, by {by or 'photograph'}", []).append(value)
    _tell({part: f"{np.mean(v):.3f} ± {np.std(v, ddof=1):.3f}" for part, v in means.items()})


def _tell(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
