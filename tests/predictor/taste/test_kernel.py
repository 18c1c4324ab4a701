import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from predictor.taste.kernel import FittedKernel, fit_kernel, rbf


def made_up(count: int, dimensions: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, dimensions)))


def fitted(x: Tensor, parts: tuple[int, ...], liking: Tensor) -> FittedKernel:
    return fit_kernel(x, parts, liking, torch.full((len(x),), 5.0, dtype=torch.float64), seed=0)


def in_its_coordinates(kernel: FittedKernel, x: Tensor) -> Tensor:
    return (x - kernel.centre) * kernel.scale


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 5), st.floats(0, 30), st.integers(0, 99))
def test_the_kernel_is_the_exponential_of_half_the_squared_distance(
    rows: int, columns: int, dimensions: int, size: float, seed: int
) -> None:
    x, y = size * made_up(rows, dimensions, seed), size * made_up(columns, dimensions, seed + 1)
    direct = torch.exp(-0.5 * (x[:, None] - y[None]).square().sum(2))
    assert torch.allclose(rbf(x, y), direct, atol=1e-9)
    assert torch.allclose(rbf(x, x).diagonal(), torch.ones(rows, dtype=torch.float64), atol=1e-9)


@pytest.mark.parametrize("decisive", [0, 1, 2])
def test_the_part_that_decides_the_ratings_gets_the_largest_weight(decisive: int) -> None:
    x = made_up(150, 9)
    part = x[:, 3 * decisive : 3 * decisive + 3]
    liking = 0.5 + 0.2 * torch.tanh(part[:, 0] - part[:, 1])
    noisy = liking + 0.02 * made_up(150, 1, seed=5)[:, 0]
    weights = fitted(x, (3, 3, 3), noisy).weights
    others = [weight for number, weight in enumerate(weights) if number != decisive]
    assert weights[decisive] > 5 * max(others)


def test_random_mean_ratings_are_fitted_as_noise() -> None:
    x = made_up(150, 6)
    chance, meant = made_up(150, 1, seed=3)[:, 0] * 0.1, x[:, 0] * 0.1
    accounted = [
        kernel.variance / (kernel.variance + kernel.noise / 5 + kernel.nugget)
        for kernel in (fitted(x, (3, 3), chance), fitted(x, (3, 3), meant))
    ]
    assert accounted[0] < 0.5 < 0.9 < accounted[1]


def test_the_unit_and_the_origin_of_a_part_do_not_matter() -> None:
    x = made_up(60, 5)
    moved = x * torch.tensor([1.0, 1.0, 1.0, 250.0, 250.0]) + torch.tensor([0.0, 7.0, 0.0, -3.0, 0.0])
    liking = 0.1 * x[:, 0] - 0.1 * x[:, 3]
    placed = [in_its_coordinates(fitted(each, (3, 2), liking), each) for each in (x, moved)]
    assert torch.allclose(rbf(placed[0], placed[0]), rbf(placed[1], placed[1]), atol=1e-6)


def test_a_part_that_is_missing_everywhere_changes_nothing() -> None:
    x = made_up(60, 4)
    with_nothing = torch.cat([x, torch.zeros(60, 3, dtype=torch.float64)], 1)
    liking = 0.1 * x[:, 0] * x[:, 2]
    plain, padded = fitted(x, (2, 2), liking), fitted(with_nothing, (2, 2, 3), liking)
    assert padded.weights[:2] == pytest.approx(plain.weights, rel=0.05)  # from where the optimiser stops
    assert not in_its_coordinates(padded, with_nothing)[:, 4:].any()


@pytest.mark.parametrize(
    "x",
    [torch.ones(20, 4).double(), made_up(1, 4), made_up(2, 4), torch.zeros(3, 4).double()],
    ids=["identical images", "one image", "two images", "nothing to see"],
)
def test_little_to_see_is_no_reason_to_fail(x: Tensor) -> None:
    kernel = fitted(x, (2, 2), torch.linspace(0.2, 0.7, len(x)).double())
    assert in_its_coordinates(kernel, x).isfinite().all()
    assert np.isfinite([*kernel.weights, kernel.variance, kernel.noise, kernel.nugget]).all()
    assert min(*kernel.weights, kernel.variance, kernel.noise, kernel.nugget) > 0


def test_everybody_liking_everything_alike_is_no_reason_to_fail() -> None:
    kernel = fitted(made_up(20, 4), (2, 2), torch.full((20,), 0.5).double())
    assert np.isfinite([*kernel.weights, kernel.variance, kernel.noise, kernel.nugget]).all()


def test_the_same_seed_gives_the_same_kernel_of_more_images_than_are_sampled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("predictor.taste.kernel._MAX_IMAGES", 100)
    x = made_up(150, 2)
    liking, ratings = 0.1 * x[:, 0] + 0.02 * made_up(150, 1, seed=8)[:, 0], torch.ones(150).double()
    one, again, other = (fit_kernel(x, (1, 1), liking, ratings, seed=seed) for seed in (0, 0, 1))
    assert one.weights == again.weights != other.weights
    assert min(one.weights[0] / one.weights[1], other.weights[0] / other.weights[1]) > 1
