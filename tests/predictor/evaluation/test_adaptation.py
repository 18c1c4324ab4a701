from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from predictor.enrolment import AnsweredImages, enroll
from predictor.evaluation.adaptation import RULES, Adaptation, Context, Rule
from predictor.people.person import Person, mean_person
from predictor.people.users import profile
from predictor.predictor import PamelaPredictor
from predictor.taste.posterior import infer

RATING = np.array([0.9, 0.1, 0.5, 0.7, 0.2])


@pytest.fixture(scope="module")
def context(predictor: PamelaPredictor, rated: Path, cache: Path) -> Context:
    """Five images and an unseen user's ratings of them."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PAMELA_CACHE", str(cache))
        images = predictor.encode([Image.open(path) for path in sorted(rated.glob("*.png"))[:5]])
    return Context(images=images, features=predictor.taste.features(images), rating=RATING)


def by_similarity(predictor: PamelaPredictor, context: Context) -> list[tuple[float, str]]:
    """Cosine of the unseen user's profile with everybody's, most similar first, one person at a time."""
    vectors = context.images.image.double().numpy()
    own = sum(r * v for r, v in zip(context.rating, vectors, strict=True)) / context.rating.sum()
    found = []
    for user in predictor.users.to_pylist():
        other = np.array(user["profile"])
        found.append((float(own @ other / np.linalg.norm(own) / np.linalg.norm(other)), user["user_id"]))
    return sorted(found, reverse=True)


def assert_alike(person: Person, expected: Person) -> None:
    for name in ("user_embedding", "taste"):
        assert torch.allclose(getattr(person, name).double(), getattr(expected, name).double(), atol=1e-6)
    assert person.level == pytest.approx(expected.level, abs=1e-9)


@pytest.mark.parametrize(("neighbours", "tau"), [(1, 0.1), (2, 0.1), (3, 0.01), (5, 0.1), (6, 2.0)])
def test_equation_1_is_the_weighted_mean_of_the_most_similar_users(
    predictor: PamelaPredictor, context: Context, neighbours: int, tau: float
) -> None:
    near = by_similarity(predictor, context)[:neighbours]
    total = sum(np.exp(similarity / tau) for similarity, _ in near)
    shares = [np.exp(similarity / tau) / total for similarity, _ in near]
    people = [predictor.person(name) for _, name in near]
    expected = Person(
        name="by hand",
        user_embedding=torch.stack(
            [w * p.user_embedding for w, p in zip(shares, people, strict=True) if p.user_embedding is not None]
        ).sum(0),
        taste=torch.stack([w * p.taste for w, p in zip(shares, people, strict=True) if p.taste is not None]).sum(0),
        level=sum(w * p.level for w, p in zip(shares, people, strict=True)),
    )
    assert_alike(Adaptation(predictor, "paper", neighbours, tau).adapt(Person(name="new"), context), expected)


def test_at_a_temperature_near_0_only_the_nearest_counts(predictor: PamelaPredictor, context: Context) -> None:
    nearest = predictor.person(by_similarity(predictor, context)[0][1])
    assert_alike(Adaptation(predictor, "paper", 5, 1e-9).adapt(Person(name="new"), context), nearest)


def test_at_a_high_temperature_the_neighbours_count_alike(predictor: PamelaPredictor, context: Context) -> None:
    near = [predictor.person(name) for _, name in by_similarity(predictor, context)[:4]]
    assert_alike(Adaptation(predictor, "paper", 4, 1e9).adapt(Person(name="new"), context), mean_person("", near))


def test_more_neighbours_than_users_are_all_of_them(predictor: PamelaPredictor, context: Context) -> None:
    everybody, more = (Adaptation(predictor, "paper", k).adapt(Person(name="new"), context) for k in (6, 1000))
    assert_alike(more, everybody)


def test_a_user_without_a_training_rating_is_nobodys_neighbour(predictor: PamelaPredictor, context: Context) -> None:
    nearest = by_similarity(predictor, context)[0][1]
    counts = [0 if u["user_id"] == nearest else u["n_ratings"] for u in predictor.users.to_pylist()]
    column = predictor.users.column_names.index("n_ratings")
    fewer = predictor.with_users(predictor.users.set_column(column, "n_ratings", [counts]))
    second = predictor.person(by_similarity(predictor, context)[1][1])
    assert_alike(Adaptation(fewer, "paper", 1).adapt(Person(name="new"), context), second)


@pytest.mark.parametrize("rule", RULES)
def test_the_name_and_the_demographics_are_the_unseen_users_own(
    predictor: PamelaPredictor, context: Context, rule: Rule
) -> None:
    known = Person(name="new", demographics=torch.ones(predictor.model.config.profile_dimensions))
    person = Adaptation(predictor, rule).adapt(known, context)
    assert (person.name, person.demographics) == ("new", known.demographics)


def test_without_a_rule_or_without_ratings_only_demographics_are_used(
    predictor: PamelaPredictor, context: Context
) -> None:
    known = Person(name="new", demographics=torch.ones(predictor.model.config.profile_dimensions))
    nothing = Context(images=context.images[:0], features=context.features[:0], rating=RATING[:0])
    adapted = [Adaptation(predictor, "none").adapt(known, context)]
    adapted += [Adaptation(predictor, rule).adapt(known, nothing) for rule in RULES]
    for person in adapted:
        assert (person.user_embedding, person.taste, person.level) == (None, None, 0.0)
        assert person.demographics is known.demographics


def test_by_default_the_taste_is_inferred(predictor: PamelaPredictor, context: Context) -> None:
    found = infer(predictor.taste, context.evidence)
    person = Adaptation(predictor).adapt(Person(name="new"), context)
    assert person.user_embedding is None and person.taste is not None
    assert torch.equal(person.taste, found.taste) and person.level == found.level
    assert found.taste.abs().max() > 0
    scores = predictor.score_images(context.images, [person, Person(name="*")])
    assert np.corrcoef(scores[0] - scores[1], RATING)[0, 1] > 0  # towards what was liked


def test_after_one_rating_the_ranking_is_the_populations(predictor: PamelaPredictor, context: Context) -> None:
    one = Context(images=context.images[:1], features=context.features[:1], rating=np.array([1.0]))
    person = Adaptation(predictor).adapt(Person(name="new"), one)
    scores = predictor.score_images(context.images, [person, Person(name="*")])
    assert np.ptp(scores[0] - scores[1]) < 1e-8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": "nearest"}, "unknown rule for strangers 'nearest'; known are default, paper, none"),
        ({"neighbours": 0}, "neighbours must be at least 1, got 0"),
        ({"tau": 0.0}, "tau must be above 0, got 0"),
        ({"tau": -1.0}, "tau must be above 0, got -1"),
        ({"tau": float("nan")}, "tau must be above 0, got nan"),
    ],
)
def test_what_is_out_of_range_is_refused(predictor: PamelaPredictor, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Adaptation(predictor, **settings)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 8), st.integers(1, 4), st.integers(0, 99))
def test_a_profile_is_the_rating_weighted_mean(k: int, dimensions: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    images, rating = rng.normal(size=(k, dimensions)).astype(np.float32), rng.uniform(0.01, 1, k)
    assert np.allclose(profile(images, rating), np.average(images, axis=0, weights=rating))


def test_the_profile_of_somebody_who_likes_nothing_is_zero_and_has_neighbours_all_the_same(
    predictor: PamelaPredictor, context: Context
) -> None:
    assert profile(np.ones((3, 2), np.float32), np.zeros(3)).tolist() == [0, 0]
    grim = Context(images=context.images, features=context.features, rating=np.zeros(5))
    person = Adaptation(predictor, "paper").adapt(Person(name="new"), grim)
    assert np.isfinite(predictor.score_images(context.images, [person])).all()


def test_an_enrolled_person_is_nobodys_neighbour(predictor: PamelaPredictor, context: Context, rated: Path) -> None:
    """Even one who rated just as the unseen user did: equation 1 is of the people that training has seen."""
    rows = AnsweredImages(files=sorted(rated.glob("*.png"))[:5], answers=context.evidence.answers, prompts=[None] * 5)
    with_twin = enroll(predictor, "twin", rows)
    assert with_twin.user_ids[-1] == "twin"
    for neighbours in (1, 3, 1000):
        adapted, expected = (
            Adaptation(each, "paper", neighbours).adapt(Person(name="new"), context) for each in (with_twin, predictor)
        )
        assert_alike(adapted, expected)
