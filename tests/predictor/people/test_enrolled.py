"""People come and go: what they said and what was inferred of it, in memory and on the disk."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from predictor.encoders.encoding import Images
from predictor.people.evidence_table import evidence_of, evidence_rows, image_ids
from predictor.predictor import PamelaPredictor
from predictor.taste.evidence import Answer, Choice, Evidence, Like, Order, Pair, Rating

SAID: list[Answer] = [
    Rating(image=0, rating=0.9),
    Like(image=1, liked=True),
    Like(image=2, liked=False),
    Pair(first=3, second=4, preferred=4),
    Pair(first=0, second=5, preferred=None),
    Choice(shown=(1, 2, 3, 5), best=3, worst=1),
    Order(shown=(4, 0, 2)),
]


@pytest.fixture
def images(predictor: PamelaPredictor, pictures: list[Image.Image]) -> Images:
    return predictor.encode(pictures, prompts=["fog"] * 6)


def test_evidence_of_every_kind_comes_back_from_its_table(predictor: PamelaPredictor, images: Images) -> None:
    features = predictor.taste.features(images)
    said = Evidence(answers=tuple(SAID), ids=image_ids(images), features=features)
    table = evidence_rows("ada", said)
    back = evidence_of(table, "ada", rank=predictor.taste.config.rank)
    place = [back.ids.index(name) for name in said.ids]
    assert back.answers == tuple(answer.relabelled(place) for answer in SAID)
    assert torch.allclose(back.features.values[place], features.values, atol=1e-6)
    assert evidence_of(table, "bob", rank=predictor.taste.config.rank).answers == ()


def test_an_image_has_one_id_with_one_prompt(predictor: PamelaPredictor, pictures: list[Image.Image]) -> None:
    ids = [image_ids(predictor.encode(pictures[:2], prompts=[prompt] * 2)) for prompt in ("fog", "fog", None)]
    assert ids[0] == ids[1]
    assert len({*ids[0], *ids[2]}) == 4


def test_a_person_is_learnt_from_answers_of_every_kind(predictor: PamelaPredictor, images: Images) -> None:
    with_ada = predictor.enroll("ada", images, SAID, demographics={"age": "31"})
    row = with_ada.users.to_pylist()[-1]
    assert (row["user_id"], row["age"], row["n_ratings"]) == ("ada", 31, len(SAID))
    assert with_ada.evidence["kind"].to_pylist() == ["rating", "like", "like", "pair", "pair", "choice", "order"]
    assert not np.array_equal(
        with_ada.score_images(images, [with_ada.person("ada")]),
        predictor.score_images(images, [predictor.population()]),
    )
    assert "ada" not in predictor.user_ids and not len(predictor.evidence)


def test_answers_given_in_two_goes_are_as_if_given_at_once(
    predictor: PamelaPredictor, images: Images, tmp_path: Path
) -> None:
    at_once = predictor.enroll("ada", images, SAID, demographics={"age": "31"})
    predictor.enroll("ada", images, SAID[:4], demographics={"age": "31"}).save_pretrained(tmp_path / "half")
    half = PamelaPredictor.from_pretrained(tmp_path / "half")
    whole = half.enroll("ada", images, SAID[4:], update=True)
    scores = [each.score_images(images, [each.person("ada")]) for each in (at_once, whole)]
    assert np.allclose(*scores, atol=1e-5)
    one, other = (each.users.to_pylist()[-1] for each in (at_once, whole))
    assert one["profile"] == pytest.approx(other["profile"], abs=1e-4)
    assert (other["n_ratings"], other["age"]) == (len(SAID), 31)
    assert whole.user_ids.count("ada") == 1 and len(whole.evidence) == len(SAID)


def test_who_is_forgotten_leaves_nothing_behind(predictor: PamelaPredictor, images: Images, tmp_path: Path) -> None:
    both = predictor.enroll("ada", images, SAID).enroll("bob", images, SAID[:3])
    both.save_pretrained(tmp_path)
    PamelaPredictor.from_pretrained(tmp_path).forget("ada").save_pretrained(tmp_path)
    left = PamelaPredictor.from_pretrained(tmp_path)
    assert left.user_ids == [*predictor.user_ids, "bob"]
    assert set(pq.read_table(tmp_path / "evidence.parquet")["user_id"].to_pylist()) == {"bob"}
    assert all(b"ada" not in path.read_bytes() for path in tmp_path.glob("*.parquet"))
    assert np.array_equal(
        left.score_images(images, [left.person("bob")]), both.score_images(images, [both.person("bob")])
    )


@pytest.mark.parametrize("update", [True, False])
def test_whom_training_has_seen_is_neither_added_to_nor_forgotten(
    predictor: PamelaPredictor, images: Images, update: bool
) -> None:
    with pytest.raises(
        ValueError, match=r"--user u01: is of the training ratings, which also shaped the model; change"
    ):
        predictor.enroll("u01", images, SAID, update=True) if update else predictor.forget("u01")


def test_nobody_is_forgotten_or_added_to_who_is_not_there(predictor: PamelaPredictor, images: Images) -> None:
    with pytest.raises(ValueError, match="unknown user 'eve'; the checkpoint knows u01"):
        predictor.forget("eve")
    with pytest.raises(ValueError, match="unknown user 'eve'; the checkpoint knows u01"):
        predictor.enroll("eve", images, SAID, update=True)
    with pytest.raises(ValueError, match="no answer to enrol 'eve' by; give at least one"):
        predictor.enroll("eve", images, [])
