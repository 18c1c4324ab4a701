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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.publishing.card import card_of
from pipelines.records.image_store import ImageStore
from pipelines.records.run_folder import read_about
from pipelines.search.state_machine import StopReason
from predictor.data.folders import FolderTakenError, StrPath, new_folder
from predictor.hub.labels import deal_labels
from predictor.hub.upload import upload

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
    address: str | None = None
    """Of the commit, where it was pushed to the hub."""


def publish(
    run: StrPath,
    out: StrPath,
    *,
    repo: str | None = None,
    licence: str | None = None,
    public: bool = False,
    on_made: Callable[[Published], None] = lambda made: None,
) -> Published:
    """Make a data set of a run: Parquet, images and a card, without the ids and demographics of people.

    Parameters
    ----------
    run
        Folder of a run that has ended.
    out
        New folder for the data set.
    repo
        Data set on the Hugging Face hub to push it to: owner/name.
    licence
        As the hub calls it, such as cc-by-4.0; None: `other`, with the terms of the models in the card.
    public
        For everybody to see on the hub; else only for its owner.
    on_made
        Told what was written, before it is pushed.

    Returns
    -------
    What was written, with the address of the commit where it was pushed.

    Raises
    ------
    ValueError
        There is no run that has ended, `out` is not empty, or the hub does not take it.
    """
    made = write_dataset(Path(run), Path(out), licence=licence)
    on_made(made)
    if repo is None:
        return made
    address = upload(Path(out), repo, kind="dataset", message="A run of steer-batch", private=not public)
    return replace(made, address=address)


def write_dataset(run: Path, folder: Path, *, licence: str | None = None) -> Published:
    """Write the finished trajectories of a run into a new folder, which is there whole or not at all.

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
    done, scored = _finished(run)
    labels = deal_labels({row["user"] for row in done} - {_NOBODY})
    shown = labels | {_NOBODY: _NOBODY}
    try:
        with new_folder(folder.resolve()) as made:
            (made / "data").mkdir()
            whole = [_row(row, _TRAJECTORY, shown, ("initial_image", "final_image")) for row in done]
            pq.write_table(pa.Table.from_pylist(whole), made / "data" / "trajectories.parquet")
            single = [_row(row, _CANDIDATE, shown, ("image",)) for row in scored]
            pq.write_table(pa.Table.from_pylist(single), made / "data" / "candidates.parquet")
            images = _copy_images(run, made / "images", scored)
            card = card_of(about, licence=licence, people=len(labels), trajectories=len(done), images=images)
            (made / "README.md").write_text(card, "utf-8")
    except FolderTakenError as error:
        raise ValueError(f"--out {folder}: is not empty; name another folder") from error
    return Published(folder=folder, people=len(labels), trajectories=len(done), images=images)


def _finished(run: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The trajectories that reached their end, and their candidates that have a score."""
    tables = [run / f"{name}.parquet" for name in ("trajectories", "candidates")]
    if missing := [path.name for path in tables if not path.is_file()]:
        raise ValueError(f"{run}: has no {missing[0]} yet; publish a run that has ended")
    trajectories, candidates = (pq.read_table(path).to_pylist() for path in tables)
    done = [row for row in trajectories if row["stop_reason"] in _ENDED]
    if not done:
        raise ValueError(f"{run}: no trajectory is finished; there is nothing to publish")
    finished = {row["trajectory_id"] for row in done}
    return done, [row for row in candidates if row["trajectory_id"] in finished and row["score"] is not None]


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
