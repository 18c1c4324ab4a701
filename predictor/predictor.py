"""A trained PAMELA predictor with its users and its encoders: the checkpoint folder (DESIGN 7).

    config.json  model.safetensors  users.parquet  metrics.json  README.md

Loads strictly: a folder that does not fit is an error, and nothing in it is ever unpickled.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from predictor.checkpoint import checkpoint_folder, first_line
from predictor.encoders.registry import IMAGE_ENCODERS, TEXT_ENCODERS
from predictor.features import FeatureCache, encode_cached, image_content, text_content
from predictor.model import Inputs, ModelConfig, PamelaModel
from predictor.profiles import describe_image, describe_person
from predictor.threads import one_thread


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What the model is told about whom it scores for; None where it is told nothing."""

    name: str
    user: Tensor | None = None  # (width,)
    demographics: Tensor | None = None  # (text_dimensions,)


class PamelaPredictor:
    """Predicts how a person would rate an image, 0 to 1; higher is better."""

    def __init__(
        self,
        model: PamelaModel,
        users: pa.Table,
        *,
        image_encoder: str,
        text_encoder: str,
        metrics: Mapping[str, Any],
        card: str,
        cache: Path | None = None,
    ) -> None:
        self.model = model.eval()
        self.users = users
        self.metrics = metrics
        self.card = card
        self.image_encoder = IMAGE_ENCODERS[image_encoder]()
        self.text_encoder = TEXT_ENCODERS[text_encoder]()
        self._cache = cache
        self._row = {user: row for row, user in enumerate(users["user_id"].to_pylist())}
        self._exact = PamelaModel(model.config).double().eval()
        self._exact.load_state_dict(model.state_dict())

    @classmethod
    def from_pretrained(cls, path: str | Path, *, cache: Path | None = None) -> "PamelaPredictor":
        """Load a checkpoint folder, or a hub id that names one.

        Raises
        ------
        ValueError
            A file is missing, or the weights, the users and the configuration do not fit each other.
        """
        folder = checkpoint_folder(path)
        config = json.loads((folder / "config.json").read_text("utf-8"))
        try:
            model = PamelaModel(_model_config(config["model"]))
            encoders = {"image_encoder": config["image_encoder"], "text_encoder": config["text_encoder"]}
            _check_encoders(folder, config)
            model.load_state_dict(load_file(folder / "model.safetensors"))
            users = pq.read_table(folder / "users.parquet")
            known = len(set(users.select(["user_id", *_NOT_DEMOGRAPHIC])["user_id"].to_pylist()))
        except (KeyError, TypeError, RuntimeError, AssertionError, SafetensorError, pa.ArrowInvalid) as error:
            raise ValueError(f"{folder}: not a PAMELA checkpoint of this version: {first_line(error)}") from error
        if not known == len(users) == model.config.users:
            raise ValueError(f"{folder}: users.parquet has {known} users, the model {model.config.users}")
        return cls(
            model,
            users,
            metrics=json.loads((folder / "metrics.json").read_text("utf-8")),
            card=(folder / "README.md").read_text("utf-8"),
            cache=cache,
            **encoders,
        )

    def save_pretrained(self, folder: Path) -> None:
        """Write the checkpoint; config.json comes last, so that a folder without it is not one."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.model.state_dict(), folder / "model.safetensors")
        pq.write_table(self.users, folder / "users.parquet")
        (folder / "metrics.json").write_text(json.dumps(self.metrics, indent=2) + "\n", "utf-8")
        (folder / "README.md").write_text(self.card, "utf-8")
        config = {
            "model": asdict(self.model.config),
            "image_encoder": self.image_encoder.name,
            "text_encoder": self.text_encoder.name,
            "fingerprints": {
                "image_encoder": self.image_encoder.fingerprint,
                "text_encoder": self.text_encoder.fingerprint,
            },
        }
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")

    @property
    def user_ids(self) -> list[str]:
        return list(self._row)

    def person(self, user_id: str) -> Person:
        """What is known of a user: the learnt embedding, if there were ratings to learn it from, and demographics.

        Raises
        ------
        KeyError
            The checkpoint does not know this user.
        """
        row = self._row[user_id]
        rated = self.users["n_ratings"][row].as_py() > 0
        user = self.model.users.weight[row].detach() if rated else None
        return Person(name=user_id, user=user, demographics=self._demographics[row])

    def group(self, name: str, user_ids: Sequence[str]) -> Person:
        """The mean of several people: mean user embedding and mean demographic profile (paper, section 5)."""
        people = [self.person(user_id) for user_id in user_ids]
        return Person(
            name=name,
            user=_mean([p.user for p in people if p.user is not None]),
            demographics=_mean([p.demographics for p in people if p.demographics is not None]),
        )

    def population(self) -> Person:
        """Nobody in particular: neither user nor demographics (paper, section 4)."""
        return Person(name="*")

    def score(
        self,
        images: Sequence[Image.Image],
        person: Person,
        *,
        prompts: Sequence[str | None] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
    ) -> NDArray[np.float64]:
        """Predicted ratings of images for one person, shape (len(images),).

        Computed in double precision and rounded to nine digits, so that the score of an image does
        not depend on the images it is scored with.

        Raises
        ------
        ValueError
            `prompts` or `metadata` are not one for each image.
        """
        count, dimensions = len(images), self.text_encoder.dimensions
        for name, values in (("prompts", prompts), ("metadata", metadata)):
            if values is not None and len(values) != count:
                raise ValueError(f"{name} must be one for each image, got {len(values)} for {count} images")
        said = [describe_image(row) for row in metadata] if metadata else [None] * count
        inputs = Inputs(
            image=torch.from_numpy(self.image_features(images)).double(),
            prompt=self.text_features(prompts or [None] * count).double(),
            metadata=self.text_features(said).double(),
            demographics=_rows(person.demographics, count, dimensions),
            user=_rows(person.user, count, self.model.config.width),
        )
        with one_thread(), torch.inference_mode():
            return self._exact(inputs).numpy().round(9)

    def image_features(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Cached features, shape (len(images), dimensions)."""
        return encode_cached(self.image_encoder, images, image_content, self._image_cache)

    def text_features(self, texts: Sequence[str | None]) -> Tensor:
        """Cached features, shape (len(texts), dimensions); a row of nan where the text is None."""
        known = [text for text in texts if text is not None]
        features = torch.full((len(texts), self.text_encoder.dimensions), torch.nan)
        if known:
            vectors = encode_cached(self.text_encoder, known, text_content, self._text_cache)
            features[[i for i, text in enumerate(texts) if text is not None]] = torch.from_numpy(vectors)
        return features

    @cached_property
    def _demographics(self) -> list[Tensor | None]:
        said = [describe_person(row) for row in self.users.drop_columns(_NOT_DEMOGRAPHIC).to_pylist()]
        features = self.text_features(said)
        return [features[row] if text is not None else None for row, text in enumerate(said)]

    @cached_property
    def _image_cache(self) -> FeatureCache:
        return FeatureCache(self.image_encoder.fingerprint, self._cache)

    @cached_property
    def _text_cache(self) -> FeatureCache:
        return FeatureCache(self.text_encoder.fingerprint, self._cache)


_NOT_DEMOGRAPHIC = ["profile", "n_ratings"]


def _model_config(values: Mapping[str, Any]) -> ModelConfig:
    unknown = set(values) - {field.name for field in fields(ModelConfig)}
    if unknown:
        raise KeyError(f"unknown model setting {', '.join(sorted(unknown))}")
    return ModelConfig(**{**values, "without": tuple(values.get("without", ()))})


def _check_encoders(folder: Path, config: Mapping[str, Any]) -> None:
    for role, encoders in (("image_encoder", IMAGE_ENCODERS), ("text_encoder", TEXT_ENCODERS)):
        encoder = encoders.get(config[role])
        if encoder is None:
            raise ValueError(f"{folder}: unknown {role} {config[role]!r}; known are {', '.join(encoders)}")
        made_with = config["fingerprints"][role]
        if made_with != encoder.fingerprint:
            raise ValueError(
                f"{folder}: trained on features of {made_with}, but this is {encoder.fingerprint}; train it again"
            )


def _mean(vectors: Sequence[Tensor]) -> Tensor | None:
    return torch.stack(list(vectors)).mean(0) if vectors else None


def _rows(vector: Tensor | None, count: int, dimensions: int) -> Tensor:
    if vector is None:
        return torch.full((count, dimensions), torch.nan, dtype=torch.float64)
    return vector.double().expand(count, -1)
