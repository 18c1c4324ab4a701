import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.search.screening import predict, screen


def unit(rng: np.random.Generator, count: int, dimensions: int = 24) -> np.ndarray:
    vectors = rng.normal(size=(count, dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("count", [10, 200])
def test_scores_that_are_linear_in_the_embedding_are_predicted(count: int) -> None:
    rng = np.random.default_rng(0)
    taste, evaluated, proposals = rng.normal(size=24), unit(rng, count), unit(rng, 50)
    found = predict(proposals, evaluated, 0.5 + evaluated @ taste)
    agreement = np.corrcoef(found, proposals @ taste)[0, 1]
    assert agreement > (0.999 if count > 24 else 0.4)


def test_scores_without_any_pattern_are_predicted_by_little_more_than_their_mean() -> None:
    rng = np.random.default_rng(1)
    found = predict(unit(rng, 50), unit(rng, 60), rng.normal(size=60))
    assert np.abs(found).max() < 0.5


@given(st.integers(0, 10_000), st.integers(1, 20), st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_every_proposal_is_kept_or_says_why_not(seed: int, keep: int, novelty: float) -> None:
    rng = np.random.default_rng(seed)
    proposals, evaluated = unit(rng, 20), unit(rng, 12)
    screened = screen(proposals, evaluated, rng.normal(size=12), keep=keep, novelty=novelty)
    assert len(screened.kept) <= keep
    assert sorted([*screened.kept, *screened.rejected]) == list(range(20))
    known = np.vstack([evaluated, proposals[screened.kept]])
    for place in screened.kept:
        likeness = np.delete(known, len(evaluated) + screened.kept.index(place), 0) @ proposals[place]
        assert 1 - likeness.max() >= novelty - 1e-6


def test_a_level_that_all_scores_have_in_common_changes_no_choice() -> None:
    rng = np.random.default_rng(3)
    proposals, evaluated, scores = unit(rng, 20), unit(rng, 30), rng.normal(size=30)
    chosen = [screen(proposals, evaluated, scores + level, keep=4, novelty=0.0).kept for level in (0, 7)]
    assert chosen[0] == chosen[1]


def test_what_was_evaluated_before_is_never_kept_above_a_novelty_of_nothing() -> None:
    rng = np.random.default_rng(4)
    evaluated = unit(rng, 10)
    screened = screen(evaluated[:3], evaluated, rng.normal(size=10), keep=2, novelty=0.01)
    assert screened.kept == []
    assert all(str(notice).startswith("novelty: 0.000") for notice in screened.rejected.values())
