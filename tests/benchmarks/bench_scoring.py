"""One image scored for 200 people against one; a person added: `python tests/benchmarks/bench_scoring.py CHECKPOINT`.

The checkpoint must know 200 people, such as one trained on the OASIS ratings. Every image is new to the feature
cache, as a freshly rendered one is; those of the new person are encoded before the clock starts. The baseline of the
same run is the image encoder alone.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from PIL import Image

from predictor.enrolment import AnsweredImages, enroll
from predictor.people.person import Person
from predictor.predictor import PamelaPredictor
from predictor.taste.evidence import Rating

COUNT, PEOPLE, RATED = 60, 200, 15


def milliseconds(work: Callable[[Image.Image], object], pictures: Sequence[Image.Image]) -> float:
    """Median over the pictures, after the first five."""
    times = []
    for picture in pictures:
        began = time.perf_counter()
        work(picture)
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times[5:])


def enrolment(predictor: PamelaPredictor, pictures: Sequence[Image.Image], folder: Path) -> float:
    """Milliseconds to add a person by cached images and to write the checkpoint, median of seven."""
    files = [folder / f"{number}.png" for number in range(len(pictures))]
    for picture, file in zip(pictures, files, strict=True):
        picture.save(file)
    answers = [Rating(image=row, rating=value) for row, value in enumerate(np.linspace(0, 1, len(files)).tolist())]
    rated = AnsweredImages(files=files, answers=answers, prompts=["a cloud"] * len(files))
    times = []
    for number in range(-1, 7):  # the first time encodes
        began = time.perf_counter()
        enroll(predictor, "somebody new", rated).save_pretrained(folder / f"checkpoint {number}")
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times[1:])


def main() -> None:
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as cache:
        predictor = PamelaPredictor.from_pretrained(sys.argv[1], cache=Path(cache))
        people = [predictor.person(user) for user in predictor.user_ids[:PEOPLE]]
        if len(people) < PEOPLE:
            raise SystemExit(f"{sys.argv[1]}: knows {len(people)} people, {PEOPLE} are needed")

        def pictures(count: int = COUNT) -> list[Image.Image]:
            return [Image.fromarray(rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)) for _ in range(count)]

        def scored(group: Sequence[Person]) -> float:
            return milliseconds(
                lambda p: predictor.score_images(predictor.encode([p], prompts=["a cloud"]), group), pictures()
            )

        encoder = milliseconds(lambda p: predictor.encoders.image.encode([p]), pictures())
        one, many = scored(people[:1]), scored(people)
        added = enrolment(predictor, pictures(RATED), Path(cache))
    print("| one new image of 256 x 256, one core | median ms |\n|---|---|")  # noqa: T201
    print(f"| image encoder alone | {encoder:.1f} |")  # noqa: T201
    print(f"| scored for 1 person | {one:.1f} |")  # noqa: T201
    print(f"| scored for {PEOPLE} people | {many:.1f} ({many / one:.2f} times) |")  # noqa: T201
    print(f"| a person added by {RATED} encoded images, checkpoint written | {added:.0f} |")  # noqa: T201


if __name__ == "__main__":
    main()
