import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.renderers.darkroom.development import Development
from actors.renderers.darkroom.vocabulary import (
    GRADES,
    VOCABULARY,
    GradedTerm,
    development_of,
    find_terms,
    split_modifiers,
    subject_of,
    term_named,
)

graded_terms = st.builds(GradedTerm, st.sampled_from(VOCABULARY), st.sampled_from(GRADES))


def phrases(prompt: str) -> list[str]:
    return [graded.phrase for graded in find_terms(prompt)]


def test_names_and_aliases_are_unambiguous() -> None:
    spellings = [name.lower() for term in VOCABULARY for name in (term.name, *term.aliases)]
    assert len(spellings) == len(set(spellings))
    assert len(VOCABULARY) >= 45


@pytest.mark.parametrize("term", VOCABULARY, ids=lambda term: term.name)
def test_every_spelling_of_a_term_is_found_as_that_term(term) -> None:
    assert term.effect != Development()
    for spelling in (term.name, *term.aliases):
        for written in (spelling, spelling.upper(), spelling.replace("-", " "), spelling.replace(" ", "-")):
            assert [graded.term for graded in find_terms(f"a cat, {written}.")] == [term], written


@given(st.text(), st.lists(graded_terms, unique_by=lambda graded: graded.term.name, max_size=6))
def test_terms_written_after_any_base_prompt_are_read_back(base: str, modifiers: list[GradedTerm]) -> None:
    prompt = ", ".join([base, *(graded.phrase for graded in modifiers)])
    assert split_modifiers(prompt, base) == modifiers


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("A Misty harbour in deeply muted tones", ["foggy", "very muted"]),
        ("close up of a cat, slightly more vibrant", ["close-up", "slightly vibrant"]),
        ("an extreme close-up with a hint of film grain", ["extreme close-up", "subtle film grain"]),
        ("black & white photograph, ultra wide angle", ["monochrome", "extreme wide-angle"]),
        ("wideangle lowkey portrait, off center", ["wide-angle", "low-key", "off-centre"]),
        ("shallow depth-of-field and very colourful", ["shallow depth of field", "very vibrant"]),
        ("high contrast colors", ["high contrast"]),
        ("a frog in a fogbound lighthouse", []),
    ],
)
def test_free_prose_is_read_as_a_photographer_reads_it(prompt: str, expected: list[str]) -> None:
    assert phrases(prompt) == expected


@pytest.mark.parametrize(
    "prompt",
    [
        "no grain",
        "without any vignette",
        "not too vibrant",
        "no grain or vignette",
        "less foggy",
        "grain-free",
        "non-HDR",
    ],
)
def test_what_is_negated_is_not_asked_for(prompt: str) -> None:
    assert find_terms(f"a cat, {prompt}") == []


def test_a_negation_ends_with_its_clause() -> None:
    assert phrases("a cat without grain, very moody") == ["very moody"]


def test_of_a_term_said_twice_the_strongest_grade_counts() -> None:
    assert phrases("slightly foggy, very misty") == ["very foggy"]


@pytest.mark.parametrize(
    ("prompt", "subject"),
    [
        ("a cat", "a cat"),
        ("a cup of coffee, golden hour, very vibrant", "a cup of coffee"),
        ("macro photo of a kitten, no grain", "a kitten"),
        ("a moody street in warm tones, a dog", "a street, a dog"),
        ("a harbour in deeply muted tones, with soft light and strong contrast", "a harbour"),
        ("golden hour", ""),
    ],
)
def test_the_subject_is_what_the_photographic_language_leaves(prompt: str, subject: str) -> None:
    assert subject_of(prompt) == subject


def test_a_prompt_rewritten_from_its_start_is_read_without_what_the_person_asked_for() -> None:
    rewritten = "A very foggy harbour with film grain"
    assert [graded.phrase for graded in split_modifiers(rewritten, "a foggy harbour")] == ["film grain"]


def test_effects_add_up_by_grade() -> None:
    warm, matte = term_named("warm tones"), term_named("matte")
    combined = development_of([GradedTerm(warm, 0.5), GradedTerm(matte, 2.0)])
    assert combined.warmth == 0.5 * warm.effect.warmth
    assert combined.matte == 2 * matte.effect.matte


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("warm tones", "cool tones"),
        ("low-key", "high-key"),
        ("wide-angle", "close-up"),
        ("low angle", "high angle"),
        ("vibrant", "muted"),
        ("vignette", "white vignette"),
    ],
)
def test_opposites_share_an_axis(one: str, other: str) -> None:
    assert term_named(one).axis == term_named(other).axis
