import re
import subprocess
import sys
from pathlib import Path

import pytest

from predictor.encoders.registry import IMAGE_ENCODERS, TEXT_ENCODERS, image_encoder, text_encoder
from predictor.encoders.sentence_transformer import EmbeddingModel
from predictor.encoders.siglip import SiglipImages, SiglipTexts
from tests.checkpoints import tiny_model_with_code

IMPORTED = "import sys, predictor.encoders.registry; print(*sys.modules)"


def test_encoders_that_ship_their_weights_are_found_by_their_own_names() -> None:
    assert {name: image_encoder(name).name for name in IMAGE_ENCODERS} == {name: name for name in IMAGE_ENCODERS}
    assert {name: text_encoder(name).name for name in TEXT_ENCODERS} == {name: name for name in TEXT_ENCODERS}


def test_their_fingerprints_are_those_that_caches_and_checkpoints_hold() -> None:
    assert image_encoder("efficientnet-lite0").fingerprint == "efficientnet-lite0-57934424-v3"
    assert text_encoder("minilm").fingerprint == "all-minilm-l6-v2-mean-v2"


def test_a_folder_gives_the_encoder_of_its_kind_and_keeps_its_name(siglip: Path, embedding_model: Path) -> None:
    assert isinstance(image_encoder(str(siglip)), SiglipImages)
    assert isinstance(text_encoder(str(siglip)), SiglipTexts)
    assert isinstance(text_encoder(str(embedding_model)), EmbeddingModel)
    assert image_encoder(str(siglip)).name == str(siglip)


def test_an_unknown_name_is_an_error_that_lists_the_known_ones() -> None:
    images = "known are efficientnet-lite0, the folder of a SigLIP checkpoint, or its hub id (owner/name)"
    with pytest.raises(ValueError, match=re.escape(f"unknown encoder 'clip'; {images}")):
        image_encoder("clip")
    texts = "known are minilm, the folder of a SigLIP checkpoint or a text embedding model, or its hub id (owner/name)"
    with pytest.raises(ValueError, match=re.escape(f"unknown encoder 'bert'; {texts}")):
        text_encoder("bert")


def test_a_text_model_encodes_no_images(embedding_model: Path) -> None:
    with pytest.raises(ValueError, match="of type llama; an image encoder is a SigLIP or SigLIP2 checkpoint"):
        image_encoder(str(embedding_model))


def test_a_folder_beside_that_is_no_checkpoint_is_told_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="mine: not the folder of an encoder"):
        image_encoder("mine")


def test_code_of_a_checkpoints_own_needs_trust(tmp_path: Path) -> None:
    folder = str(tiny_model_with_code(tmp_path / "own", tmp_path / "it ran"))
    with pytest.raises(ValueError, match="--trust-remote-code"):
        text_encoder(folder)
    assert text_encoder(folder, trust_remote_code=True).dimensions == 32
    assert not (tmp_path / "it ran").exists()


def test_names_are_known_without_loading_a_framework() -> None:
    imported = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True).stdout
    assert "predictor.encoders.registry" in imported.split()
    assert {"torch", "transformers", "sentence_transformers", "huggingface_hub"}.isdisjoint(imported.split())
