"""One small dataset with a known truth, one small checkpoint made of it, and the caches they share."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from predictor.data.dataset import read_dataset
from predictor.fitting import fit
from predictor.predictor import PamelaPredictor
from predictor.simulation.dataset import simulate
from predictor.transformer.training import Recipe
from tests.conftest import MakeOnce

BRIEF = Recipe(
    epochs=3,
    batch_size=32,
    learning_rate=1e-3,
    warmup_steps=5,
    drop_prompt=0.1,
    drop_demographics=0.1,
    transformer_weight=0.4,  # both models have their say
)


@pytest.fixture(scope="session")
def cache(make_once: MakeOnce) -> Path:
    """Where features are kept while the tests run: never the user's own cache. All workers share it."""
    return make_once("cache", lambda folder: None)


@pytest.fixture(autouse=True)
def _cache_of_the_tests(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAMELA_CACHE", str(cache))


@pytest.fixture(scope="session")
def rated(make_once: MakeOnce) -> Path:
    """A dataset folder: 40 images of 48 pixels, 6 simulated raters, 5 ratings an image. Not to be changed."""

    def rate(folder: Path) -> None:
        write_images(folder, 40)
        simulate(folder, raters=6, ratings_per_image=5, seed=0)

    return make_once("rated", rate)


@pytest.fixture(scope="session")
def rated_by_many(make_once: MakeOnce) -> Path:
    """A dataset folder without splits: 14 simulated raters, who each rate 70 or so of 100 images. Not to be changed."""

    def rate(folder: Path) -> None:
        write_images(folder, 100)
        simulate(folder, raters=14, ratings_per_image=10, seed=0)
        lines = (folder / "ratings.csv").read_text("utf-8").splitlines()
        (folder / "ratings.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines) + "\n", "utf-8")

    return make_once("rated_by_many", rate)


@pytest.fixture
def dataset(rated: Path, tmp_path: Path) -> Path:
    """A copy of the dataset folder that a test may change."""
    return Path(shutil.copytree(rated, tmp_path / "dataset"))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of images that nobody has rated yet."""
    folder = tmp_path / "images"
    folder.mkdir()
    write_images(folder, 10)
    return folder


@pytest.fixture(scope="session")
def predictor(rated: Path, cache: Path) -> PamelaPredictor:
    """Trained for three epochs: weights that are no accident, in a second or two."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PAMELA_CACHE", str(cache))
        return fit(read_dataset(rated), BRIEF, seed=1)


@pytest.fixture(scope="session")
def saved(predictor: PamelaPredictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint folder of `predictor`. Not to be changed."""
    folder = tmp_path_factory.mktemp("saved")
    predictor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def of_many(rated_by_many: Path, cache: Path) -> PamelaPredictor:
    """Trained on those of the 14 raters who are not held out."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PAMELA_CACHE", str(cache))
        return fit(read_dataset(rated_by_many), BRIEF, seed=1)


@pytest.fixture
def checkpoint(saved: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint folder that a test may change."""
    return Path(shutil.copytree(saved, tmp_path / "checkpoint"))


@pytest.fixture
def pictures(rated: Path) -> Iterator[list[Image.Image]]:
    """The first six images of the dataset."""
    opened: list[Image.Image] = [Image.open(path) for path in sorted(rated.glob("*.png"))[:6]]
    yield opened
    for picture in opened:
        picture.close()


@pytest.fixture
def change() -> Callable[[Path, str, str], None]:
    """Replace the first occurrence of a text in a file, which has to be there."""

    def replaced(path: Path, old: str, new: str) -> None:
        text = path.read_text("utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), "utf-8")

    return replaced


def write_images(folder: Path, count: int) -> None:
    """Soft coloured clouds, bright and dark, flat and busy; ids that would lose their zeros as numbers."""
    rng = np.random.default_rng(0)
    lines = ["image_id,file,prompt,style"]
    for number in range(count):
        clouds = rng.uniform(0, 255, 3) + rng.normal(0, rng.uniform(5, 60), (6, 6, 3))
        small = Image.fromarray(clouds.clip(0, 255).astype(np.uint8))
        small.resize((48, 48), Image.Resampling.BICUBIC).save(folder / f"{number:03d}.png")
        lines.append(
            f"{number:03d},{number:03d}.png,{('a cloud', 'fog')[number % 2]},{('soft', 'harsh', '')[number % 3]}"
        )
    (folder / "images.csv").write_text("\n".join(lines) + "\n", "utf-8")
