import inspect
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from predictor.simulation import raters as module
from predictor.simulation.attributes import ATTRIBUTES
from predictor.simulation.raters import Rater, rate, read_truth, sample_raters, write_truth

SATURATION = ATTRIBUTES.index("saturation")
PEOPLE = sample_raters(12, seed=3)

attribute_rows = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 8), st.just(len(ATTRIBUTES))), elements=st.floats(-1e3, 1e3)
)


def assert_same(one: Rater, other: Rater) -> None:
    for field in Rater.__dataclass_fields__:
        assert np.array_equal(getattr(one, field), getattr(other, field)), field


def test_the_same_seed_gives_the_same_people_and_another_seed_others() -> None:
    for one, other in zip(PEOPLE, sample_raters(12, seed=3), strict=True):
        assert_same(one, other)
    assert not np.array_equal(PEOPLE[0].ideal, sample_raters(12, seed=4)[0].ideal)


def test_ages_are_spread_from_18_to_78_and_ids_are_distinct() -> None:
    assert (min(p.age for p in PEOPLE), max(p.age for p in PEOPLE)) == (18, 78)
    assert [p.user_id for p in PEOPLE] == [f"u{number:02d}" for number in range(1, 13)]


def test_one_rater_alone_can_be_drawn() -> None:
    (only,) = sample_raters(1, seed=0)
    assert 18 <= only.age <= 78


def test_younger_people_like_more_saturation_on_average_and_no_other_attribute_goes_with_age() -> None:
    people = sample_raters(2000, seed=0)
    age = [person.age for person in people]
    ideals = np.array([person.ideal for person in people])
    with_age = [np.corrcoef(age, column)[0, 1] for column in ideals.T]
    assert with_age[SATURATION] < -0.4
    assert all(abs(r) < 0.08 for index, r in enumerate(with_age) if index != SATURATION)
    young, old = (np.mean(ideals[where, SATURATION]) for where in (np.less(age, 30), np.greater(age, 65)))
    assert young - old > 13  # one spread


def test_weights_are_a_mix_of_all_attributes() -> None:
    for person in PEOPLE:
        assert person.weight.sum() == pytest.approx(1)
        assert (person.weight > 0).all()


@given(attribute_rows, st.sampled_from(PEOPLE))
def test_true_liking_is_between_0_and_1_and_best_at_the_ideal(attributes: np.ndarray, person: Rater) -> None:
    liking = person.utility(attributes)
    assert liking.shape == (len(attributes),)
    assert ((liking >= 0) & (liking <= 1 + 1e-12)).all()
    assert person.utility(person.ideal[None])[0] == pytest.approx(1)


@given(st.integers(0, len(ATTRIBUTES) - 1), st.floats(0, 5), st.floats(0, 5), st.sampled_from(PEOPLE))
def test_liking_falls_with_the_distance_from_the_ideal(index: int, one: float, other: float, person: Rater) -> None:
    step = np.eye(len(ATTRIBUTES))[index] * person.tolerance
    near, far = person.utility(person.ideal + np.array([[min(one, other)], [max(one, other)]]) * step)
    assert near >= far


def test_at_one_tolerance_an_attributes_part_has_fallen_to_61_percent() -> None:
    person = PEOPLE[0]
    away = person.ideal + np.eye(len(ATTRIBUTES)) * person.tolerance
    assert 1 - person.utility(away) == pytest.approx((1 - np.exp(-0.5)) * person.weight)


@given(attribute_rows, st.sampled_from(PEOPLE), st.integers(0, 100))
def test_ratings_stay_on_the_slider(attributes: np.ndarray, person: Rater, seed: int) -> None:
    ratings = rate(person, attributes, np.random.default_rng(seed))
    assert ((ratings >= 0) & (ratings <= 100)).all()
    assert np.array_equal(ratings, ratings.round(1))


def test_ratings_follow_the_true_liking_with_the_raters_bias_and_noise() -> None:
    person = PEOPLE[1]
    halfway = np.tile(person.ideal + 1.2 * person.tolerance, (4000, 1))
    ratings = rate(person, halfway, np.random.default_rng(0))
    assert ratings.mean() == pytest.approx(100 * person.utility(halfway[:1])[0] + person.bias, abs=0.5)
    assert ratings.std() == pytest.approx(person.noise, rel=0.1)


def test_two_peoples_tastes_are_shared_in_part() -> None:
    rng = np.random.default_rng(0)
    prints = PEOPLE[0].ideal + rng.normal(0, 1, (500, len(ATTRIBUTES))) * PEOPLE[0].tolerance
    likings = np.asarray(np.corrcoef([person.utility(prints) for person in sample_raters(40, seed=1)]))
    assert 0.1 < likings[np.triu_indices(40, 1)].mean() < 0.6


def test_utility_depends_on_nothing_but_attributes_of_pixels() -> None:
    """No prompt and no encoder can be handed in, and none is imported."""
    assert list(inspect.signature(Rater.utility).parameters) == ["self", "attributes"]
    assert list(inspect.signature(rate).parameters) == ["rater", "attributes", "rng"]
    imported = [
        line for line in inspect.getsource(module).splitlines() if line.startswith(("import", "from predictor"))
    ]
    assert [line for line in imported if "predictor" in line] == [
        "from predictor.simulation.attributes import ATTRIBUTES"
    ]


def test_the_truth_comes_back_from_its_file_exactly(tmp_path: Path) -> None:
    write_truth(PEOPLE, tmp_path / "truth.parquet")
    read = read_truth(tmp_path / "truth.parquet")
    assert list(read) == [person.user_id for person in PEOPLE]
    for person in PEOPLE:
        assert_same(read[person.user_id], person)
