"""On ratings of real people: 600 raters of 660 photographs (OASIS). The data lies beside the project, never in it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from predictor.data.dataset import Dataset, read_dataset
from predictor.data.splits import split_by_user_and_image
from predictor.evaluation.evaluator import EvaluationConfig
from predictor.evaluation.protocol import evaluate
from predictor.fitting import fit
from predictor.predictor import PamelaPredictor
from predictor.transformer.training import RECIPES

OASIS = Path(__file__).parents[3] / "shared" / "data" / "oasis"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("real people"),
    pytest.mark.skipif(not OASIS.is_dir(), reason=f"the ratings are not there: {OASIS}"),
]


@pytest.fixture(scope="module")
def by_theme() -> Dataset:
    """With the splits that are made by default: photographs of one theme, which is their prompt, stay together."""
    return read_dataset(OASIS)


@pytest.fixture(scope="module")
def dataset(by_theme: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """With splits by photograph, those that figures are told of: each photograph is a group of its own."""
    folder = tmp_path_factory.mktemp("by_photograph")
    for path in OASIS.iterdir():
        if path.name != "images.csv":
            (folder / path.name).symlink_to(path)
    images = by_theme.images.append_column("group_id", by_theme.images["image_id"])
    pq.write_table(images, folder / "images.parquet")
    ids = by_theme.user_ids
    users = [ids[number] for number in by_theme.user.tolist()]
    photographs = by_theme.images["image_id"].take(pa.array(by_theme.image)).to_pylist()
    return replace(read_dataset(folder), split=split_by_user_and_image(users, photographs, seed=0))


@pytest.fixture(scope="module")
def learnt(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> PamelaPredictor:
    """One epoch of the transformer instead of fifteen, to be quick: the taste model does not know of epochs."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PAMELA_CACHE", str(tmp_path_factory.mktemp("cache")))
        return fit(dataset, replace(RECIPES["small"], epochs=1), seed=0)


@pytest.fixture(scope="module")
def unseen_users(learnt: PamelaPredictor, dataset: Dataset) -> dict[str, Any]:
    return evaluate(learnt, dataset, EvaluationConfig(split="test_unseen", draws=1))


def test_no_theme_is_both_learnt_from_and_judged(by_theme: Dataset, dataset: Dataset) -> None:
    def themes(data: Dataset, split: str) -> set[str | None]:
        prompts = data.prompts
        return {prompts[image] for image in data.image[data.rows(split)].tolist()}

    assert themes(by_theme, "test_seen").isdisjoint(themes(by_theme, "train"))
    assert not themes(dataset, "test_seen").isdisjoint(themes(dataset, "train"))


def test_seen_people_are_ranked_better_than_without_knowing_them(learnt: PamelaPredictor) -> None:
    metrics = learnt.metrics
    assert metrics["n_users"] == 468
    assert metrics["user"]["srocc"]["value"] > 0.56
    assert metrics["differences"]["generic_head"]["srocc"]["ci_low"] > 0.05
    assert metrics["differences"]["population"]["srocc"]["ci_low"] > 0.04


def test_adaptation_to_fifteen_ratings_beats_both_the_generic_head_and_equation_1(unseen_users: dict[str, Any]) -> None:
    assert unseen_users["n_users"] == 84
    for baseline in ("generic_head", "population", "equation_1"):
        assert unseen_users["differences"][baseline]["srocc"]["ci_low"] > 0


def test_the_model_knows_what_it_does_not_know(unseen_users: dict[str, Any]) -> None:
    found = unseen_users["reliability"]
    assert found["calibration_error"] <= 0.02
    narrow, wide = (row["covered"] for row in found["intervals"])
    assert 0.77 <= narrow <= 0.83  # found on other people's ratings of other photographs: 66 of them
    assert 0.93 <= wide <= 0.97
    assert abs(found["ties"]["predicted"] - found["ties"]["observed"]) < 0.03


def test_more_ratings_never_make_it_worse_than_none(unseen_users: dict[str, Any]) -> None:
    curve = {line["k"]: line["gain"] for line in unseen_users["contexts"] if line["rule"] == "default"}
    assert set(curve) == {0, 1, 2, 5, 10, 15, 25}
    assert all(gain["value"] >= 0 for gain in curve.values())
    assert curve[25]["value"] > curve[15]["value"] > curve[5]["value"] > 0


def test_opposite_preferences_are_predicted_better_than_by_chance(learnt: PamelaPredictor, dataset: Dataset) -> None:
    diverging = evaluate(learnt, dataset, EvaluationConfig(split="test_seen"))["diverging"]
    assert diverging["n_preferences"] > 100_000
    assert diverging["accuracy"]["ci_low"] > 0.55
