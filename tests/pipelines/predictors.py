"""A predictor whose raters have seen images with a content and a style, on encoders of the caller's choice."""

import dataclasses
from pathlib import Path

import pyarrow as pa

from predictor.data.dataset import read_dataset
from predictor.encoders.encoding import EncoderNames
from predictor.fitting import fit
from predictor.simulation.dataset import simulate
from predictor.transformer.training import RECIPES
from tests.checkpoints import tiny_embedding_model, tiny_siglip2
from tests.predictor.conftest import write_images

CONTENTS = ["animal", "building"]


def train(folder: Path, encoders: EncoderNames) -> Path:
    """The checkpoint of one epoch, for the raters u01 and u02."""
    (folder / "rated").mkdir(parents=True)
    write_images(folder / "rated", 24)
    simulate(folder / "rated", raters=2, ratings_per_image=2, seed=0)
    dataset = read_dataset(folder / "rated")
    contents = pa.array([CONTENTS[n % 2] for n in range(len(dataset.images))])
    images = dataset.images.append_column("content", contents)
    recipe = dataclasses.replace(RECIPES["small"], epochs=1)
    fit(dataclasses.replace(dataset, images=images), recipe, encoders=encoders).save_pretrained(folder / "made")
    return folder / "made"


def train_on_tiny(folder: Path) -> Path:
    """On the paper's encoders: SigLIP2 for images and prompts, an embedding model around a Llama for people."""
    siglip2 = str(tiny_siglip2(folder / "siglip2", text_dimensions=32))
    embedding = str(tiny_embedding_model(folder / "embedding"))
    return train(folder, EncoderNames(image=siglip2, text=siglip2, profile=embedding))
