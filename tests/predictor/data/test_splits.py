from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.data.splits import MIN_USERS, SPLITS, overlaps, split_by_image, split_by_user_and_image

pairs = st.lists(st.tuples(st.text(max_size=3), st.integers(0, 12).map(str)), unique=True, max_size=80)
crowds = st.integers(1, 30).flatmap(
    lambda users: st.lists(
        st.tuples(st.integers(0, users - 1).map("u{}".format), st.integers(0, 20).map("i{}".format)), unique=True
    )
)
seeds = st.integers(0, 5)


def split(rows: list[tuple[str, str]], seed: int) -> list[str]:
    return split_by_user_and_image([user for user, _ in rows], [image for _, image in rows], seed=seed).tolist()


@given(pairs | crowds, seeds)
def test_every_rating_has_one_split_and_training_shares_no_image_or_user_with_the_held_out(
    rows: list[tuple[str, str]], seed: int
) -> None:
    splits = split(rows, seed)
    assert len(splits) == len(rows)
    assert set(splits) <= set(SPLITS)
    users, images = defaultdict(set), defaultdict(set)
    for (user, image), name in zip(rows, splits, strict=True):
        users[name].add(user)
        images[name].add(image)
    seen = users["train"] | users["val_seen"] | users["test_seen"]
    assert not (users["val_unseen"] & users["test_unseen"])
    assert not ((users["val_unseen"] | users["test_unseen"]) & seen)
    assert not (images["train"] & (images["val_seen"] | images["test_seen"]))
    assert not (images["val_seen"] & images["test_seen"])


@given(pairs | crowds, seeds, st.randoms())
def test_splits_follow_the_ids_and_the_seed_and_not_the_order_of_the_rows(
    rows: list[tuple[str, str]], seed: int, random
) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert dict(zip(rows, split(rows, seed), strict=True)) == dict(zip(shuffled, split(shuffled, seed), strict=True))


@given(crowds, seeds)
def test_what_is_made_has_no_overlaps(rows: list[tuple[str, str]], seed: int) -> None:
    numbers = np.array([(int(user[1:]), int(image[1:])) for user, image in rows], np.int64).reshape(-1, 2)
    found = overlaps(numbers[:, 0], numbers[:, 1], np.array(split(rows, seed), str))
    assert [rows.tolist() for rows in found] == [[], []]


def test_a_crowd_of_the_papers_size_is_split_in_the_papers_shares() -> None:
    rows = [(f"u{user}", f"i{image}") for user in range(199) for image in range(500)]
    splits = np.array(split(rows, 0))
    users = {name: {user for (user, _), own in zip(rows, splits, strict=True) if own == name} for name in SPLITS}
    images = {name: {image for (_, image), own in zip(rows, splits, strict=True) if own == name} for name in SPLITS}
    assert [len(users[name]) for name in SPLITS] == [155, 155, 16, 155, 28]
    assert [len(images[name]) for name in SPLITS] == [350, 50, 500, 100, 500]
    assert split(rows, 1) != splits.tolist()


@pytest.mark.parametrize(("count", "held"), [(MIN_USERS - 1, set()), (MIN_USERS, {"val_unseen", "test_unseen"})])
def test_of_a_few_users_none_is_held_out(count: int, held: set[str]) -> None:
    rows = [(f"u{user}", f"i{image}") for user in range(count) for image in range(10)]
    assert set(split(rows, 0)) - {"train", "val_seen", "test_seen"} == held


def test_splits_stay_what_they_were_when_the_code_was_written() -> None:
    rows = [(f"u{user:02d}", "i1") for user in range(12)]
    splits = split(rows, 0)
    held = {user: name for (user, _), name in zip(rows, splits, strict=True) if name.endswith("unseen")}
    assert held == {"u00": "val_unseen", "u04": "test_unseen", "u10": "test_unseen"}


def test_splits_by_image_are_70_10_20_percent_of_the_images_and_follow_the_seed() -> None:
    images = np.arange(200)
    made = split_by_image(images, 200, seed=0)
    assert [int((made == name).sum()) for name in SPLITS] == [140, 20, 0, 40, 0]
    assert np.array_equal(made, split_by_image(images, 200, seed=0))
    assert not np.array_equal(made, split_by_image(images, 200, seed=1))


@pytest.mark.parametrize(
    ("rows", "shared"),
    [
        ([(0, 0, "train"), (1, 0, "test_unseen"), (0, 1, "test_seen")], ([], [])),
        ([(0, 0, "train"), (0, 1, "val_unseen")], ([1], [])),
        ([(0, 0, "val_seen"), (0, 1, "test_unseen")], ([1], [])),
        ([(0, 0, "val_unseen"), (0, 1, "test_unseen"), (1, 0, "val_unseen")], ([0], [])),
        ([(0, 0, "val_seen"), (1, 0, "train"), (2, 0, "test_seen")], ([], [0, 2])),
        ([(0, 0, "val_seen"), (1, 0, "test_seen")], ([], [])),
    ],
)
def test_overlaps_are_the_held_out_ratings_whose_user_or_image_is_elsewhere_too(
    rows: list[tuple[int, int, str]], shared: tuple[list[int], list[int]]
) -> None:
    users, images, splits = zip(*rows, strict=True)
    found = overlaps(np.array(users), np.array(images), np.array(splits))
    assert tuple(rows.tolist() for rows in found) == shared
