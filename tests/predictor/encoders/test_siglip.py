import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from predictor.encoders.siglip import SiglipImages, SiglipTexts
from predictor.encoders.source import find_source

TEXTS = ["a dog in the rain", "A Dog in the Rain", "", "fog " * 1000, "été, 雨, 🐕"]


@pytest.fixture(params=["siglip", "siglip2"])
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture
def images() -> list[Image.Image]:
    random = np.random.default_rng(0)
    sizes = [(50, 40), (32, 32), (20, 600), (3, 7), (1, 1)]
    return [Image.fromarray(random.integers(0, 255, (*size, 3), np.uint8)) for size in sizes]


def reference_model(folder: Path) -> tuple:
    """The whole checkpoint by the Auto classes, as its card would have it."""
    return transformers.AutoModel.from_pretrained(folder).eval(), transformers.AutoProcessor.from_pretrained(folder)


def test_image_vectors_are_those_of_the_whole_model_at_unit_length(folder: Path, images: list[Image.Image]) -> None:
    model, processor = reference_model(folder)
    patches = {"patch_size": 8, "max_num_patches": 16} if folder.name.startswith("siglip2") else {}
    inputs = processor(images=images[:3], return_tensors="pt", **patches)
    with torch.inference_mode():
        pooled = model.get_image_features(**inputs).pooler_output
    expected = torch.nn.functional.normalize(pooled, dim=-1).numpy()
    assert SiglipImages(find_source(str(folder))).encode(images[:3]) == pytest.approx(expected, abs=1e-5)


def test_text_vectors_are_those_of_the_whole_model_at_unit_length(folder: Path) -> None:
    model, processor = reference_model(folder)
    inputs = processor.tokenizer(["a dog in the rain", "fog"], padding="max_length", max_length=64, return_tensors="pt")
    with torch.inference_mode():
        pooled = model.get_text_features(input_ids=inputs["input_ids"]).pooler_output
    expected = torch.nn.functional.normalize(pooled, dim=-1).numpy()
    vectors = SiglipTexts(find_source(str(folder))).encode(["a dog in the rain", "fog"])
    assert vectors == pytest.approx(expected, abs=1e-5)


def test_images_of_any_shape_have_a_vector_that_does_not_depend_on_those_beside(
    folder: Path, images: list[Image.Image]
) -> None:
    encoder = SiglipImages(find_source(str(folder)))
    together = encoder.encode(images)
    assert together.shape == (len(images), encoder.dimensions) == (5, 32)
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    for image, vector in zip(images, together, strict=True):
        assert np.array_equal(encoder.encode([image])[0], vector)
    assert len(np.unique(together, axis=0)) == len(images)


def test_texts_of_any_length_have_a_vector_that_does_not_depend_on_those_beside(folder: Path) -> None:
    encoder = SiglipTexts(find_source(str(folder)))
    together = encoder.encode(TEXTS)
    assert together.shape == (len(TEXTS), encoder.dimensions) == (5, 24)
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    for text, vector in zip(TEXTS, together, strict=True):
        assert np.array_equal(encoder.encode([text])[0], vector)
    assert np.array_equal(together[0], together[1])  # lower case, as it was trained
    assert len(np.unique(together, axis=0)) == len(TEXTS) - 1


def test_any_mode_of_image_is_taken(folder: Path, images: list[Image.Image]) -> None:
    encoder = SiglipImages(find_source(str(folder)))
    vectors = encoder.encode([images[0].convert(mode) for mode in ("RGB", "RGBA", "L", "P", "CMYK", "1")])
    assert np.isfinite(vectors).all()
    assert np.array_equal(vectors[0], vectors[1])


def test_nothing_to_encode_gives_no_rows(folder: Path) -> None:
    source = find_source(str(folder))
    assert SiglipImages(source).encode([]).shape == (0, 32)
    assert SiglipTexts(source).encode([]).shape == (0, 24)


def test_the_fingerprint_tells_the_halves_apart_and_names_no_place(folder: Path) -> None:
    source = find_source(str(folder))
    prints = [SiglipImages(source).fingerprint, SiglipTexts(source).fingerprint]
    assert prints == [f"siglip-{half}-{source.identity}-float32-v1" for half in ("images", "texts")]


def test_each_half_is_loaded_without_the_other(siglip: Path) -> None:
    source = find_source(str(siglip))
    whole = sum(tensor.numel() for tensor in load_file(siglip / "model.safetensors").values())
    images, texts = SiglipImages(source), SiglipTexts(source)
    halves = [sum(p.numel() for p in half._loaded[1].parameters()) for half in (images, texts)]
    assert sum(halves) == whole - 2  # the scale and bias of the contrastive loss
    assert min(halves) > 0


def test_a_weight_that_is_missing_is_an_error_and_not_a_random_one(siglip: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(siglip, tmp_path / "torn"))
    weights = load_file(folder / "model.safetensors")
    gone = next(name for name in sorted(weights) if name.startswith("vision_model.encoder"))
    save_file({name: value for name, value in weights.items() if name != gone}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"torn: cannot be loaded: it lacks 1 weights, \S*encoder\.layers\.0"):
        SiglipImages(find_source(str(folder))).encode([Image.new("RGB", (8, 8))])


def test_a_checkpoint_saved_in_bfloat16_is_computed_in_it(siglip: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(siglip, tmp_path / "half"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    encoder, exact = SiglipImages(find_source(str(folder))), SiglipImages(find_source(str(siglip)))
    image = Image.effect_noise((40, 30), 80)
    assert "-bfloat16-" in encoder.fingerprint
    assert encoder.encode([image]) == pytest.approx(exact.encode([image]), abs=0.02)
    assert np.linalg.norm(encoder.encode([image])) == pytest.approx(1, abs=1e-5)
    assert not np.array_equal(encoder.encode([image]), exact.encode([image]))
