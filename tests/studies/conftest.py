"""A finished run in the real layout, made in milliseconds: greys instead of renders, raters who like one grey each."""

import io
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines.search.rounds import Candidate
from pipelines.search.trajectory import Trajectory
from pipelines.settings.search import SearchSettings
from predictor.simulation.attributes import measure
from predictor.simulation.raters import Rater, write_truth
from studies.design.making import make_pairs, make_rating
from studies.design.rating import read_images
from studies.design.steered_images import read_steered_images
from studies.study import Study
from tests.histories import history_of_one, write_records

PROMPTS = {"p1": "a grey wall", "p2": "a <b>grey</b> & foggy day"}
GREYS = {"u1": 60, "u2": 100, "u3": 160, "u4": 210}
INITIAL, GENERIC = 135, 250

Build = Callable[..., Path]


def picture(grey: int, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(grey))


@cache
def png(grey: int) -> bytes:
    ramp = np.add.outer(np.arange(48), np.arange(32)) % 16  # upright: the hardest shape to fit
    file = io.BytesIO()
    Image.fromarray((np.clip(grey - 8 + ramp, 0, 255)).astype(np.uint8)).convert("RGB").save(file, "PNG")
    return file.getvalue()


@cache
def attributes(grey: int) -> NDArray[np.float64]:
    with Image.open(io.BytesIO(png(grey))) as image:
        return measure(image)


def rater(user: str, grey: int) -> Rater:
    """Likes pictures of this grey best, and the less the further they are from it."""
    only_luminance = np.array([1.0, 0, 0, 0, 0, 0, 0])
    return Rater(
        user_id=user,
        age=40,
        gender="female",
        nationality="Indian",
        ideal=attributes(grey),
        tolerance=np.full(7, 15.0),
        weight=only_luminance,
        bias=0.0,
        noise=60.0,
    )


def build_run(
    folder: Path,
    *,
    users: dict[str, int] = GREYS,
    generic: dict[str, int] | None = None,
    prompts: dict[str, str] = PROMPTS,
    passes: int = 1,
    failed: tuple[str, ...] = (),
) -> Path:
    folder.mkdir()
    (folder / "run.json").write_text("{}\n")
    histories = []
    for prompt_id, prompt in prompts.items():
        for number in range(1, passes + 1):
            for who, grey, scorer in (
                *((user, grey, "pamela") for user, grey in users.items()),
                *(("*", grey, scorer) for scorer, grey in (generic or {}).items()),
            ):
                trajectory = Trajectory(
                    user=who,
                    user_ids=(who,),
                    prompt_id=prompt_id,
                    base_prompt=prompt,
                    scorer=scorer,
                    run=number,
                    image_seed=1,
                    seed=0,
                )
                keys = [f"{prompt_id}-{INITIAL}", *(f"{prompt_id}-{grey + k + number - 1}" for k in (12, 6, 0))]
                for key in keys:
                    picture(int(key.rpartition("-")[2]), folder / "images" / key[:2] / f"{key}.png")
                proposed = [
                    (Candidate(prompt=f"{prompt}, {key}", image=key), score)
                    for key, score in zip(keys[1:], (0.2, 0.3, 0.9), strict=True)
                ]
                base = (Candidate(prompt=prompt, image=keys[0]), None if who in failed else 0.1)
                histories.append(history_of_one(trajectory, [base], proposed))
    write_records(histories, SearchSettings(iterations=1), folder)
    write_truth([rater(user, grey) for user, grey in users.items()], folder / "truth.parquet")
    return folder


@pytest.fixture
def run_folder(tmp_path: Path) -> Build:
    """Build a run: `run_folder(users=…, generic=…, passes=…)`."""

    def build(name: str = "run", **told: Any) -> Path:
        return build_run(tmp_path / name, **told)

    return build


def write_greys(folder: Path) -> Path:
    """A dataset folder's images, without ratings: twelve greys with prompts and metadata."""
    lines = ["image_id,file,prompt,style"]
    for number in range(12):
        picture(20 + 19 * number, folder / f"{number}.png")
        lines.append(f'i{number:02d},{number}.png,"grey, number {number}",{"dark" if number < 6 else "light"}')
    (folder / "images.csv").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """See `write_greys`."""
    return write_greys(tmp_path / "images")


@pytest.fixture(scope="session")
def made_pair_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """What `pair_study` is a copy of."""
    folder = tmp_path_factory.mktemp("pair_study")
    run = build_run(folder / "run", generic={"hpsv3": GENERIC})
    return make_pairs(
        read_steered_images([run]),
        [run],
        folder / "study",
        others=2,
        choices={
            **{"block": 12, "practice": 2, "attention": 1, "repeats": 0.2, "completion_code": "THANKYOU"},
            "seed": 1,  # so that what is voted by position is the same each time
        },
    )


@pytest.fixture
def pair_study(made_pair_study: Study, tmp_path: Path) -> Study:
    """Four users, two prompts, a generic scorer; blocks of at most 12 trials. Its run is not to be changed."""
    return copied(made_pair_study, tmp_path / "study")


@pytest.fixture(scope="session")
def made_rating_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """What `rating_study` is a copy of."""
    folder = tmp_path_factory.mktemp("rating_study")
    images = write_greys(folder / "images")
    return make_rating(
        read_images(images),
        images,
        folder / "ratings",
        choices={
            "block": 5,
            "practice": 2,
            "attention": 1,
            "repeats": 0.2,
            "ratings_per_image": 3,
            "images_each": 10,
            "completion_code": "THANKYOU",
        },
    )


@pytest.fixture
def rating_study(made_rating_study: Study, tmp_path: Path) -> Study:
    """Ten images to rate by three people each, two for practice. The folder that they are of is not to be changed."""
    return copied(made_rating_study, tmp_path / "ratings")


def copied(study: Study, folder: Path) -> Study:
    return replace(study, folder=Path(shutil.copytree(study.folder, folder)))
