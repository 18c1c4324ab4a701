from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from predictor.metrics import mean_over_users, per_user, srocc
from predictor.transformer.model import PamelaModel
from predictor.transformer.training import (
    RECIPES,
    Epoch,
    Recipe,
    TrainingTable,
    _balanced,
    gather,
    predict,
    train,
    validate,
)

QUICK = Recipe(
    epochs=2, batch_size=64, learning_rate=1e-3, warmup_steps=5, drop_prompt=0.2, drop_user=0.1, drop_metadata=0.3
)
USERS, DIMENSIONS, TEXT = 8, 12, 6


def made_up(taste: Callable[[np.random.Generator], np.ndarray], *, images: int = 150) -> TrainingTable:
    """Everybody rates every image by a taste of their own, a direction in the space of image features."""
    rng = np.random.default_rng(0)
    image = rng.normal(size=(images, DIMENSIONS)).astype(np.float32)
    liking = image @ np.stack([taste(rng) for _ in range(USERS)], 1)  # (I, U)
    rating = 1 / (1 + np.exp(-liking / liking.std()))
    of_image = np.select(
        [np.arange(images) < 0.7 * images, np.arange(images) < 0.8 * images], ["train", "val_seen"], "test_seen"
    )
    image_index, user_index = (index.ravel() for index in np.indices((images, USERS)))
    return TrainingTable(
        image=torch.from_numpy(image),
        prompt=torch.full((images, TEXT), torch.nan),
        metadata=torch.full((images, TEXT), torch.nan),
        demographics=torch.from_numpy(rng.normal(size=(USERS, TEXT)).astype(np.float32)),
        user_index=torch.from_numpy(user_index),
        image_index=torch.from_numpy(image_index),
        rating=torch.from_numpy(rating[image_index, user_index].astype(np.float32)),
        split=of_image[image_index],
    )


def with_comparisons(table: TrainingTable) -> TrainingTable:
    """The same, and 200 comparisons that mean nothing."""
    better, worse = torch.from_numpy(np.random.default_rng(0).integers(0, 100, (2, 200)))
    return replace(table, compared_by=torch.arange(200) % USERS, better=better, worse=worse, weight=torch.ones(200))


def one_feature(rng: np.random.Generator) -> np.ndarray:
    """The more of it the better, or the worse."""
    return np.eye(DIMENSIONS)[rng.integers(4)] * rng.choice([-1, 1])


@pytest.fixture(scope="module")
def table() -> TrainingTable:
    return made_up(one_feature, images=40)


@pytest.fixture(scope="module")
def large_table() -> TrainingTable:
    """Large enough for tastes to be learnt."""
    return made_up(one_feature)


def held_out(model: PamelaModel, table: TrainingTable, **options: bool) -> float:
    rows = table.rows("test_seen")
    user, rating = table.user_index[rows].numpy(), table.rating[rows].numpy().astype(float)
    return mean_over_users(per_user(srocc, user, rating, predict(model, table, rows, **options))).value


def test_a_persons_taste_is_learnt_and_only_with_the_person(large_table: TrainingTable) -> None:
    recipe = Recipe(epochs=15, batch_size=48, learning_rate=4e-3, warmup_steps=20, drop_user=0.05)
    personal = train(large_table, recipe, seed=0)
    generic = train(large_table, replace(recipe, epochs=5), seed=0, without=("user", "demographics"))
    assert held_out(personal, large_table) > 0.8
    assert held_out(personal, large_table) > held_out(generic, large_table) + 0.4
    assert held_out(personal, large_table) > held_out(personal, large_table, as_population=True) + 0.4


def test_the_same_seed_gives_the_same_weights_whatever_ran_before(table: TrainingTable) -> None:
    first = train(table, QUICK, seed=3).state_dict()
    torch.rand(17)
    again, other = train(table, QUICK, seed=3).state_dict(), train(table, QUICK, seed=4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["cls"], other["cls"])


def test_training_leaves_the_random_numbers_of_others_alone(table: TrainingTable) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(table, replace(QUICK, epochs=1), seed=0)
    assert torch.equal(torch.rand(3), expected)


def test_the_epoch_with_the_best_validation_is_kept(table: TrainingTable) -> None:
    history: list[Epoch] = []
    recipe = replace(QUICK, epochs=6, learning_rate=3e-2)  # too fast to get better every time
    model = train(table, recipe, seed=0, on_epoch=history.append)
    reached = [epoch.validation_srocc for epoch in history]
    assert [epoch.number for epoch in history] == [1, 2, 3, 4, 5, 6]
    assert validate(model, table) == max(reached)
    assert max(reached) > min(reached)


def test_without_a_validation_split_the_last_epoch_is_kept(table: TrainingTable) -> None:
    unvalidated = replace(table, split=np.where(table.split == "val_seen", "test_seen", table.split))
    history: list[Epoch] = []
    model = train(unvalidated, QUICK, seed=0, on_epoch=history.append)
    assert all(np.isnan(epoch.validation_srocc) for epoch in history)
    assert held_out(model, table) != held_out(train(unvalidated, replace(QUICK, epochs=1), seed=0), table)


def test_ratings_of_other_splits_are_not_learnt_from(table: TrainingTable) -> None:
    secret = torch.from_numpy(np.where(table.split == "test_seen", 0.0, table.rating.numpy()).astype(np.float32))
    honest, blind = (train(t, QUICK, seed=0).state_dict() for t in (table, replace(table, rating=secret)))
    assert all(torch.equal(honest[name], blind[name]) for name in honest)


def test_nothing_to_learn_from_is_an_error_that_says_so(table: TrainingTable) -> None:
    with pytest.raises(ValueError, match="no rating of split 'train'"):
        train(replace(table, split=np.full(len(table.split), "test_seen")), QUICK, seed=0)


def test_one_image_and_features_that_never_vary_can_be_trained_on(table: TrainingTable) -> None:
    few = replace(
        table,
        image=torch.ones_like(table.image),
        split=np.where((table.image_index == 0).numpy(), "train", "test_seen"),
    )
    model = train(few, QUICK, seed=0)
    assert np.isfinite(predict(model, few, few.rows("test_seen"))).all()


def test_the_population_has_neither_user_nor_demographics(table: TrainingTable) -> None:
    model = train(table, replace(QUICK, epochs=1), seed=0)
    rows = (table.image_index == 7).nonzero()[:, 0]  # one image, all users
    assert np.ptp(predict(model, table, rows, as_population=True)) < 1e-6
    assert np.ptp(predict(model, table, rows)) > 1e-3
    inputs = gather(table, rows, model, as_population=True)
    assert inputs.user.isnan().all() and inputs.demographics.isnan().all()
    assert torch.equal(inputs.image, table.image[table.image_index[rows]])


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipes_are_whole(name: str) -> None:
    recipe = RECIPES[name]
    assert recipe.epochs > 0 and recipe.batch_size > 0 and 0 < recipe.learning_rate < 1
    rates = (recipe.drop_prompt, recipe.drop_metadata, recipe.drop_demographics, recipe.drop_user)
    assert all(0 <= rate < 1 for rate in rates)


def test_the_papers_recipe_is_the_papers() -> None:
    """Section 4: ten epochs of AdamW at 2e-5 after a warm-up, batches of 32."""
    paper = RECIPES["paper"]
    assert (paper.epochs, paper.batch_size, paper.learning_rate, paper.weight_decay) == (10, 32, 2e-5, 0.01)


def test_the_weights_do_not_depend_on_the_number_of_threads(table: TrainingTable) -> None:
    before = torch.get_num_threads()
    weights = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        weights.append(train(table, QUICK, seed=0).state_dict())
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


class StoppedError(Exception):
    """What a test stops a training with."""


def stopped_after(epochs: int) -> Callable[[Epoch], None]:
    def stop(epoch: Epoch) -> None:
        if epoch.number == epochs:
            raise StoppedError

    return stop


@pytest.mark.parametrize("stops", [(2,), (1, 3)], ids=str)
def test_a_training_that_was_stopped_goes_on_to_the_very_same_weights(
    table: TrainingTable, tmp_path: Path, stops: tuple[int, ...]
) -> None:
    recipe = replace(QUICK, epochs=4, learning_rate=1e-2)
    whole = train(table, recipe, seed=3)
    for stop in stops:
        with pytest.raises(StoppedError):
            train(table, recipe, seed=3, state=tmp_path, on_epoch=stopped_after(stop))
        torch.rand(5)
    history: list[Epoch] = []
    resumed = train(table, recipe, seed=3, state=tmp_path, on_epoch=history.append)
    assert [epoch.number for epoch in history] == list(range(stops[-1], 5))
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in resumed.state_dict().items())
    finished = train(table, recipe, seed=3, state=tmp_path)  # nothing left to do
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in finished.state_dict().items())


def test_without_validation_too_a_stopped_training_goes_on_to_the_same_weights(
    table: TrainingTable, tmp_path: Path
) -> None:
    unvalidated = replace(table, split=np.where(table.split == "val_seen", "test_seen", table.split))
    with pytest.raises(StoppedError):
        train(unvalidated, QUICK, seed=3, state=tmp_path, on_epoch=stopped_after(1))
    whole, resumed = (train(unvalidated, QUICK, seed=3, state=state).state_dict() for state in (None, tmp_path))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_state_changes_nothing_of_what_is_learnt(table: TrainingTable, tmp_path: Path) -> None:
    plain, kept = (train(table, QUICK, seed=3, state=state).state_dict() for state in (None, tmp_path))
    assert all(torch.equal(plain[name], kept[name]) for name in plain)


@pytest.mark.parametrize(
    "change",
    [
        lambda table: {"seed": 4},
        lambda table: {"recipe": replace(QUICK, drop_user=0.2)},
        lambda table: {"recipe": replace(QUICK, epochs=9)},
        lambda table: {"without": ("user",)},
        lambda table: {"width": 32},
        lambda table: {"table": replace(table, rating=table.rating * 0.99)},
        lambda table: {"table": replace(table, split=np.where(table.split == "val_seen", "train", table.split))},
        lambda table: {"table": replace(table, image=table.image.flip(0))},
    ],
    ids=["seed", "recipe", "epochs", "tokens", "width", "ratings", "splits", "encoder"],
)
def test_another_training_does_not_go_on_from_here(
    table: TrainingTable, tmp_path: Path, change: Callable[[TrainingTable], dict[str, Any]]
) -> None:
    settings: dict[str, Any] = {"table": table, "recipe": QUICK, "seed": 3, "state": tmp_path}
    train(**settings)
    with pytest.raises(ValueError, match=r"training.safetensors: belongs to a training with other ratings, recipe,"):
        train(**settings | change(table))


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=4).filter(any),
    st.sampled_from([1.0, 0.5, 0.0]),
    st.none() | st.integers(1, 100),
)
def test_an_epoch_has_of_each_dataset_what_the_recipe_says_and_each_rating_equally_often(
    sizes: list[int], exponent: float, most: int | None
) -> None:
    ends = np.cumsum([0, *sizes])
    datasets = [torch.arange(first, last) for first, last in pairwise(ends.tolist())]
    recipe = replace(QUICK, dataset_exponent=exponent, most_examples=most)
    rows = _balanced(datasets, recipe, torch.Generator().manual_seed(0)).numpy()
    total, powers = min(sum(sizes), most or sum(sizes)), [size**exponent if size else 0 for size in sizes]
    for (first, last), power in zip(pairwise(ends.tolist()), powers, strict=True):
        own = rows[(rows >= first) & (rows < last)]
        assert abs(len(own) - total * power / sum(powers)) <= 0.5
        if last > first:
            often = np.bincount(own - first, minlength=last - first)
            assert often.max() - often.min() <= 1


def test_a_single_dataset_is_trained_on_as_if_it_had_no_name(table: TrainingTable) -> None:
    named = replace(table, dataset_of_user=torch.zeros(USERS, dtype=torch.int64))
    recipe = replace(QUICK, dataset_exponent=0.5, most_examples=10**6)
    one, other = (train(each, recipe, seed=3).state_dict() for each in (table, named))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_an_epoch_of_fewer_examples_takes_others_each_time(large_table: TrainingTable) -> None:
    history: list[Epoch] = []
    recipe = replace(QUICK, epochs=12, most_examples=200, learning_rate=3e-3)
    model = train(large_table, recipe, seed=0, on_epoch=history.append)
    assert len(history) == 12
    assert held_out(model, large_table) > 0.3  # 200 ratings alone would not be enough
