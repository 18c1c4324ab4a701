import numpy as np
import pytest

from predictor.evaluation.factorisation import Factorisation, factorise
from predictor.taste.training_answers import Ratings

USERS, IMAGES, RANK = 60, 80, 2


class World:
    """Ratings of a mean, biases and two factors, and which of them training sees."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.bias = rng.normal(0, 0.1, USERS)
        self.liking = rng.normal(0, 0.1, IMAGES)
        self.p, self.q = rng.normal(0, 0.4, (USERS, RANK)), rng.normal(0, 0.4, (IMAGES, RANK))
        self.truth = 0.5 + self.bias[:, None] + self.liking + self.p @ self.q.T
        self.seen = rng.random((USERS, IMAGES)) < 0.5
        self.seen[:, -5:] = False  # nobody has rated these
        self.seen[-1] = False  # who has rated nothing
        self.user, self.image = np.nonzero(self.seen)
        rating = self.truth[self.user, self.image] + rng.normal(0, 0.02, len(self.user))
        self.ratings = Ratings(user=self.user, image=self.image, rating=rating)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def fitted(world: World) -> Factorisation:
    return factorise(world.ratings, users=USERS, images=IMAGES)


def test_held_out_ratings_of_seen_images_are_found(world: World, fitted: Factorisation) -> None:
    everything = np.stack([fitted.scores(row, np.arange(IMAGES)) for row in fitted.user])
    held_out = ~world.seen
    held_out[:, -5:] = held_out[-1] = False
    found, true = everything[held_out], world.truth[held_out]
    by_biases = (0.5 + world.bias[:, None] + world.liking)[held_out]
    assert np.sqrt(np.mean((found - true) ** 2)) < 0.6 * np.sqrt(np.mean((by_biases - true) ** 2))
    assert np.corrcoef(found, true)[0, 1] > 0.93


def test_of_an_image_without_a_training_rating_there_is_nothing_to_say(fitted: Factorisation) -> None:
    assert np.isnan(fitted.scores(fitted.user[0], np.arange(IMAGES))).tolist() == [False] * 75 + [True] * 5
    assert np.isnan(fitted.consensus()).tolist() == [False] * 75 + [True] * 5


def test_who_rated_nothing_is_scored_for_by_the_consensus(fitted: Factorisation) -> None:
    assert not fitted.user[-1].any()
    assert np.array_equal(fitted.scores(fitted.user[-1], np.arange(75)), fitted.consensus()[:75])


def test_the_consensus_orders_images_by_how_much_they_are_liked(world: World, fitted: Factorisation) -> None:
    assert np.corrcoef(fitted.consensus()[:75], world.truth.mean(0)[:75])[0, 1] > 0.95


def test_an_unseen_user_is_folded_in(world: World, fitted: Factorisation) -> None:
    rng = np.random.default_rng(3)
    liking = 0.5 - 0.1 + world.liking + world.q @ rng.normal(0, 0.4, RANK)
    context = np.arange(40)
    row = fitted.fold_in(context, liking[context])
    found = fitted.scores(row, np.arange(40, 75))
    assert np.corrcoef(found, liking[40:75])[0, 1] > 0.93
    assert np.corrcoef(found, liking[40:75])[0, 1] > np.corrcoef(fitted.consensus()[40:75], liking[40:75])[0, 1]


def test_a_users_own_ratings_give_the_users_own_row(world: World, fitted: Factorisation) -> None:
    own = world.user == 7
    again = fitted.fold_in(world.image[own], world.ratings.rating[own])
    found, trained = (fitted.scores(row, np.arange(75)) for row in (again, fitted.user[7]))
    assert np.corrcoef(found, trained)[0, 1] > 0.999  # the images' rows were fitted once more since


def test_ratings_of_unseen_images_are_ignored_when_a_user_is_folded_in(fitted: Factorisation) -> None:
    assert not fitted.fold_in(np.array([76, 79]), np.array([0.1, 0.9])).any()
    assert not fitted.fold_in(np.array([], int), np.array([])).any()
    with_unseen = fitted.fold_in(np.array([1, 2, 79]), np.array([0.2, 0.4, 1.0]))
    assert np.array_equal(with_unseen, fitted.fold_in(np.array([1, 2]), np.array([0.2, 0.4])))


def test_the_same_ratings_give_the_same_factors_in_any_order(world: World, fitted: Factorisation) -> None:
    order = np.random.default_rng(0).permutation(len(world.user))
    turned = Ratings(user=world.user[order], image=world.image[order], rating=world.ratings.rating[order])
    again, other = (factorise(r, users=USERS, images=IMAGES) for r in (world.ratings, turned))
    assert np.array_equal(again.user, fitted.user)
    assert np.allclose(other.user, fitted.user, atol=1e-8)
