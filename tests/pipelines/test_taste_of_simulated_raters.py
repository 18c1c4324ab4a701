"""Taste as it is learnt against taste as it is: what raters truly like of prints that nobody has rated."""

from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import spearmanr

from actors.renderers.darkroom.darkroom import Darkroom
from pipelines.planning.embedded_predictor import EmbeddedRecipe, _develop
from predictor.data.dataset import Dataset, read_dataset
from predictor.encoders.encoding import Images
from predictor.fitting import fit
from predictor.predictor import PamelaPredictor
from predictor.simulation.attributes import measure
from predictor.simulation.dataset import simulate
from predictor.transformer.training import RECIPES

# After those that make the embedded checkpoint: its first prints are these, and the cache keeps their features.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("embedded checkpoint")]

PRINTS = EmbeddedRecipe(raters=24, images=700, ratings_per_image=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """People, prints of which one in five has not been rated for training, and what was learnt of the others."""

    data: Dataset
    predictor: PamelaPredictor
    images: Images
    unseen: NDArray[np.intp]
    true: NDArray[np.float64]  # (24, unseen prints)

    def predicted(self, *, personal: bool) -> NDArray[np.float64]:
        people = [self.predictor.person(u) if personal else self.predictor.population() for u in self.data.user_ids]
        return self.predictor.score_images(self.images[self.unseen], people)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("prints") / "dataset"
    _develop(Darkroom(), PRINTS, folder, lambda what, done, total: None)
    raters = simulate(folder, raters=PRINTS.raters, ratings_per_image=PRINTS.ratings_per_image, seed=0)
    data = read_dataset(folder)
    predictor = fit(data, replace(RECIPES["small"], epochs=1, transformer_weight=0.0))
    images = predictor.encoders.encode_files(data.image_paths, data.prompts, data.images.to_pylist())
    unseen = np.unique(data.image[data.rows("test_seen")])
    attributes = np.stack([_measured(data.image_paths[number]) for number in unseen])
    true = np.stack([rater.utility(attributes) for rater in raters])
    return World(data=data, predictor=predictor, images=images, unseen=unseen, true=true)


def _measured(path: Path) -> NDArray[np.float64]:
    with Image.open(path) as image:
        return measure(image)


def rank_correlation(a: Any, b: Any) -> float:
    found: Any = spearmanr(a, b)
    return float(found.statistic)


def rank_correlations(predicted: NDArray[np.float64], true: NDArray[np.float64]) -> list[float]:
    return [rank_correlation(p, t) for p, t in zip(predicted, true, strict=True)]


def test_prints_that_nobody_has_rated_are_ranked_as_each_person_truly_likes_them(world: World) -> None:
    personal, generic = (rank_correlations(world.predicted(personal=p), world.true) for p in (True, False))
    print(f"true SROCC: personal {np.mean(personal):.3f} (min {min(personal):.3f}), generic {np.mean(generic):.3f}")  # noqa: T201
    assert np.mean(personal) > 0.85
    assert np.mean(personal) > np.mean(generic) + 0.15
    assert sum(p > g for p, g in zip(personal, generic, strict=True)) >= 22  # of 24


def test_people_who_truly_like_the_same_are_found_alike(world: World) -> None:
    """Over all pairs of people: correlation of their predicted liking against that of their true utilities."""
    pairs = list(combinations(range(PRINTS.raters), 2))

    def alike(liking: NDArray[np.float64]) -> list[float]:
        correlation: NDArray[np.float64] = np.atleast_2d(np.corrcoef(liking))
        return [float(correlation[a, b]) for a, b in pairs]

    true = alike(world.true)
    found = rank_correlation(alike(world.predicted(personal=True)), true)
    beyond_generic = world.predicted(personal=True) - world.predicted(personal=False)
    tastes = rank_correlation(alike(beyond_generic), alike(world.true - world.true.mean(0)))
    print(f"Spearman over {len(pairs)} pairs: liking {found:.3f}, taste beyond the common {tastes:.3f}")  # noqa: T201
    assert found > 0.6
    assert tastes > 0.6
