from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictor.data.dataset import Dataset
from predictor.data.splits import split_by_user_and_image
from predictor.evaluation.episodes import FEWEST, ImageKind, Meeting, meetings


def made_up(users: int, images: int, share: float, seed: int) -> Dataset:
    """Ratings by chance, split as the paper does."""
    rng = np.random.default_rng(seed)
    user, image = np.nonzero(rng.random((users, images)) < share)
    user_ids, image_ids = [f"u{n}" for n in range(users)], [f"i{n}" for n in rng.permutation(images)]
    return Dataset(
        name="made up",
        image_paths=(Path("x.png"),) * images,
        users=pa.table({"user_id": user_ids}),
        images=pa.table({"image_id": image_ids}),
        user=user,
        image=image,
        rating=rng.random(len(user)),
        split=split_by_user_and_image([user_ids[u] for u in user], [image_ids[i] for i in image], seed=seed),
        training_digests={},
    )


def known(dataset: Dataset) -> set[int]:
    return set(dataset.image[dataset.rows("train")].tolist())


@settings(deadline=None, max_examples=60)
@given(
    st.integers(10, 16),
    st.integers(5, 30),
    st.floats(0.2, 1),
    st.integers(0, 99),
    st.integers(0, 30),
    st.sampled_from(["seen", "unseen"]),
    st.integers(0, 3),
)
def test_the_context_never_counts_and_all_else_does(
    users: int, images: int, share: float, seed: int, k: int, kind: ImageKind, draw: int
) -> None:
    dataset = made_up(users, images, share, seed)
    met = meetings(dataset, "test_unseen", images=kind, draw=draw, seed=seed)
    rows = dataset.rows("test_unseen")
    assert {m.user for m in met} == set(dataset.user[rows].tolist())
    for m in met:
        context, counted = set(m.context(k).tolist()), set(m.evaluated(k).tolist())
        own = {int(row) for row in rows if dataset.user[row] == m.user}
        allowed = {row for row in own if (int(dataset.image[row]) in known(dataset)) == (kind == "seen")}
        assert not context & counted
        assert context | counted <= own
        assert len(context) == min(k, len(m.order))
        assert counted == allowed - context
        assert m.has_enough(k) == (len(context) == k and len(counted) >= FEWEST)
        assert set(m.context(max(k - 1, 0)).tolist()) <= context


def test_images_that_training_knows_are_context_before_those_that_count() -> None:
    dataset = made_up(14, 40, 0.8, 0)
    for m in meetings(dataset, "test_unseen", images="unseen", draw=0, seed=0):
        is_known = [int(dataset.image[row]) in known(dataset) for row in m.order]
        assert is_known == sorted(is_known, reverse=True)
        assert set(m.order.tolist()) >= set(m.counted.tolist())
        assert len(m.evaluated(sum(is_known))) == len(m.counted)
        assert len(m.evaluated(sum(is_known) + 1)) == len(m.counted) - 1


def test_of_seen_images_nothing_else_is_context() -> None:
    dataset = made_up(14, 40, 0.8, 0)
    for m in meetings(dataset, "test_unseen", images="seen", draw=0, seed=0):
        assert set(m.order.tolist()) == set(m.counted.tolist())
        assert {int(dataset.image[row]) for row in m.order} <= known(dataset)


def told(dataset: Dataset, met: list[Meeting]) -> dict[str, list[str]]:
    ids = dataset.images["image_id"].to_pylist()
    return {dataset.user_ids[m.user]: [ids[image] for image in dataset.image[m.order]] for m in met}


def test_the_order_of_the_tables_rows_does_not_decide_the_draw() -> None:
    dataset = made_up(14, 40, 0.5, 0)
    order = np.random.default_rng(1).permutation(len(dataset.user))
    renumbered = np.random.default_rng(2).permutation(40)
    turned = replace(
        dataset,
        user=dataset.user[order],
        image=np.argsort(renumbered)[dataset.image[order]],
        images=dataset.images.take(renumbered),
        rating=dataset.rating[order],
        split=dataset.split[order],
    )
    both = [told(d, meetings(d, "test_unseen", images="unseen", draw=2, seed=5)) for d in (dataset, turned)]
    assert both[0] == both[1]


def test_every_draw_and_every_seed_is_another_order_and_the_same_one_again() -> None:
    dataset = made_up(14, 40, 0.8, 0)

    def orders(draw: int, seed: int) -> str:
        return str(told(dataset, meetings(dataset, "test_unseen", images="unseen", draw=draw, seed=seed)))

    assert len({orders(draw, seed) for draw in range(3) for seed in range(3)}) == 9
    assert orders(1, 1) == orders(1, 1)


@pytest.mark.parametrize("split", ["val_unseen", "test_unseen"])
def test_only_users_of_the_split_are_met(split: str) -> None:
    dataset = made_up(14, 20, 0.8, 0)
    met = meetings(dataset, split, images="unseen", draw=0, seed=0)
    assert met
    assert all((dataset.split[m.order] == split).all() for m in met)
