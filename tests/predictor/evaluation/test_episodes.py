from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictor.data.dataset import Dataset
from predictor.data.splits import split_by_user_and_image
from predictor.evaluation.episodes import MIN_QUERY, Episode, ImageKind, sample_episodes


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
def test_the_query_is_all_that_is_not_context(
    users: int, images: int, share: float, seed: int, k: int, kind: ImageKind, draw: int
) -> None:
    dataset = made_up(users, images, share, seed)
    episodes = sample_episodes(dataset, "test_unseen", images=kind, draw=draw, seed=seed)
    rows = dataset.rows("test_unseen")
    assert {episode.user for episode in episodes} == set(dataset.user[rows].tolist())
    for episode in episodes:
        context, query = set(episode.context(k).tolist()), set(episode.query(k).tolist())
        own = {int(row) for row in rows if dataset.user[row] == episode.user}
        allowed = {row for row in own if (int(dataset.image[row]) in known(dataset)) == (kind == "seen")}
        assert not context & query
        assert context | query <= own
        assert len(context) == min(k, len(episode.order))
        assert query == allowed - context
        assert episode.has_enough(k) == (len(context) == k and len(query) >= MIN_QUERY)
        assert set(episode.context(max(k - 1, 0)).tolist()) <= context


def test_images_with_a_training_rating_are_context_before_the_others() -> None:
    dataset = made_up(14, 40, 0.8, 0)
    for episode in sample_episodes(dataset, "test_unseen", images="unseen", draw=0, seed=0):
        is_known = [int(dataset.image[row]) in known(dataset) for row in episode.order]
        assert is_known == sorted(is_known, reverse=True)
        assert set(episode.order.tolist()) >= set(episode.query_pool.tolist())
        assert len(episode.query(sum(is_known))) == len(episode.query_pool)
        assert len(episode.query(sum(is_known) + 1)) == len(episode.query_pool) - 1


def test_for_seen_images_only_those_are_context() -> None:
    dataset = made_up(14, 40, 0.8, 0)
    for episode in sample_episodes(dataset, "test_unseen", images="seen", draw=0, seed=0):
        assert set(episode.order.tolist()) == set(episode.query_pool.tolist())
        assert {int(dataset.image[row]) for row in episode.order} <= known(dataset)


def context_orders(dataset: Dataset, episodes: list[Episode]) -> dict[str, list[str]]:
    ids = dataset.images["image_id"].to_pylist()
    return {
        dataset.user_ids[episode.user]: [ids[image] for image in dataset.image[episode.order]] for episode in episodes
    }


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
    both = [
        context_orders(d, sample_episodes(d, "test_unseen", images="unseen", draw=2, seed=5)) for d in (dataset, turned)
    ]
    assert both[0] == both[1]


def test_every_draw_and_every_seed_is_another_order_and_the_same_one_again() -> None:
    dataset = made_up(14, 40, 0.8, 0)

    def orders(draw: int, seed: int) -> str:
        return str(
            context_orders(dataset, sample_episodes(dataset, "test_unseen", images="unseen", draw=draw, seed=seed))
        )

    assert len({orders(draw, seed) for draw in range(3) for seed in range(3)}) == 9
    assert orders(1, 1) == orders(1, 1)


@pytest.mark.parametrize("split", ["val_unseen", "test_unseen"])
def test_only_users_of_the_split_have_episodes(split: str) -> None:
    dataset = made_up(14, 20, 0.8, 0)
    episodes = sample_episodes(dataset, split, images="unseen", draw=0, seed=0)
    assert episodes
    assert all((dataset.split[episode.order] == split).all() for episode in episodes)
