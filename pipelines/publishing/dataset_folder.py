"""A run as a data set that others can use: tables in Parquet, images, and a card. No participant can be found in it.

    README.md                  the card
    data/trajectories.parquet  a row a trajectory: initial and final prompt, image and score
    data/candidates.parquet    a row a candidate that has a score
    images/*.png               every image that a row names
    images/metadata.parquet    file_name, prompt_id, prompt, seed

Invariant: people are labels, `person-07`, that are dealt out at random. Which label is whose is written nowhere, and no
column holds an id, a demographic, or a text that could contain one.
"""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.publishing.card import card_of
from pipelines.records.image_store import ImageStore
from pipelines.records.run_folder import read_about
from pipelines.search.state_machine import StopReason
from predictor.hub.labels import deal_labels

_TRAJECTORY = (
    *("prompt_id", "run", "scorer", "initial_prompt", "initial_image", "initial_score"),
    *("final_prompt", "final_image", "final_score", "iterations"),
)
_CANDIDATE = ("prompt_id", "run", "scorer", "iteration", "candidate", "prompt", "seed", "image", "score", "best")
_ENDED = frozenset(reason.value for reason in StopReason if reason.is_end)
_NOBODY = "*"
"""The user of scorers that know no user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What was written."""

    folder: Path
    people: int
    trajectories: int
    images: int


def write_dataset(run: Path, folder: Path, *, licence: str | None = None) -> Published:
    """Write the finished trajectories of a run into a new folder.

    Parameters
    ----------
    licence : str or None
        Identifier of the hub, such as cc-by-4.0; None: "other", with the terms of the models in the card.

    Raises
    ------
    ValueError
        There is no run, it has not ended, nothing in it is finished, or the folder holds something.
    """
    about = read_about(run)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"--out {folder}: is not empty; name another folder")
    tables = [run / f"{name}.parquet" for name in ("trajectories", "candidates")]
    if missing := [path.name for path in tables if not path.is_file()]:
        raise ValueError(f"{run}: has no {missing[0]} yet; publish a run that has ended")
    trajectories, candidates = (pq.read_table(path).to_pylist() for path in tables)
    done = [row for row in trajectories if row["stop_reason"] in _ENDED]
    if not done:
        raise ValueError(f"{run}: no trajectory is finished; there is nothing to publish")
    labels = deal_labels({row["user"] for row in done} - {_NOBODY})
    finished = {row["trajectory_id"] for row in done}
    scored = [row for row in candidates if row["trajectory_id"] in finished and row["score"] is not None]
    shown = labels | {_NOBODY: _NOBODY}
    whole = [_row(row, _TRAJECTORY, shown, ("initial_image", "final_image")) for row in done]
    single = [_row(row, _CANDIDATE, shown, ("image",)) for row in scored]
    (folder / "data").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(whole), folder / "data" / "trajectories.parquet")
    pq.write_table(pa.Table.from_pylist(single), folder / "data" / "candidates.parquet")
    images = _copy_images(run, folder / "images", scored)
    (folder / "README.md").write_text(
        card_of(about, licence=licence, people=len(labels), trajectories=len(done), images=images), "utf-8"
    )
    return Published(folder=folder, people=len(labels), trajectories=len(done), images=images)


def _row(
    row: Mapping[str, Any], columns: Iterable[str], labels: Mapping[str, str], images: Iterable[str]
) -> dict[str, Any]:
    kept = {"person": labels[row["user"]], **{name: row[name] for name in columns}}
    return kept | {name: _file(row[name]) for name in images}


def _file(key: str | None) -> str | None:
    return None if key is None else f"{key}.png"


def _copy_images(run: Path, folder: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Copy each image once, with a table that names its prompt."""
    folder.mkdir()
    store = ImageStore(run)
    described: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["image"] in described:
            continue
        shutil.copyfile(store.path(row["image"]), folder / f"{row['image']}.png")
        described[row["image"]] = {
            "file_name": f"{row['image']}.png",
            **{name: row[name] for name in ("prompt_id", "prompt", "seed")},
        }
    pq.write_table(pa.Table.from_pylist([*described.values()]), folder / "metadata.parquet")
    return len(described)
