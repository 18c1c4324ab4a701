"""The files of a checkpoint folder, local or on the hub, read without importing torch.

Owns which files a whole checkpoint has, and its fingerprint. Loading the predictor is left to `predictor`.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from predictor.data.folders import StrPath
from predictor.error_messages import first_line, hub_errors

Config = TypeVar("Config")

LEARNT_COLUMNS = ("profile", "n_ratings", "taste", "level", "factor")
"""Columns of users.parquet that were learnt from ratings; the others are user_id and demographics."""

FILES = (
    *("config.json", "model.safetensors", "users.parquet", "evidence.parquet", "starter.parquet"),
    *("metrics.json", "README.md"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointInfo:
    """What `steer-predictor info` prints."""

    card: str
    """The model card, in Markdown."""
    users: pa.Table
    """user_id and demographics."""


def info(checkpoint: StrPath) -> CheckpointInfo:
    """A checkpoint's model card and its users; no model is loaded.

    Parameters
    ----------
    checkpoint
        Checkpoint folder or hub id.

    Raises
    ------
    ValueError
        There is no whole checkpoint, or its card or users cannot be read.
    """
    folder = checkpoint_folder(checkpoint)
    return CheckpointInfo(card=checkpoint_card(folder), users=checkpoint_users(folder))


def checkpoint_folder(path: StrPath) -> Path:
    """The local folder of a checkpoint, downloaded if `path` is a hub id: `owner/name`, or `owner/name@revision`.

    Raises
    ------
    ValueError
        There is no such folder, or it is not a whole checkpoint.
    """
    path, folder = os.fspath(path), Path(path)
    if not folder.is_dir():
        if path.startswith((".", "~", "/")) or path.endswith("/") or path.count("/") != 1:
            raise ValueError(f"{path}: no such checkpoint folder; make one by `steer-predictor train`")
        from huggingface_hub import snapshot_download

        repository, _, revision = path.partition("@")
        with hub_errors(repository, revision or None, "such files"):
            folder = Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(FILES)))
    if missing := _missing(folder):
        earlier = "; made by an earlier version? train it again" if (folder / "config.json").is_file() else ""
        raise ValueError(f"{folder}: not a whole checkpoint, {', '.join(missing)} is missing{earlier}")
    return folder


def is_whole(folder: Path) -> bool:
    """Whether all files of a checkpoint are in the folder."""
    return not _missing(folder)


def _missing(folder: Path) -> list[str]:
    return [name for name in FILES if not (folder / name).is_file()]


def checkpoint_fingerprint(folder: Path) -> str:
    """A digest of the files that scores depend on: configuration, weights and users."""
    digest = hashlib.sha256()
    for name in ("config.json", "model.safetensors", "users.parquet"):
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()[:16]


def config_section(kind: type[Config], config: Mapping[str, Any], section: str) -> Config:
    """A section of config.json as the dataclass that it is of.

    Raises
    ------
    KeyError, ValueError
        There is no such section, or it has a setting that the dataclass does not know.
    """
    values = config[section]
    unknown = set(values) - {field.name for field in fields(kind)}  # pyrefly: ignore[bad-argument-type]
    if unknown:
        raise ValueError(f"unknown {section} setting {', '.join(sorted(unknown))}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def parquet(file: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A table of a checkpoint; `columns` where not all are wanted.

    Raises
    ------
    ValueError
        It cannot be read, such as one that is cut off or damaged.
    """
    try:
        return pq.ParquetFile(file).read(columns)  # read_table imports pandas
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{file}: cannot be read: {first_line(error)}; train it again") from error


def exact_table(file: Path, schema: pa.Schema) -> pa.Table:
    """A table of a checkpoint that has to have just these columns.

    Raises
    ------
    ValueError
        It has others, or cannot be read.
    """
    table = parquet(file)
    if not table.schema.equals(schema):
        raise ValueError(f"{file.name} has the columns {', '.join(table.column_names)}, not {', '.join(schema.names)}")
    return table


def checkpoint_users(folder: Path) -> pa.Table:
    """The users of a checkpoint: user_id and demographics.

    Raises
    ------
    ValueError
        The table cannot be read.
    """
    users = parquet(folder / "users.parquet")
    return users.select([name for name in users.column_names if name not in LEARNT_COLUMNS])


def checkpoint_categories(folder: Path) -> dict[str, list[str]]:
    """The metadata columns of the training data with their categories; empty where the checkpoint has none.

    Raises
    ------
    ValueError
        config.json cannot be read, or its categories are no lists.
    """
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        return {str(name): [str(value) for value in values] for name, values in config.get("categories", {}).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{folder / 'config.json'}: cannot be read: {first_line(error)}; train it again") from error


def checkpoint_card(folder: Path) -> str:
    """The model card, in Markdown.

    Raises
    ------
    ValueError
        It is not UTF-8 text.
    """
    try:
        return (folder / "README.md").read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{folder / 'README.md'}: is no UTF-8 text: {error}; train it again") from error
