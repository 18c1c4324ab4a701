import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.search.notices import Check
from pipelines.search.screening import FittedScreen, ScorePredictor, screen

PENALTIES = np.logspace(-3, 3, 13)


def unit(rng: np.random.Generator, count: int, dimensions: int = 24) -> np.ndarray:
    vectors = rng.normal(size=(count, dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def predict(proposals: np.ndarray, evaluated: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """One user's scores of the proposals."""
    return ScorePredictor(evaluated, scores[None]).predict(proposals, 0)


def plain_ridge(proposals: np.ndarray, evaluated: np.ndarray, scores: np.ndarray) -> list[np.ndarray]:
    """One user's predictions by a singular value decomposition, with the penalty that cross-validation chooses.

    Several where penalties are as good as each other but for rounding.
    """
    centre, level = evaluated.mean(0, dtype=np.float64), float(np.nanmean(scores.astype(np.float64)))
    features = evaluated - centre
    target = np.where(np.isnan(scores), 0.0, scores.astype(np.float64) - level)
    u, s, vt = np.linalg.svd(features, full_matrices=False)
    projected = u.T @ target
    unexplained = max(float(target @ target - projected @ projected), 0.0)
    penalties = PENALTIES * max(float((s**2).mean()), 1e-12)
    shrunk = s**2 / (s**2 + penalties[:, None])
    residual = unexplained + (((1 - shrunk) * projected) ** 2).sum(1)
    errors = residual / np.maximum(len(scores) - 1 - shrunk.sum(1), 1e-9) ** 2
    return [
        level + (proposals - centre) @ (vt.T @ (projected * s / (s**2 + penalty)))
        for penalty, error in zip(penalties, errors, strict=True)
        if error <= errors.min() * (1 + 1e-6) + 1e-12
    ]


@given(
    st.integers(0, 10_000),
    st.sampled_from([(2, 24), (8, 24), (23, 24), (24, 24), (25, 24), (80, 24), (40, 3)]),
    st.integers(1, 12),
    st.sampled_from([0.0, 0.05, 1.0, 30.0]),
    st.booleans(),
)
@settings(max_examples=80)
def test_every_users_prediction_is_that_of_a_ridge_regression_of_their_own(
    seed: int, shape: tuple[int, int], users: int, noise: float, gaps: bool
) -> None:
    rng = np.random.default_rng(seed)
    count, dimensions = shape
    evaluated, proposals = unit(rng, count, dimensions), unit(rng, 9, dimensions)
    scores = evaluated @ rng.normal(size=(dimensions, users)) + noise * rng.normal(size=(count, users)) + 3
    scores = scores.T.astype(np.float32)
    if gaps:
        scores[:, 1:][rng.random((users, count - 1)) < 0.2] = np.nan

    fitted = ScorePredictor(evaluated, scores)

    for user in range(users):
        found, expected = fitted.predict(proposals, user), plain_ridge(proposals, evaluated, scores[user])
        assert found.shape == (9,)
        assert any(np.allclose(found, each, rtol=1e-5, atol=1e-5) for each in expected)


@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(2, 6))
@settings(max_examples=30)
def test_a_users_prediction_does_not_depend_on_who_else_is_in_the_cohort(seed: int, count: int, users: int) -> None:
    rng = np.random.default_rng(seed)
    evaluated, proposals, scores = unit(rng, count), unit(rng, 5), rng.normal(size=(users, count)).astype(np.float32)

    together = ScorePredictor(evaluated, scores)

    for user in range(users):
        assert np.allclose(together.predict(proposals, user), predict(proposals, evaluated, scores[user]), atol=1e-6)


def test_a_prompt_that_was_evaluated_twice_or_always_is_no_obstacle() -> None:
    rng = np.random.default_rng(5)
    evaluated, proposals = unit(rng, 12), unit(rng, 4)
    twice = np.vstack([evaluated, evaluated[:3]])
    scores = rng.normal(size=15)

    found = predict(proposals, twice, scores)

    assert any(np.allclose(found, each, atol=1e-5) for each in plain_ridge(proposals, twice, scores))
    always = predict(proposals, np.repeat(evaluated[:1], 9, 0), scores[:9])
    assert np.allclose(always, scores[:9].mean(), atol=1e-4)


def test_a_missing_score_counts_as_the_users_mean() -> None:
    rng = np.random.default_rng(6)
    evaluated, proposals, scores = unit(rng, 40), unit(rng, 7), rng.normal(size=40)
    missing = np.where(np.arange(40) % 4 == 0, np.nan, scores)
    filled = np.where(np.isnan(missing), np.nanmean(missing), missing)

    assert np.allclose(predict(proposals, evaluated, missing), predict(proposals, evaluated, filled))


def test_a_user_without_any_score_changes_nobody_elses_prediction_and_is_nothing_to_warn_of() -> None:
    rng = np.random.default_rng(7)
    evaluated, proposals, scores = unit(rng, 20), unit(rng, 7), rng.normal(size=20)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = ScorePredictor(evaluated, np.stack([np.full(20, np.nan), scores]))

    assert np.allclose(fitted.predict(proposals, 1), predict(proposals, evaluated, scores))


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
@settings(max_examples=30)
def test_every_proposal_is_kept_or_says_why_not(seed: int, keep: int, novelty: float) -> None:
    rng = np.random.default_rng(seed)
    proposals, evaluated, predicted = unit(rng, 20), unit(rng, 12), rng.normal(size=20)
    screened = screen(proposals, evaluated, predicted, keep=keep, novelty=novelty)
    assert len(screened.kept) <= keep
    assert screened.kept == sorted(screened.kept)
    assert sorted([*screened.kept, *screened.rejected]) == list(range(20))
    known = np.vstack([evaluated, proposals[screened.kept]])
    for place in screened.kept:
        likeness = np.delete(known, len(evaluated) + screened.kept.index(place), 0) @ proposals[place]
        assert 1 - likeness.max() >= novelty - 1e-6


@given(st.integers(0, 10_000), st.integers(1, 20), st.floats(0, 1))
@settings(max_examples=30)
def test_the_novel_proposals_are_taken_from_the_highest_prediction_on(seed: int, keep: int, novelty: float) -> None:
    rng = np.random.default_rng(seed)
    proposals, evaluated, predicted = unit(rng, 20), unit(rng, 12), rng.normal(size=20).round(1)

    known, kept, rejected = evaluated, [], {}
    for rank, place in enumerate(sorted(range(20), key=lambda place: -predicted[place]), start=1):
        if len(kept) == keep:
            rejected[place] = f"screen: ranked {rank} of 20"
        elif (distance := 1 - float((known @ proposals[place]).max())) < novelty:
            rejected[place] = f"novelty: {max(0, distance):.3f} from a prompt that was evaluated, less than {novelty:g}"
        else:
            kept.append(place)
            known = np.vstack([known, proposals[place]])

    screened = screen(proposals, evaluated, predicted, keep=keep, novelty=novelty)
    assert screened.kept == sorted(kept)
    assert {place: str(notice) for place, notice in screened.rejected.items()} == rejected


def test_a_level_that_all_scores_have_in_common_changes_no_choice() -> None:
    rng = np.random.default_rng(3)
    proposals, evaluated, scores = unit(rng, 20), unit(rng, 30), rng.normal(size=30)
    chosen = [
        screen(proposals, evaluated, predict(proposals, evaluated, scores + level), keep=4, novelty=0.0).kept
        for level in (0, 7)
    ]
    assert chosen[0] == chosen[1]


def test_what_was_evaluated_before_is_never_kept_above_a_novelty_of_nothing() -> None:
    rng = np.random.default_rng(4)
    evaluated = unit(rng, 10)
    screened = screen(evaluated[:3], evaluated, rng.normal(size=3), keep=2, novelty=0.01)
    assert screened.kept == []
    assert all(str(notice).startswith("novelty: 0.000") for notice in screened.rejected.values())


def test_proposals_with_the_words_of_what_a_user_liked_are_rendered() -> None:
    rng = np.random.default_rng(8)
    words = ["fog", "neon", "grain", "gold", "snow", "lace"]
    chosen = rng.random((40, len(words))) < 0.4
    prompts = ["a lake, " + ", ".join(np.array(words)[row]) for row in chosen]
    likes_fog = chosen[:, 0].astype(np.float32) - chosen[:, 1]
    scores = np.stack([likes_fog, -likes_fog])
    proposals = ["a lake, fog, bronze", "a lake, neon, bronze", "a lake, lace, bronze"]

    fitted = FittedScreen(prompts, scores)

    assert fitted.screen(proposals, 0, keep=1, novelty=0.1).kept == [0]
    assert fitted.screen(proposals, 1, keep=1, novelty=0.1).kept == [1]


def test_another_spelling_of_what_was_evaluated_is_not_novel() -> None:
    prompts = [f"a lake, fog, number {n}" for n in range(12)]
    fitted = FittedScreen(prompts, np.arange(12, dtype=np.float32)[None])

    rejected = fitted.screen(["a lake, fog, number 3", "A LAKE; fog, number 4"], 0, keep=2, novelty=0.1).rejected

    assert {place: notice.check for place, notice in rejected.items()} == {0: Check.NOVELTY, 1: Check.NOVELTY}
