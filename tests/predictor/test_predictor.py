import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

from predictor.checkpoint import FILES, LEARNT_COLUMNS
from predictor.encoders.efficientnet import EfficientNetLite0
from predictor.people.person import Person
from predictor.predictor import PamelaPredictor


def edit_config(checkpoint: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = checkpoint / "config.json"
    config = json.loads(path.read_text("utf-8"))
    change(config)
    path.write_text(json.dumps(config), "utf-8")


def edit_users(checkpoint: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    path = checkpoint / "users.parquet"
    pq.write_table(change(pq.read_table(path)), path)


def test_a_saved_checkpoint_scores_exactly_as_before(
    predictor: PamelaPredictor, checkpoint: Path, pictures: list[Image.Image]
) -> None:
    loaded = PamelaPredictor.from_pretrained(checkpoint)
    assert loaded.user_ids == predictor.user_ids
    assert loaded.metrics == predictor.metrics
    assert loaded.card == predictor.card
    assert loaded.users.equals(predictor.users)
    for person in ("u01", "u06"):
        scores = [each.score(pictures, each.person(person), prompts=["a cloud"] * 6) for each in (predictor, loaded)]
        assert np.array_equal(scores[0], scores[1])


def test_a_checkpoint_saved_again_has_the_same_bytes(checkpoint: Path, tmp_path: Path) -> None:
    PamelaPredictor.from_pretrained(checkpoint).save_pretrained(tmp_path / "again")
    for name in ("config.json", "model.safetensors", "metrics.json", "README.md"):
        assert (tmp_path / "again" / name).read_bytes() == (checkpoint / name).read_bytes(), name


def test_a_checkpoint_is_a_few_files_and_none_of_them_a_pickle(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {path.name for path in checkpoint.rglob("*")}
    assert names == set(FILES)
    monkeypatch.setattr("pickle.Unpickler", None)
    monkeypatch.setattr("torch.load", None)
    assert PamelaPredictor.from_pretrained(checkpoint).user_ids


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(checkpoint: Path, name: str) -> None:
    (checkpoint / name).unlink()
    with pytest.raises(ValueError, match=f"not a whole checkpoint, {name} is missing"):
        PamelaPredictor.from_pretrained(checkpoint)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config["model"].update(width=32), "not a PAMELA checkpoint of this version"),
        (lambda config: config["model"].update(layers=3), "not a PAMELA checkpoint of this version"),
        (lambda config: config["model"].update(layers=1), "not a PAMELA checkpoint of this version"),
        (lambda config: config["model"].update(heads=5), "must be divisible by num_heads"),
        (lambda config: config["model"].update(users="many"), "not a PAMELA checkpoint of this version"),
        (lambda config: config["model"].update(mixture=2), "unknown model setting mixture"),
        (lambda config: config["model"].pop("users"), "users"),
        (lambda config: config.pop("model"), "'model'"),
        (lambda config: config.pop("taste"), "'taste'"),
        (lambda config: config.pop("transformer_share"), "'transformer_share'"),
        (lambda config: config.update(transformer_share="half"), "could not convert string to float: 'half'"),
        (lambda config: config.update(transformer_share=1.5), "transformer_share must be from 0 to 1, got 1.5"),
        (lambda config: config["taste"].update(rank=3), "taste.basis|taste.offset|taste.covariance"),
        (lambda config: config["taste"].update(mixture=2), "unknown taste setting mixture"),
        (lambda config: config.update(image_encoder="clip"), "unknown encoder 'clip'; known are efficientnet"),
        (lambda config: config.update(text_encoder="bert"), "unknown encoder 'bert'; known are minilm"),
        (
            lambda config: config["fingerprints"].update(image_encoder="efficientnet-lite0-v1"),
            f"of efficientnet-lite0-v1, but this image_encoder is {EfficientNetLite0.fingerprint}; train it again",
        ),
        (
            lambda config: config["fingerprints"].update(text_encoder="x"),
            "features of x, but this text_encoder is all-minilm",
        ),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    checkpoint: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit_config(checkpoint, change)
    with pytest.raises(ValueError, match=message):
        PamelaPredictor.from_pretrained(checkpoint)


@pytest.mark.parametrize(
    "change",
    [
        lambda users: users.slice(0, 5),
        lambda users: pa.concat_tables([users, users.slice(0, 1)]),
        lambda users: pa.concat_tables([users.slice(0, 5), users.slice(0, 1)]),  # six rows, five people
        lambda users: users.drop_columns(["user_id"]),
        lambda users: users.drop_columns(["profile"]),
        lambda users: users.drop_columns(["taste"]),
        lambda users: users.set_column(users.column_names.index("taste"), "taste", [[[0.1, 0.2]] * len(users)]),
    ],
    ids=["one too few", "one too many", "one twice", "no ids", "no profiles", "no tastes", "tastes of another model"],
)
def test_users_that_do_not_fit_the_model_are_refused(checkpoint: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    edit_users(checkpoint, change)
    with pytest.raises(
        ValueError,
        match=r"users.parquet has . users, the model 6|of this version: .*(does not exist|a taste of length)",
    ):
        PamelaPredictor.from_pretrained(checkpoint)


@pytest.mark.parametrize("name", [name for name in FILES if name != "README.md"])
@pytest.mark.parametrize("kept", [0, 3, 200])
def test_a_file_cut_short_is_refused(checkpoint: Path, name: str, kept: int) -> None:
    path = checkpoint / name
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"not a PAMELA checkpoint of this version|Expecting|Unterminated"):
        PamelaPredictor.from_pretrained(checkpoint)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=9), st.sampled_from(["u01", "u04", "*"]))
def test_a_score_is_the_same_bit_for_bit_alone_in_any_batch_and_in_any_order(
    predictor: PamelaPredictor, rated: Path, chosen: list[int], user: str
) -> None:
    pictures = [Image.open(path) for path in sorted(rated.glob("*.png"))[:6]]
    person = predictor.population() if user == "*" else predictor.person(user)
    alone = np.concatenate([predictor.score([picture], person) for picture in pictures])
    assert np.array_equal(predictor.score([pictures[index] for index in chosen], person), alone[chosen])


def test_different_people_score_differently_and_each_as_if_alone(
    predictor: PamelaPredictor, pictures: list[Image.Image]
) -> None:
    people = [predictor.person(user) for user in predictor.user_ids]
    first = [predictor.score(pictures, person) for person in people]
    again = [predictor.score(pictures, person) for person in reversed(people)][::-1]
    assert np.array_equal(first, again)
    assert len({tuple(scores) for scores in first}) == len(people)


def test_two_hundred_people_are_scored_at_once_as_each_alone_to_the_last_bit(
    predictor: PamelaPredictor, pictures: list[Image.Image]
) -> None:
    rng = np.random.default_rng(0)
    config, known = predictor.model.config, [predictor.person(user) for user in predictor.user_ids]

    def some(dimensions: int) -> torch.Tensor | None:
        return torch.from_numpy(rng.normal(0, 0.1, dimensions)) if rng.random() < 0.8 else None

    made_up = [
        Person(
            name=str(number),
            user_embedding=some(config.width),
            demographics=some(config.profile_dimensions),
            taste=some(predictor.taste.config.rank),
            level=float(rng.normal()),
        )
        for number in range(193)
    ]
    people = [*known, predictor.population(), *made_up]
    images = predictor.encode(pictures, prompts=["fog", None] * 3)
    together = predictor.score_images(images, people)
    assert together.shape == (200, 6)
    alone = np.concatenate([predictor.score_images(images, [person]) for person in people])
    assert np.array_equal(together, alone)
    one_by_one = [predictor.score_images(images[i : i + 1], [people[9]])[0, 0] for i in range(6)]
    assert np.array_equal(together[9], one_by_one)
    looked = predictor.score_images(images, people, features=predictor.taste.features(images))
    assert np.array_equal(together, looked)


def test_the_prediction_is_the_mean_of_the_two_models_with_the_checkpoints_weight(
    predictor: PamelaPredictor, pictures: list[Image.Image]
) -> None:
    def with_weight(weight: float) -> PamelaPredictor:
        return replace(predictor, transformer_weight=weight)

    ends = [with_weight(weight).score(pictures, predictor.person("u01")) for weight in (0.0, 1.0)]
    mixed = 0.6 * ends[0] + 0.4 * ends[1]
    assert np.allclose(predictor.score(pictures, predictor.person("u01")), mixed, atol=1e-8)
    person, features = predictor.person("u01"), predictor.taste.features(predictor.encode(pictures))
    assert person.taste is not None
    by_taste = predictor.taste.config.level + features.generic + features.values @ person.taste + person.level
    assert np.allclose(ends[0], by_taste.numpy(), atol=1e-8)


def test_no_people_and_no_images_have_no_scores(predictor: PamelaPredictor, pictures: list[Image.Image]) -> None:
    images = predictor.encode(pictures)
    assert predictor.score_images(images, []).shape == (0, 6)
    assert predictor.score_images(images[:0], [predictor.population()] * 3).shape == (3, 0)


def test_scores_are_the_same_whether_features_are_cached_or_not(
    checkpoint: Path, pictures: list[Image.Image], tmp_path: Path
) -> None:
    person_scores = []
    for folder in ("one", "other", "one"):
        loaded = PamelaPredictor.from_pretrained(checkpoint, cache=tmp_path / folder)
        person_scores.append(loaded.score(pictures, loaded.person("u02"), prompts=["a cloud"] * 6))
    assert np.array_equal(person_scores[0], person_scores[1])
    assert np.array_equal(person_scores[0], person_scores[2])


def test_a_group_of_one_scores_as_its_person_and_its_order_does_not_matter(
    predictor: PamelaPredictor, pictures: list[Image.Image]
) -> None:
    person, only = predictor.person("u03"), predictor.group("g", ["u03"])
    assert np.array_equal(predictor.score(pictures, only), predictor.score(pictures, person))
    two, turned = predictor.group("g", ["u01", "u02"]), predictor.group("g", ["u02", "u01"])
    assert np.array_equal(predictor.score(pictures, two), predictor.score(pictures, turned))


def test_a_group_of_nobody_and_what_is_no_list_of_images_are_refused(predictor: PamelaPredictor) -> None:
    image: Any = Image.new("RGB", (8, 8))
    with pytest.raises(ValueError, match="group 'empty' has nobody in it"):
        predictor.group("empty", [])
    with pytest.raises(ValueError, match="images must be a list of images, got one"):
        predictor.score(image, user="u01")
    with pytest.raises(ValueError, match=r"images must be Pillow's, got 'a\.png'; open files by PIL\.Image\.open"):
        predictor.encode(["a.png"])  # pyrefly: ignore[bad-argument-type]


def test_a_group_is_the_mean_of_its_peoples_vectors(predictor: PamelaPredictor) -> None:
    one, other, both = predictor.person("u01"), predictor.person("u02"), predictor.group("both", ["u01", "u02"])
    assert both.name == "both"
    for name in ("user_embedding", "taste"):
        mean = (getattr(one, name) + getattr(other, name)) / 2
        assert torch.allclose(getattr(both, name), mean, atol=1e-7)


def test_a_group_has_the_embedding_of_the_profile_that_its_people_have_in_common(predictor: PamelaPredictor) -> None:
    people = predictor.users.select(["user_id", "age", "gender", "nationality"]).sort_by("age").to_pylist()
    young = people[:3]
    group = predictor.group("the youngest", [row["user_id"] for row in young])
    profile = {"age": f"{young[0]['age']} to {young[-1]['age']}"}
    for name in ("gender", "nationality"):
        if len({row[name] for row in young}) == 1:
            profile[name] = young[0][name]
    (expected,) = predictor.encoders.encode_people([profile])
    assert group.demographics is not None and torch.equal(group.demographics, expected)
    assert predictor.group("everybody", predictor.user_ids).demographics is None


def test_the_population_depends_on_no_user_and_no_demographics(
    predictor: PamelaPredictor, checkpoint: Path, pictures: list[Image.Image]
) -> None:
    assert (predictor.population().user_embedding, predictor.population().demographics) == (None, None)
    before = predictor.score(pictures, predictor.population())
    edit_users(checkpoint, lambda users: users.set_column(1, "age", pa.array([99] * len(users))))
    changed = PamelaPredictor.from_pretrained(checkpoint)
    with torch.no_grad():
        changed.model.users.weight.fill_(3)
    changed = changed.with_users(changed.users)
    assert np.array_equal(changed.score(pictures, changed.population()), before)
    assert not np.array_equal(changed.score(pictures, changed.person("u01")), before)


def test_a_person_of_whom_nothing_is_known_has_no_demographics(checkpoint: Path, pictures: list[Image.Image]) -> None:
    edit_users(checkpoint, lambda users: users.select(["user_id", *LEARNT_COLUMNS]))
    loaded = PamelaPredictor.from_pretrained(checkpoint)
    assert loaded.person("u01").demographics is None
    assert loaded.group("g", ["u01", "u02"]).demographics is None
    assert np.isfinite(loaded.score(pictures, loaded.person("u01"))).all()


def test_prompts_and_metadata_count_and_leaving_them_out_is_saying_nothing(
    predictor: PamelaPredictor, pictures: list[Image.Image]
) -> None:
    person = predictor.person("u01")
    plain = predictor.score(pictures, person)
    assert np.array_equal(predictor.score(pictures, person, prompts=[None] * 6), plain)
    assert np.array_equal(predictor.score(pictures, person, metadata=[{}] * 6), plain)
    assert not np.array_equal(predictor.score(pictures, person, prompts=["fog"] * 6), plain)
    assert not np.array_equal(predictor.score(pictures, person, metadata=[{"style": "soft"}] * 6), plain)
    mixed = predictor.score(pictures, person, prompts=["fog", None, None, None, None, None])
    assert mixed[0] != plain[0]
    assert np.array_equal(mixed[1:], plain[1:])


def test_an_unknown_user_is_refused_with_those_who_are_known_and_no_image_gives_no_score(
    predictor: PamelaPredictor,
) -> None:
    with pytest.raises(ValueError, match="unknown user 'u99'; the checkpoint knows u01, u02"):
        predictor.person("u99")
    assert predictor.score([], predictor.population()).shape == (0,)


def test_unknown_texts_are_rows_of_nan(predictor: PamelaPredictor, pictures: list[Image.Image]) -> None:
    prompts = predictor.encode(pictures[:3], prompts=["fog", None, "fog"]).prompt
    assert prompts.isnan().all(1).tolist() == [False, True, False]
    assert torch.equal(prompts[0], prompts[2])


def test_two_checkpoints_score_in_one_process(checkpoint: Path, tmp_path: Path, pictures: list[Image.Image]) -> None:
    twin = shutil.copytree(checkpoint, tmp_path / "twin")
    both = [PamelaPredictor.from_pretrained(folder) for folder in (checkpoint, twin)]
    scores = [loaded.score(pictures, loaded.person("u01"), prompts=["fog"] * 6) for loaded in both]
    assert np.array_equal(scores[0], scores[1])


@pytest.mark.parametrize("weight", ["model.head.1.bias", "taste.generic"])
def test_weights_that_are_no_numbers_are_refused(checkpoint: Path, weight: str) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    weights[weight][0] = torch.nan
    save_file(weights, checkpoint / "model.safetensors")
    with pytest.raises(ValueError, match=f"{weight}: model.safetensors has numbers that are not finite"):
        PamelaPredictor.from_pretrained(checkpoint)


@pytest.mark.parametrize("column", ["profile", "taste", "factor"])
def test_people_whose_vectors_are_no_numbers_are_refused(checkpoint: Path, column: str) -> None:
    users = pq.ParquetFile(checkpoint / "users.parquet").read()
    rows = users.to_pylist()
    rows[2][column][0] = float("nan")
    pq.write_table(pa.Table.from_pylist(rows, users.schema), checkpoint / "users.parquet")
    with pytest.raises(ValueError, match=f"users.parquet has a {column} that is not finite"):
        PamelaPredictor.from_pretrained(checkpoint)


@pytest.mark.parametrize("name", ["users.parquet", "evidence.parquet", "starter.parquet"])
def test_a_table_that_is_damaged_within_is_one_line(checkpoint: Path, name: str) -> None:
    content = bytearray((checkpoint / name).read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    (checkpoint / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{checkpoint}: not a PAMELA checkpoint of this version") as error:
        PamelaPredictor.from_pretrained(checkpoint)
    assert "\n" not in str(error.value)


def test_metrics_are_an_object(checkpoint: Path) -> None:
    (checkpoint / "metrics.json").write_text("[1]", "utf-8")
    with pytest.raises(ValueError, match=r"metrics\.json must be an object, got \[1\]"):
        PamelaPredictor.from_pretrained(checkpoint)
