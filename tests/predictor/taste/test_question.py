import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from predictor.taste.evidence import Evidence, Rating
from predictor.taste.hierarchical import ImageFeatures, Taste, TasteConfig
from predictor.taste.posterior import Posterior, infer, prior
from predictor.taste.question import expected_accuracy, next_question
from predictor.taste.starter import learn_starter
from predictor.taste.training_answers import Ratings


def some_taste(rank: int) -> Taste:
    taste = Taste(TasteConfig(dimensions=1, landmarks=1, rank=rank, noise=0.01, generic_error=0.005))
    taste.covariance.copy_(0.02 * torch.eye(rank))
    return taste


def some_features(count: int, rank: int, seed: int = 0) -> ImageFeatures:
    rng = np.random.default_rng(seed)
    return ImageFeatures(
        generic=torch.from_numpy(rng.normal(0, 0.03, count)), values=torch.from_numpy(rng.normal(size=(count, rank)))
    )


@given(st.floats(-0.5, 0.5), st.floats(0.01, 0.3), st.floats(0, 0.5))
def test_expected_accuracy_is_what_simulated_answers_give(mean: float, variance: float, share: float) -> None:
    rng = np.random.default_rng(0)
    explained = share * variance
    moved = mean + rng.normal(0, explained**0.5, 40_000)  # the expected difference after the answer
    truth = moved + rng.normal(0, (variance - explained) ** 0.5, 40_000)
    simulated = np.mean((truth > 0) == (moved > 0))
    now = torch.tensor([[mean], [variance]], dtype=torch.float64)
    found = expected_accuracy(now[0], now[1], torch.tensor([[explained]], dtype=torch.float64))
    assert float(found[0]) == pytest.approx(simulated, abs=0.05)  # nine nodes, and a kink


@given(st.floats(0.01, 0.3), st.floats(0, 0.9))
def test_an_answer_that_tells_more_is_never_expected_to_be_worse(variance: float, share: float) -> None:
    mean = torch.tensor([0.05], dtype=torch.float64)
    told = torch.tensor([[0, share * variance, (share + 0.1) * variance]], dtype=torch.float64)
    accuracy = expected_accuracy(mean, torch.tensor([variance], dtype=torch.float64), told)
    assert float(accuracy[0]) <= float(accuracy[1]) + 1e-3 <= float(accuracy[2]) + 2e-3


def test_an_image_that_shares_nothing_with_the_others_is_not_asked_about() -> None:
    taste, features = some_taste(3), some_features(30, 3)
    features.values[:, 2] = 0
    features.values[7] = torch.tensor([0.0, 0.0, 9.0])
    known = prior(taste)
    asked = {next_question(taste, known, features, np.arange(30), rng=np.random.default_rng(s))[0] for s in range(20)}
    assert 7 not in asked


@pytest.mark.parametrize("size", [1, 2, 4])
def test_only_askable_images_are_asked_about(size: int) -> None:
    taste, features = some_taste(4), some_features(40, 4)
    askable = np.arange(20, 30)
    asked = next_question(taste, prior(taste), features, askable, size=size, rng=np.random.default_rng(0))
    assert len(set(asked)) == size and set(asked) <= set(askable.tolist())
    with pytest.raises(ValueError, match="a question of 11 images needs as many to choose from, got 10"):
        next_question(taste, prior(taste), features, askable, size=11, rng=np.random.default_rng(0))


def answered(taste: Taste, features: ImageFeatures, own: torch.Tensor, rows: list[int], seed: int) -> Posterior:
    rng = np.random.default_rng(seed)
    rating = 0.5 + features.generic + features.values @ own
    answers = tuple(
        Rating(image=n, rating=float(np.clip(float(rating[row]) + rng.normal(0, 0.1), 0, 1)))
        for n, row in enumerate(rows)
    )
    return infer(taste, Evidence(answers=answers, ids=tuple(map(str, rows)), features=features[rows]))


def test_chosen_questions_teach_more_than_random_ones() -> None:
    """Correlation of inferred and true utility after six ratings, of 40 people; half of the images tell little."""
    taste, features = some_taste(12), some_features(150, 12)
    features.values[:75] *= 0.2
    reached: dict[str, list[float]] = {"chosen": [], "random": []}
    for number in range(40):
        rng = np.random.default_rng(number)
        own = torch.from_numpy(rng.normal(0, 0.14, 12))
        truth = (features.generic + features.values @ own).numpy()
        chosen: list[int] = []
        while len(chosen) < 6:
            left = np.setdiff1d(np.arange(150), chosen)
            known = answered(taste, features, own, chosen, number)
            chosen.extend(next_question(taste, known, features, left, rng=rng))
        for how, rows in (("random", rng.permutation(150)[:6].tolist()), ("chosen", chosen)):
            known = answered(taste, features, own, rows, number)
            found = (features.generic + features.values @ known.taste).numpy()
            reached[how].append(float(np.corrcoef(found, truth)[0, 1]))
    assert np.mean(reached["chosen"]) > np.mean(reached["random"]) + 0.03


@pytest.mark.parametrize("size", [1, 4])
def test_a_question_among_ten_thousand_images_is_found_in_milliseconds(size: int) -> None:
    taste, features = some_taste(64), some_features(10_000, 64)
    known, times = prior(taste), []
    for seed in range(5):
        began = time.process_time()
        next_question(taste, known, features, np.arange(10_000), size=size, rng=np.random.default_rng(seed))
        times.append(time.process_time() - began)
    assert min(times) < 0.1  # 0.02 on a quiet core


@pytest.mark.parametrize("dense", [True, False])
def test_a_starter_set_is_learnt_whether_people_rated_the_same_images_or_not(dense: bool) -> None:
    rng = np.random.default_rng(0)
    taste, features = some_taste(5), some_features(60, 5)
    features.values[:] *= torch.tensor([2.0, 1.0, 0.3, 0.1, 0.1]).double()
    own = torch.from_numpy(rng.normal(0, 0.14, (30, 5)))
    rating = (0.5 + features.generic + own @ features.values.T).numpy() + rng.normal(0, 0.1, (30, 60))
    seen = rng.random((30, 60)) < (2 if dense else 0.3)
    user, image = np.nonzero(seen)
    ratings = Ratings(user=user, image=image, rating=rating[user, image].clip(0, 1))
    lists = learn_starter(taste, features.__getitem__, ratings, np.unique(image))
    (starter,) = lists
    assert len(starter) == len(set(starter)) == 25
    told = features.values[:, 0].abs()  # most of the differences between people lie along the first feature
    assert float(told[starter[:3]].mean()) > float(told.mean()) + 0.3
