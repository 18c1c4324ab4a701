import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from predictor.data.dataset import Dataset, DatasetChoice, read_dataset
from predictor.encoders.encoding import EncoderNames
from predictor.fitting import TRANSFORMER_WEIGHTS, fit
from predictor.metrics import METRICS, mean_over_users, per_user, srocc
from predictor.predictor import PamelaPredictor
from predictor.simulation.dataset import simulate
from predictor.transformer.training import Recipe

BRIEF = Recipe(epochs=1, batch_size=64, learning_rate=1e-3)
LONGER = Recipe(epochs=8, batch_size=64, learning_rate=2e-3, warmup_steps=10, transformer_weight=1.0)


def test_metrics_are_of_unseen_images_for_the_person_the_population_and_without_the_user(
    predictor: PamelaPredictor,
) -> None:
    metrics = predictor.metrics
    assert (metrics["split"], metrics["n_users"], metrics["n_images"], metrics["n_ratings"]) == ("test_seen", 6, 8, 40)
    baselines = metrics["baselines"]
    assert set(baselines) == {"population", "generic_head", "matrix_factorisation", "population_mean"}
    measured = [metrics["user"], metrics["population"], *(baselines[n]["user"] for n in ("population", "generic_head"))]
    for model in measured:
        assert set(model) == set(METRICS)
        for interval in model.values():
            assert -1 <= interval["ci_low"] <= interval["value"] <= interval["ci_high"] <= 1
    assert json.loads(json.dumps(metrics)) == metrics


def test_the_gain_by_knowing_the_user_is_the_difference_of_the_two_models(predictor: PamelaPredictor) -> None:
    metrics = predictor.metrics
    gain = metrics["user"]["srocc"]["value"] - metrics["baselines"]["generic_head"]["user"]["srocc"]["value"]
    assert metrics["differences"]["generic_head"]["srocc"]["value"] == pytest.approx(gain)


def test_the_metrics_are_those_of_the_scores_that_the_checkpoint_gives(predictor: PamelaPredictor, rated: Path) -> None:
    dataset = read_dataset(rated)
    rows = dataset.rows("test_seen")
    metadata = dataset.images.to_pylist()
    scores = np.empty(len(rows))
    for position, row in enumerate(rows):
        number = dataset.image[row]
        with Image.open(dataset.image_paths[number]) as image:
            person = predictor.person(dataset.user_ids[dataset.user[row]])
            said: dict[str, Any] = {"prompts": [dataset.prompts[number]], "metadata": [metadata[number]]}
            scores[position] = predictor.score([image], person, **said)[0]
    values = per_user(srocc, dataset.user[rows], dataset.rating[rows], scores)
    assert mean_over_users(values).as_dict() == pytest.approx(predictor.metrics["user"]["srocc"], abs=1e-9)


def test_the_card_shows_the_metrics_and_where_they_come_from(predictor: PamelaPredictor) -> None:
    assert predictor.card.startswith("# PAMELA predictor: simulated-6-raters\n")
    assert "40 ratings of 8 images by 6 users" in predictor.card
    assert f"| personal | {predictor.metrics['user']['srocc']['value']:+.3f} [" in predictor.card
    generic = predictor.metrics["baselines"]["generic_head"]["user"]["srocc"]["value"]
    assert f"| generic head: no user at all | {generic:+.3f} [" in predictor.card
    assert "Weight of the transformer in the ensemble: 0.4;" in predictor.card


def test_a_profile_is_the_rating_weighted_mean_of_the_images_that_a_user_rated_in_training(
    predictor: PamelaPredictor, rated: Path
) -> None:
    dataset = read_dataset(rated)
    own = [row for row in dataset.rows("train") if dataset.user[row] == 2]
    features = predictor.encode([Image.open(dataset.image_paths[dataset.image[row]]) for row in own]).image
    expected = np.average(features, axis=0, weights=dataset.rating[own])
    user = predictor.users.to_pylist()[2]
    assert user["n_ratings"] == len(own)
    assert user["profile"] == pytest.approx(expected, abs=1e-4)


def test_the_same_seed_gives_the_same_checkpoint(rated: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        fit(read_dataset(rated), BRIEF, seed=5).save_pretrained(tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes(), path.name


def test_progress_is_reported_for_every_stage(rated: Path) -> None:
    stages: dict[str, list[tuple[int, int]]] = {}
    fit(
        read_dataset(rated),
        BRIEF,
        progress=lambda what, done, total: stages.setdefault(what, []).append((done, total)),
    )
    assert list(stages) == ["encoding images", "training", "learning tastes"]
    assert stages["encoding images"] == [(number, 40) for number in range(1, 41)]
    assert stages["training"] == [(1, 1)]
    assert stages["learning tastes"] == [(0, 1), (1, 1)]


def test_a_user_without_ratings_is_kept_with_an_empty_profile_and_no_taste(dataset: Path) -> None:
    with (dataset / "users.csv").open("a", encoding="utf-8") as users:
        users.write("newcomer,33,female,German\n")
    fitted = fit(read_dataset(dataset), BRIEF)
    newcomer = fitted.users.to_pylist()[-1]
    assert (newcomer["user_id"], newcomer["n_ratings"], set(newcomer["profile"])) == ("newcomer", 0, {0.0})
    assert (newcomer["taste"], newcomer["level"]) == (None, 0.0)
    person = fitted.person("newcomer")
    assert person.demographics is not None
    assert (person.user_embedding, person.taste) == (None, None)


def test_a_dataset_without_prompts_metadata_and_demographics_can_be_learnt_from(dataset: Path) -> None:
    (dataset / "images.csv").write_text(
        "image_id,file\n" + "".join(f"{number:03d},{number:03d}.png\n" for number in range(40)), "utf-8"
    )
    (dataset / "users.csv").write_text("user_id\n" + "".join(f"u0{number}\n" for number in range(1, 7)), "utf-8")
    fitted = fit(read_dataset(dataset), BRIEF)
    assert np.isfinite(fitted.metrics["user"]["pairwise_accuracy"]["value"])
    assert fitted.person("u01").demographics is None


def test_tokens_left_out_stay_out_in_the_checkpoint(rated: Path) -> None:
    fitted = fit(read_dataset(rated), BRIEF, without=("prompt", "user"))
    assert fitted.model.config.without == ("prompt", "user")


def test_without_the_user_nobody_has_a_taste_or_a_level(rated: Path) -> None:
    fitted = fit(read_dataset(rated), BRIEF, without=("user",))
    for user in fitted.user_ids:
        person = fitted.person(user)
        assert (person.user_embedding, person.taste, person.level) == (None, None, 0.0)
        assert person.demographics is not None
    ratings = [row["n_ratings"] for row in fitted.users.to_pylist()]
    assert min(ratings) > 0  # they rated, and it is not used


@pytest.mark.parametrize("left_out", ["prompt", "metadata"])
def test_the_taste_model_does_not_know_either_what_is_left_out(rated: Path, left_out: str) -> None:
    plain, fitted = (fit(read_dataset(rated), BRIEF, without=without) for without in ((), (left_out,)))
    picture = [Image.open(rated / "000.png")]
    said: dict[str, Any] = {"prompts": ["fog"]} if left_out == "prompt" else {"metadata": [{"style": "soft"}]}
    generic = [
        [model.taste.features(model.encode(picture, **given)).generic for given in ({}, said)]
        for model in (plain, fitted)
    ]
    assert not torch.equal(*generic[0])
    assert torch.equal(*generic[1])


def test_the_share_is_the_recipes_or_what_ranks_the_validation_ratings_best(rated: Path) -> None:
    data = read_dataset(rated)
    given = fit(data, replace(BRIEF, transformer_weight=0.3))
    assert given.transformer_weight == 0.3
    chosen = fit(data, replace(BRIEF, epochs=8))
    rows, paths = data.rows("val_seen"), data.image_paths
    images = chosen.encoders.encode_files(paths, data.prompts, data.images.to_pylist())
    reached = []
    for weight in TRANSFORMER_WEIGHTS:
        scores, mixed = np.empty(len(rows)), replace(chosen, transformer_weight=weight)
        for position, row in enumerate(rows):
            person = mixed.person(data.user_ids[data.user[row]])
            number = data.image[row]
            scores[position] = mixed.score_images(images[number : number + 1], [person])[0, 0]
        reached.append(mean_over_users(per_user(srocc, data.user[rows], data.rating[rows], scores)).value)
    assert reached[TRANSFORMER_WEIGHTS.index(chosen.transformer_weight)] == pytest.approx(max(reached), abs=1e-9)


def test_where_nothing_is_left_to_validate_by_the_transformer_has_no_weight(rated: Path) -> None:
    data = read_dataset(rated)
    split = np.where(data.split == "val_seen", "test_seen", data.split)
    assert fit(replace(data, split=split), BRIEF).transformer_weight == 0.0


def test_one_person_alone_can_be_learnt_from(images: Path) -> None:
    simulate(images, raters=1, ratings_per_image=1, seed=0)
    fitted = fit(read_dataset(images), BRIEF)
    picture = [Image.open(path) for path in sorted(images.glob("*.png"))]
    assert np.isfinite(fitted.score(picture, fitted.person("u01"))).all()


def test_people_who_like_everything_alike_can_be_learnt_from(dataset: Path) -> None:
    lines = (dataset / "ratings.csv").read_text("utf-8").splitlines()
    alike = [",".join([*line.split(",")[:2], "50", line.split(",")[3]]) for line in lines[1:]]
    (dataset / "ratings.csv").write_text("\n".join([lines[0], *alike]) + "\n", "utf-8")
    fitted = fit(read_dataset(dataset), BRIEF)
    with Image.open(dataset / "000.png") as picture:
        assert fitted.score([picture], fitted.person("u01"))[0] == pytest.approx(0.5, abs=0.05)
    assert fitted.metrics["user"]["srocc"]["value"] is None


def test_a_demographic_column_of_a_name_that_checkpoints_use_is_refused(dataset: Path) -> None:
    text = (dataset / "users.csv").read_text("utf-8").replace("nationality", "level", 1)
    (dataset / "users.csv").write_text(text, "utf-8")
    with pytest.raises(ValueError, match="users have a column 'level', a name that checkpoints use; rename it"):
        fit(read_dataset(dataset), BRIEF)


@pytest.mark.parametrize(
    ("names", "known"),
    [
        (EncoderNames(image="clip"), "efficientnet-lite0"),
        (EncoderNames(text="clip"), "minilm"),
        (EncoderNames(profile="clip"), "minilm"),
    ],
)
def test_an_unknown_encoder_is_refused_with_the_known_ones(rated: Path, names: EncoderNames, known: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown encoder 'clip'; known are {known}"):
        fit(read_dataset(rated), BRIEF, encoders=names)


def test_an_image_that_cannot_be_read_is_named(dataset: Path) -> None:
    (dataset / "011.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"011.png: not an image that can be read"):
        fit(read_dataset(dataset), BRIEF)


def as_choices(data: Dataset, *, keep: bool) -> Dataset:
    """With as many pairs as each person has training ratings, beside these or in place of them."""
    rng, train, made = np.random.default_rng(0), data.rows("train"), list[DatasetChoice]()
    for user in np.unique(data.user[train]).tolist():
        own = train[data.user[train] == user]
        for a, b in rng.permutation(np.tile(own, 2)).reshape(-1, 2).tolist():
            if a != b:
                better = int(data.image[a if data.rating[a] > data.rating[b] else b])
                shown = (int(data.image[a]), int(data.image[b]))
                made.append(DatasetChoice(user=user, shown=shown, chosen=better, worst=None, split="train"))
    kept = np.ones(len(data.rating), bool) if keep else data.split != "train"
    rows = {name: getattr(data, name)[kept] for name in ("user", "image", "rating", "split")}
    return replace(data, choices=tuple(made), **rows)


@pytest.mark.parametrize(
    "keep",
    [pytest.param(False, id="choices alone"), pytest.param(True, id="beside ratings", marks=pytest.mark.slow)],
)
def test_choices_train_both_models(rated_by_many: Path, of_many: PamelaPredictor, keep: bool) -> None:
    data = as_choices(read_dataset(rated_by_many), keep=keep)
    by_ratings = of_many.metrics["user"]["srocc"]["value"]

    taste = fit(data, replace(BRIEF, epochs=1, transformer_weight=0.0), seed=1)
    transformer = fit(data, LONGER, seed=1)

    assert taste.metrics["training"]["n_choices"] > 400
    assert taste.metrics["user"]["srocc"]["value"] > by_ratings - 0.1
    images = transformer.encoders.encode_files(data.image_paths, data.prompts, data.images.to_pylist())
    scores = transformer.score_images(images, [transformer.person(user) for user in data.user_ids])
    right = [scores[c.user, c.chosen] > min(scores[c.user, image] for image in c.shown) for c in data.choices]
    assert np.mean(right) > 0.7


def test_a_dataset_of_choices_alone_trains_and_is_scored_by(rated_by_many: Path, tmp_path: Path) -> None:
    data = as_choices(read_dataset(rated_by_many), keep=False)
    nothing = {name: getattr(data, name)[:0] for name in ("user", "image", "rating", "split")}

    fit(replace(data, **nothing), BRIEF, seed=1).save_pretrained(tmp_path / "made")
    loaded = PamelaPredictor.from_pretrained(tmp_path / "made")

    user = data.user_ids[data.choices[0].user]
    with Image.open(data.image_paths[0]) as one, Image.open(data.image_paths[1]) as other:
        assert np.isfinite(loaded.score([one, other], user)).all()
        assert 0 < loaded.prefer(one, other, user).first < 1


def test_choices_of_held_out_people_and_images_are_kept_from_training(rated_by_many: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(rated_by_many, tmp_path / "many"))
    data = read_dataset(folder)
    names, (train, held) = data.images["image_id"].to_pylist(), (data.rows("train"), data.rows("test_seen"))
    unseen = data.user_ids[data.user[data.rows("test_unseen")[0]]]
    one, two = (names[data.image[row]] for row in (train[0], held[0]))
    other = next(names[image] for image in data.image[train].tolist() if names[image] != one)
    seen = data.user_ids[data.user[train[0]]]
    told = [f"{unseen},{one} {other},{one}", f"{seen},{one} {two},{two}", f"{seen},{one} {other},{one}"]
    (folder / "choices.csv").write_text("\n".join(["user_id,shown,chosen", *told]) + "\n", "utf-8")

    assert [choice.split for choice in read_dataset(folder).choices] == ["test_unseen", "test_seen", "train"]

    (folder / "choices.csv").write_text(f"user_id,shown,chosen,split\n{told[0]},train\n", "utf-8")
    with pytest.raises(ValueError, match="is of train, its user or an image of test_unseen"):
        read_dataset(folder)


@pytest.mark.slow
def test_what_is_learnt_on_another_device_is_what_the_cpu_learns_and_comes_back() -> None:
    run = [sys.executable, "-m", "tests.predictor.second_device"]
    done = subprocess.run(run, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "alike\n"), done.stderr
