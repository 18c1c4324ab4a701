import math
import time
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from scipy.stats.qmc import Sobol
from torch import Tensor

from predictor.taste.evidence import Answer, Choice, Evidence, Like, Order, Pair, Rating
from predictor.taste.hierarchical import ImageFeatures, Taste, TasteConfig
from predictor.taste.likelihood import Likelihood
from predictor.taste.posterior import covariance_factor, infer, prior

RANK, IMAGES = 3, 8
SEEDS = st.integers(0, 9999)


def some_taste(rank: int = RANK, *, seed: int = 0, size: float = 0.02, noise: float = 0.03) -> Taste:
    config = TasteConfig(
        dimensions=1, landmarks=1, rank=rank, noise=noise, generic_error=0.01, level_variance=0.02, tie_zone=0.08
    )
    taste = Taste(config)
    root = torch.from_numpy(np.random.default_rng(seed).normal(size=(rank, rank)))
    taste.covariance.copy_(size * (root @ root.T / rank + 0.3 * torch.eye(rank)))
    return taste


def some_features(count: int = IMAGES, rank: int = RANK, *, seed: int = 0) -> ImageFeatures:
    rng = np.random.default_rng([seed, 1])
    return ImageFeatures(
        generic=torch.from_numpy(rng.normal(0, 0.1, count)), values=torch.from_numpy(rng.normal(size=(count, rank)))
    )


def evidence(answers: Sequence[Answer], features: ImageFeatures) -> Evidence:
    return Evidence(answers=tuple(answers), ids=tuple(map(str, range(len(features)))), features=features)


def some_answers(rng: np.random.Generator, count: int, images: int = IMAGES) -> list[Answer]:
    """Answers of all kinds."""
    made: list[Answer] = []
    for _ in range(count):
        a, b, c, d = (int(row) for row in rng.permutation(images)[:4])
        kinds: list[Answer] = [
            Rating(image=a, rating=float(rng.random())),
            Like(image=a, liked=bool(rng.random() < 0.5)),
            Pair(first=a, second=b, preferred=(a, b, None)[rng.integers(3)]),
            Choice(shown=(a, b, c, d), best=a),
            Choice(shown=(a, b, c, d), best=b, worst=c),
            Choice(shown=(a, b, c), worst=c),
            Order(shown=(a, b, c, d)),
        ]
        made.append(kinds[rng.integers(len(kinds))])
    return made


ALL_KINDS: list[Answer] = [
    Rating(image=0, rating=0.9),
    Rating(image=1, rating=0.2),
    Like(image=2, liked=True),
    Like(image=3, liked=False),
    Pair(first=4, second=5, preferred=5),
    Pair(first=0, second=6, preferred=None),
    Choice(shown=(1, 2, 6, 7), best=6, worst=1),
    Order(shown=(3, 5, 7)),
]


@settings(max_examples=40)
@given(SEEDS)
def test_gradient_and_curvature_are_those_of_finite_differences(seed: int) -> None:
    rng = np.random.default_rng(seed)
    likelihood = Likelihood(some_answers(rng, 6), IMAGES, noise=0.05, tie_zone=0.1)
    point = torch.from_numpy(rng.normal(0, 0.3, IMAGES + 2))
    terms, step = likelihood(point), 1e-5
    for row in range(len(point)):
        move = torch.zeros_like(point)
        move[row] = step
        up, down = likelihood(point + move), likelihood(point - move)
        assert (up.value - down.value) / (2 * step) == pytest.approx(float(terms.gradient[row]), rel=1e-5, abs=1e-5)
        slope = (up.gradient - down.gradient) / (2 * step)
        assert torch.allclose(-slope, terms.curvature[row], rtol=1e-4, atol=1e-4)


@settings(max_examples=40)
@given(st.floats(-3, 3), st.floats(0.01, 0.5))
def test_the_three_outcomes_of_a_pair_are_all_there_are(difference: float, tie_zone: float) -> None:
    point = torch.tensor([difference, 0.0, 0.0, 0.0], dtype=torch.float64)
    tie = Pair(first=0, second=1, preferred=None)

    def probability(*pairs: Pair) -> float:
        return math.exp(Likelihood(pairs, 2, noise=0.05, tie_zone=tie_zone)(point).value)

    alone = probability(tie)
    outcomes = [probability(Pair(first=0, second=1, preferred=p), tie) / alone for p in (0, 1)] if alone > 0 else [1]
    if alone > 1e-12:
        assert sum(outcomes) + alone == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("worst", [None, 2])
def test_the_choices_that_could_be_made_of_four_sum_to_one(worst: int | None) -> None:
    point = torch.from_numpy(np.random.default_rng(3).normal(0, 0.3, 6))
    pairs = (
        [(b, w) for b in range(4) for w in range(4) if b != w] if worst is not None else [(b, None) for b in range(4)]
    )
    values = [
        Likelihood([Choice(shown=(0, 1, 2, 3), best=b, worst=w)], 4, noise=0.05, tie_zone=0)(point).value
        for b, w in pairs
    ]
    assert sum(map(math.exp, values)) == pytest.approx(1, abs=1e-12)


def sampled(taste: Taste, features: ImageFeatures, answers: Sequence[Answer], draws: int) -> tuple[Tensor, Tensor]:
    """Posterior mean and covariance of the taste by importance sampling from the prior, at evenly spread points."""
    config, n = taste.config, len(features)
    root = torch.linalg.cholesky(taste.covariance)
    normal = torch.from_numpy(norm.ppf(Sobol(config.rank + n + 2, rng=5).random(draws)))
    tastes = normal[:, : config.rank] @ root.T
    own = config.generic_error**0.5 * normal[:, config.rank : -2]
    offsets = normal[:, -2:] * torch.tensor([1.0, 0.1**0.5]) + torch.tensor([config.level, 0])
    points = torch.cat([features.generic + tastes @ features.values.T + own, offsets], 1)
    likelihood = Likelihood(answers, n, noise=config.noise, tie_zone=config.tie_zone)
    logs = np.array([likelihood(point).value for point in points])
    weight = torch.from_numpy(np.exp(logs - logs.max()))
    weight = weight / weight.sum()
    mean = weight @ tastes
    centred = tastes - mean
    return mean, centred.T @ (weight[:, None] * centred)


@pytest.mark.parametrize(
    "answers",
    [
        [Pair(first=n, second=n + 4, preferred=n) for n in range(4)],
        [Like(image=n, liked=n % 3 > 0) for n in range(IMAGES)],
        [Choice(shown=(0, 1, 2, 3), best=3), Choice(shown=(4, 5, 6, 7), best=5, worst=6)],
        [Order(shown=(2, 0, 1, 3)), Pair(first=4, second=5, preferred=None), Pair(first=6, second=7, preferred=7)],
        ALL_KINDS,
    ],
    ids=["pairs", "likes", "choices", "order and tie", "all kinds"],
)
def test_the_posterior_is_near_what_brute_force_finds(answers: list[Answer]) -> None:
    """Weak evidence, for which Laplace's approximation is good."""
    taste, features = some_taste(size=0.01, noise=0.3), some_features()
    found = infer(taste, evidence(answers, features))
    mean, covariance = sampled(taste, features, answers, 2048)
    scale = taste.covariance.diagonal().sqrt()
    assert float(((found.taste - mean) / scale).abs().max()) < 0.05
    own = (found.factor @ found.factor.T)[:-1, :-1]
    assert float(((own - covariance) / torch.outer(scale, scale)).abs().max()) < 0.05


@settings(max_examples=30)
@given(SEEDS, st.integers(1, 10))
def test_the_order_of_the_answers_does_not_matter(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    taste, features, answers = some_taste(seed=seed), some_features(seed=seed), some_answers(rng, count)
    found = infer(taste, evidence(answers, features))
    turned = infer(taste, evidence([answers[n] for n in rng.permutation(count)], features))
    assert torch.allclose(found.taste, turned.taste, atol=1e-8)
    assert torch.allclose(found.factor, turned.factor, atol=1e-8)
    assert found.level == pytest.approx(turned.level, abs=1e-8)


@settings(max_examples=30)
@given(SEEDS, st.integers(1, 10))
def test_the_numbers_of_the_images_do_not_matter(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    taste, features, answers = some_taste(seed=seed), some_features(seed=seed), some_answers(rng, count)
    order = rng.permutation(IMAGES)
    moved = [answer.relabelled(np.argsort(order).tolist()) for answer in answers]
    found, again = infer(taste, evidence(answers, features)), infer(taste, evidence(moved, features[order]))
    assert torch.allclose(found.taste, again.taste, atol=1e-8)


@settings(max_examples=30)
@given(SEEDS, st.sampled_from([0, 1, None]))
def test_a_pair_and_its_mirror_are_the_same(seed: int, preferred: int | None) -> None:
    taste, features = some_taste(seed=seed), some_features(seed=seed)
    pairs = [Pair(first=a, second=b, preferred=preferred) for a, b in ((0, 1), (1, 0))]
    found = [infer(taste, evidence([pair], features)).taste for pair in pairs]
    assert torch.allclose(found[0], found[1], atol=1e-9)


@settings(max_examples=30)
@given(SEEDS)
def test_what_is_said_twice_counts_more_than_once_and_less_than_of_other_images(seed: int) -> None:
    """The same image has the same error of its own each time; a second image of the same looks has another."""
    taste, features = some_taste(seed=seed), some_features(2, seed=seed)
    twins = ImageFeatures(generic=features.generic.repeat(2), values=features.values.repeat(2, 1))
    said, of_twins = Pair(first=0, second=1, preferred=0), Pair(first=2, second=3, preferred=2)

    def open_variance(*answers: Answer) -> float:
        rows = covariance_factor(infer(taste, evidence(answers, twins)).factor, twins)
        return float((rows[0] - rows[1]).square().sum())

    once, twice, of_others = open_variance(said), open_variance(said, said), open_variance(said, of_twins)
    assert once > twice > of_others


def test_many_pairs_say_what_ratings_say() -> None:
    """How often each image wins tells the differences of utility; the level stays unknown."""
    taste, features = some_taste(), some_features(4)
    utility, noise, many = [0.3, 0.45, 0.6, 0.7], taste.config.noise, 300
    pairs: list[Answer] = []
    for a in range(4):
        for b in range(a):
            share = 0.5 * math.erfc(-(utility[a] - utility[b]) / (2 * noise**0.5))
            wins = round(many * share)
            pairs += [Pair(first=a, second=b, preferred=a)] * wins + [Pair(first=a, second=b, preferred=b)] * (
                many - wins
            )
    ratings = [Rating(image=n, rating=value) for n, value in enumerate(utility)] * 300
    by_pairs, by_ratings = (infer(taste, evidence(answers, features)) for answers in (pairs, ratings))
    scale = taste.covariance.diagonal().sqrt()
    assert float(((by_pairs.taste - by_ratings.taste) / scale).abs().max()) < 0.05
    assert by_pairs.level == 0 != by_ratings.level


@settings(max_examples=20)
@given(SEEDS)
def test_a_higher_rating_scale_moves_the_level_and_not_the_taste(seed: int) -> None:
    rng = np.random.default_rng(seed)
    taste, features = some_taste(seed=seed), some_features(seed=seed)
    low = [Rating(image=n, rating=float(r)) for n, r in enumerate(rng.uniform(0, 0.5, IMAGES))]
    high = [Rating(image=answer.image, rating=answer.rating + 0.4) for answer in low]
    found = [infer(taste, evidence(answers, features)) for answers in (low, high)]
    assert torch.allclose(found[0].taste, found[1].taste, atol=1e-9)
    assert found[1].level > found[0].level


@pytest.mark.parametrize("liked", [True, False])
def test_somebody_who_likes_everything_or_nothing_has_a_taste_all_the_same(liked: bool) -> None:
    taste, features = some_taste(), some_features()
    found = infer(taste, evidence([Like(image=n, liked=liked) for n in range(IMAGES)], features))
    assert found.taste.isfinite().all()
    assert found.level == 0


@settings(max_examples=20)
@given(SEEDS, st.integers(1, 12))
def test_answers_only_ever_lower_what_is_open(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    taste, features = some_taste(seed=seed), some_features(seed=seed)
    before = prior(taste).factor
    after = infer(taste, evidence(some_answers(rng, count), features)).factor
    lowered = (before @ before.T - after @ after.T)[:-1, :-1]
    assert float(torch.linalg.eigvalsh(lowered)[0]) > -1e-10


def test_thirty_choices_of_four_are_learnt_from_in_milliseconds() -> None:
    taste, features = some_taste(128), some_features(120, 128)
    answers = [Choice(shown=(4 * n, 4 * n + 1, 4 * n + 2, 4 * n + 3), best=4 * n, worst=4 * n + 2) for n in range(30)]
    given_evidence = evidence(answers, features)
    infer(taste, given_evidence)
    times = []
    for _ in range(7):
        began = time.process_time()
        infer(taste, given_evidence)
        times.append(time.process_time() - began)
    assert min(times) < 0.05  # 0.01 on a quiet core
