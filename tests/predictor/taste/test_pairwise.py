import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_ndtr

from predictor.taste.pairwise import image_effects, measured

NOISE = 0.03


@given(st.floats(-1, 1), st.floats(0.1, 3))
def test_a_measurement_has_the_slope_and_the_curvature_of_the_comparisons_likelihood(at: float, weight: float) -> None:
    (site,) = [measured(np.array([at]), np.array([weight]), noise=NOISE)]

    def likelihood(d: float) -> float:
        return weight * float(log_ndtr(d / (2 * NOISE) ** 0.5))

    step = 1e-4
    slope = (likelihood(at + step) - likelihood(at - step)) / (2 * step)
    assert site.precision[0] * (site.value[0] - at) == pytest.approx(slope, rel=1e-4, abs=1e-6)
    if abs(at) < 0.6:
        curvature = (likelihood(at + step) - 2 * likelihood(at) + likelihood(at - step)) / step**2
        assert site.precision[0] == pytest.approx(-curvature, rel=1e-2, abs=1e-3)


def test_what_comparisons_say_of_images_is_what_was_true_of_them() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 0.15, 30)
    a, b = rng.integers(0, 30, (2, 6000))
    a, b = a[a != b], b[a != b]
    first = truth[a] - truth[b] + rng.normal(0, (2 * NOISE) ** 0.5, len(a)) > 0
    better, worse = np.where(first, a, b), np.where(first, b, a)
    nothing = np.zeros(30)

    found, worth = image_effects(better, worse, np.ones(len(a)), nothing, nothing, noise=NOISE)

    assert np.corrcoef(found, truth)[0, 1] > 0.99
    assert np.polyfit(truth - truth.mean(), found - found.mean(), 1)[0] == pytest.approx(1, abs=0.1)
    assert (
        60 < worth.mean() < 400
    )  # each is in 387 comparisons, of which each says less than half of what a rating does


@given(st.integers(0, 50))
def test_a_pair_and_its_mirror_leave_ratings_in_the_middle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mean, count = np.repeat(rng.normal(0, 0.1), 4), np.full(4, 20.0)
    pairs = np.array([0, 2]), np.array([1, 3])
    better, worse = np.concatenate(pairs), np.concatenate(pairs[::-1])

    found, _ = image_effects(better, worse, np.full(4, 0.5), mean, count, noise=NOISE)

    assert found == pytest.approx(np.repeat(found[0], 4))
    assert abs(found[0]) <= abs(mean[0])


def test_who_always_wins_stays_within_bounds() -> None:
    found, _ = image_effects(
        np.zeros(500, np.intp), np.ones(500, np.intp), np.ones(500), np.zeros(2), np.zeros(2), noise=NOISE
    )
    assert 0.2 < found[0] < 1
    assert found[1] == pytest.approx(-found[0])
