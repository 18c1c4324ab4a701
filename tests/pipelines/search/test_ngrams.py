import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.search.ngrams import MOST, NgramVocabulary

WORDS = st.sampled_from(["fog", "foggy", "a", "red", "lake", "at", "dawn", "35mm"])
PROMPTS = st.lists(st.lists(WORDS, min_size=1, max_size=8).map(" ".join), min_size=1, max_size=8)


def ngrams(prompt: str) -> set[str]:
    words = prompt.split()
    return {*words, *(" ".join(words[at : at + 2]) for at in range(len(words) - 1))}


@given(PROMPTS)
def test_an_inner_product_is_the_cosine_of_the_sets_of_words_and_pairs_of_words(prompts: list[str]) -> None:
    vectors = NgramVocabulary(prompts).vectors(prompts)

    for row, first in enumerate(prompts):
        for column, second in enumerate(prompts):
            one, other = ngrams(first), ngrams(second)
            cosine = len(one & other) / np.sqrt(len(one) * len(other))
            assert np.isclose(vectors[row] @ vectors[column], cosine, atol=1e-6)


def test_words_that_the_vocabulary_lacks_make_a_prompt_less_similar() -> None:
    vocabulary = NgramVocabulary(["a lake at dawn"])
    same, longer, strange = vocabulary.vectors(["A lake, at dawn!", "a lake at dawn, neon signs", "neon signs"])

    assert np.isclose(same @ same, 1)
    assert 0 < longer @ same < 0.9
    assert not strange.any()


def test_the_order_of_words_counts_by_their_neighbours() -> None:
    there, back = NgramVocabulary(["red lake"]).vectors(["red lake", "lake red"])
    assert np.isclose(there @ back, 2 / 3)


def test_scripts_without_spaces_share_characters() -> None:
    one, other = NgramVocabulary(["湖の上の塔"]).vectors(["湖の上の塔", "塔の湖"])
    assert 0.3 < one @ other < 1


def test_a_prompt_without_any_word_is_similar_to_nothing() -> None:
    assert not NgramVocabulary(["a lake", "?!"]).vectors(["", "…"]).any()


def test_a_large_vocabulary_keeps_the_most_frequent_whatever_their_order() -> None:
    prompts = [f"lake word{number} word{number + 1}" for number in range(MOST)]
    vectors = NgramVocabulary(prompts).vectors(prompts)

    assert vectors.shape == (MOST, MOST)
    assert np.array_equal(vectors, NgramVocabulary(prompts[::-1]).vectors(prompts))
    assert (vectors.sum(1) > 0).all()  # "lake" is in all of them
