"""What a checkpoint holds, read from its folder and written to it.

    config.json  model.safetensors  users.parquet  evidence.parquet  starter.parquet  metrics.json  README.md

It is read strictly: files that do not fit each other are an error, and nothing is unpickled. Scoring is left to
`predictor`; finding the folder, and reading without torch, to `checkpoint`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.torch import load_file

from predictor.checkpoint import (
    LEARNT_COLUMNS,
    checkpoint_card,
    checkpoint_categories,
    checkpoint_folder,
    config_section,
    exact_table,
    parquet,
)
from predictor.data.folders import StrPath, replacing, write_atomically
from predictor.encoders.encoding import EncoderNames, Encoders
from predictor.error_messages import first_line
from predictor.people import evidence_table, starter_table
from predictor.taste.hierarchical import Taste, TasteConfig
from predictor.transformer.model import ModelConfig, PamelaModel
from predictor.transformer.tensor_file import load_strictly, save_tensors

_LOAD_ERRORS = (KeyError, TypeError, ValueError, RuntimeError, AssertionError, SafetensorError, pa.ArrowInvalid)


@dataclass(kw_only=True, eq=False, repr=False)
class CheckpointContent:
    """Both models with their users and encoders, and what is told of them."""

    model: PamelaModel
    taste: Taste
    users: pa.Table
    encoders: Encoders
    transformer_weight: float
    metrics: Mapping[str, Any]
    card: str
    evidence: pa.Table = field(default_factory=evidence_table.SCHEMA.empty_table)
    starter: pa.Table = field(default_factory=starter_table.SCHEMA.empty_table)
    categories: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def from_pretrained(cls, path: StrPath, *, cache: Path | None = None, trust_remote_code: bool = False) -> Self:
        """Load a checkpoint folder, or a hub id that names one.

        Parameters
        ----------
        cache
            Folder of the feature cache; None: `encoders.cache.cache_folder()`.
        trust_remote_code
            Run code that comes with an encoder's checkpoint; without, an encoder that needs it is an error.

        Raises
        ------
        ValueError
            A file is missing; the weights, the users and the configuration do not fit each other; or an encoder is not
            the one that the checkpoint was trained with.
        """
        folder = checkpoint_folder(path)
        try:
            config = json.loads((folder / "config.json").read_text("utf-8"))
            model, taste = _read_models(folder, config)
            users = _read_users(folder, model, taste)
            known = len(set(users["user_id"].to_pylist()))
            evidence = exact_table(folder / "evidence.parquet", evidence_table.SCHEMA)
            starter = exact_table(folder / "starter.parquet", starter_table.SCHEMA)
            names, fingerprints = _encoder_names(config, trust_remote_code), dict(config["fingerprints"])
            weight = _transformer_weight(config)
            metrics = _read_metrics(folder)
            card, categories = checkpoint_card(folder), checkpoint_categories(folder)
        except _LOAD_ERRORS as error:
            raise ValueError(f"{folder}: not a PAMELA checkpoint of this version: {first_line(error)}") from error
        if not known == len(users) >= model.config.users:
            raise ValueError(f"{folder}: users.parquet has {known} users, the model {model.config.users}")
        return cls(
            model=model,
            taste=taste,
            users=users,
            encoders=_encoders(folder, names, fingerprints, cache),
            transformer_weight=weight,
            metrics=metrics,
            card=card,
            evidence=evidence,
            starter=starter,
            categories=categories,
        )

    def save_pretrained(self, folder: StrPath) -> None:
        """Write the checkpoint folder.

        config.json comes last: a folder without it is no checkpoint. Files are replaced atomically, so that a
        checkpoint written over by the same model with other users can be read at every moment.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        weights = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        weights |= {f"taste.{name}": value for name, value in self.taste.state_dict().items()}
        with replacing(folder / "model.safetensors") as path:
            save_tensors(weights, path)
        tables = {"users": self.users, "evidence": self.evidence, "starter": self.starter}
        for name, table in tables.items():
            with replacing(folder / f"{name}.parquet") as path:
                pq.write_table(table, path)
        write_atomically(folder / "metrics.json", json.dumps(self.metrics, indent=2) + "\n")
        write_atomically(folder / "README.md", self.card)
        config: dict[str, Any] = {
            "model": asdict(self.model.config),
            "taste": asdict(self.taste.config),
            "transformer_share": self.transformer_weight,
            **self.encoders.names,
            "fingerprints": self.encoders.fingerprints,
        }
        if self.categories:
            config["categories"] = {name: list(values) for name, values in self.categories.items()}
        write_atomically(folder / "config.json", json.dumps(config, indent=2) + "\n")


def _read_models(folder: Path, config: Mapping[str, Any]) -> tuple[PamelaModel, Taste]:
    """The transformer and the taste model, with their weights."""
    model = PamelaModel(config_section(ModelConfig, config, "model"))
    taste = Taste(config_section(TasteConfig, config, "taste"))
    weights = load_file(folder / "model.safetensors")
    load_strictly(model, "model", weights)
    load_strictly(taste, "taste", weights)
    return model, taste


def _read_users(folder: Path, model: PamelaModel, taste: Taste) -> pa.Table:
    """users.parquet, whose columns and vectors fit the models."""
    users = parquet(folder / "users.parquet")
    users.select(["user_id", *LEARNT_COLUMNS])  # KeyError where one is missing
    _check_vectors(users, "profile", model.config.image_dimensions)
    _check_vectors(users, "taste", taste.config.rank)
    _check_vectors(users, "factor", (taste.config.rank + 1) * (taste.config.rank + 2) // 2)
    return users


def _encoder_names(config: Mapping[str, Any], trust_remote_code: bool) -> EncoderNames:
    return EncoderNames(
        image=config["image_encoder"],
        text=config["text_encoder"],
        profile=config["profile_encoder"],
        trust_remote_code=trust_remote_code,
    )


def _transformer_weight(config: Mapping[str, Any]) -> float:
    weight = float(config["transformer_share"])
    if not 0 <= weight <= 1:
        raise ValueError(f"transformer_share must be from 0 to 1, got {weight:g}")
    return weight


def _read_metrics(folder: Path) -> dict[str, Any]:
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    if not isinstance(metrics, dict):
        raise ValueError(f"metrics.json must be an object, got {str(metrics)[:60]}")
    return metrics


def _check_vectors(users: pa.Table, column: str, length: int) -> None:
    """See that the column's vectors are as long as the model's, and finite."""
    if not pa.types.is_list(users.schema.field(column).type):
        raise ValueError(f"users.parquet has a {column} that is no list, but {users.schema.field(column).type}")
    vectors = users[column].drop_null().combine_chunks()
    lengths = set(np.diff(vectors.offsets.to_numpy()).tolist())
    if lengths - {length}:
        raise ValueError(f"users.parquet has a {column} of length {sorted(lengths)}, the model {length}")
    if not np.isfinite(vectors.flatten().to_numpy(zero_copy_only=False).astype(np.float64)).all():
        raise ValueError(f"users.parquet has a {column} that is not finite")


def _encoders(folder: Path, names: EncoderNames, fingerprints: Mapping[str, str], cache: Path | None) -> Encoders:
    try:
        encoders = Encoders(names, cache)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    for role, fingerprint in encoders.fingerprints.items():
        made_with = fingerprints.get(role)
        if made_with != fingerprint:
            raise ValueError(
                f"{folder}: trained on features of {made_with}, but this {role} is {fingerprint}; train it again"
            )
    return encoders
