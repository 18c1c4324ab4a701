"""Metadata of new images over a dataset's own categories."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from PIL import Image

from predictor.data.dataset import read_dataset
from predictor.encoders.encoding import EncoderNames
from predictor.encoders.siglip import SiglipImages
from predictor.encoders.source import find_source
from predictor.encoders.zero_shot import MAX_CATEGORIES, categories, classify
from predictor.fitting import fit
from predictor.predictor import PamelaPredictor
from tests.checkpoints import tiny_siglip
from tests.predictor.conftest import BRIEF

CATEGORIES = {"style": ["oil", "photo", "watercolor"], "weather": ["fog", "rain"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_siglip(tmp_path_factory.mktemp("one_space"), text_dimensions=32)


@pytest.fixture
def images() -> list[Image.Image]:
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 255, (32, 32, 3), np.uint8)) for _ in range(6)]


def test_the_nearest_category_wins_as_the_whole_model_has_it(folder: Path, images: list[Image.Image]) -> None:
    model = transformers.AutoModel.from_pretrained(folder).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder)
    sentences = [f"an image in the style of {style}" for style in CATEGORIES["style"]]
    tokens = processor.tokenizer(sentences, padding="max_length", max_length=64, return_tensors="pt")["input_ids"]
    pixels = processor(images=images, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        logits = model(input_ids=tokens, pixel_values=pixels).logits_per_image
    expected = [CATEGORIES["style"][at] for at in logits.argmax(1).tolist()]

    encoder = SiglipImages(find_source(str(folder)))
    assert [classify(encoder, image, CATEGORIES)["style"] for image in images] == expected


def test_halves_that_cannot_be_compared_are_refused(tmp_path: Path, images: list[Image.Image]) -> None:
    encoder = SiglipImages(find_source(str(tiny_siglip(tmp_path / "siglip"))))
    with pytest.raises(ValueError, match=r"images have 32 dimensions and texts 24: not of one space"):
        classify(encoder, images[0], CATEGORIES)


def test_categories_are_the_text_columns_that_sort_the_images() -> None:
    many = MAX_CATEGORIES + 1
    table = pa.table(
        {
            "image_id": [f"i{n}" for n in range(many)],
            "file": [f"{n}.png" for n in range(many)],
            "prompt": ["a cat"] * many,
            "style": ["oil", None, ""] + ["photo"] * (many - 3),
            "source": ["web"] * many,
            "author": [f"a{n}" for n in range(many)],
            "width": list(range(many)),
        }
    )
    assert categories(table) == {"style": ["oil", "photo"]}


def test_a_checkpoint_keeps_its_categories_and_describes_by_them(
    rated: Path, folder: Path, tmp_path: Path, images: list[Image.Image]
) -> None:
    made = fit(read_dataset(rated), BRIEF, encoders=EncoderNames(image=str(folder)))
    made.save_pretrained(tmp_path / "made")

    read = PamelaPredictor.from_pretrained(tmp_path / "made")

    assert read.categories == read.with_users(read.users).categories == {"style": ["harsh", "soft"]}
    assert read.describe(images[0], {})["style"] in ("harsh", "soft")
    assert read.describe(images[0], {"style": "etching"}) == {}


def test_an_encoder_without_a_text_half_tells_nothing(rated: Path, images: list[Image.Image]) -> None:
    made = fit(read_dataset(rated), BRIEF)
    assert made.categories == {"style": ["harsh", "soft"]}
    assert made.describe(images[0], {}) == {}
