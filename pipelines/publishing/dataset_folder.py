"""A run as a data set that others can use: tables in Parquet, images, and a card. No participant can be found in it.

    README.md                  the card
    data/trajectories.parquet  one row per trajectory: initial and final prompt, image and score
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
from pipelines.records.run_folder import is_run, read_about
from pipelines.search.state_machine import StopReason
from predictor.data.folders import FolderTakenError, StrPath, new_folder
from predictor.error_messages import first_line
from predictor.hub.labels import deal_labels
from predictor.hub.upload import check_repository, upload_dataset

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
        There is no run that has ended, `out` is not empty, or the hub does not take it: then the data set stays in
        `out`.
    """
    if repo is not None:
        check_repository(repo)
    made = write_dataset(Path(run), Path(out), licence=licence)
    on_made(made)
    if repo is None:
        return made
    return replace(made, address=upload_dataset(Path(out), repo, message="A run of steer-batch", public=public))


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
    if not is_run(run):
        raise ValueError(f"{run}: holds no run, run.json is missing; name a folder that steer-batch wrote")
    about = read_about(run)
    done, scored, shown = _finished(run)
    labels = deal_labels({row["user"] for row in done} - {_NOBODY})
    names = labels | {_NOBODY: _NOBODY}
    try:
        with new_folder(folder.resolve()) as made:
            (made / "data").mkdir()
            whole = [_row(row, _TRAJECTORY, names, ("initial_image", "final_image")) for row in done]
            pq.write_table(pa.Table.from_pylist(whole), made / "data" / "trajectories.parquet")
            single = [_row(row, _CANDIDATE, names, ("image",)) for row in scored]
            pq.write_table(pa.Table.from_pylist(single), made / "data" / "candidates.parquet")
            images = _copy_images(run, made / "images", shown)
            card = card_of(about, licence=licence, people=len(labels), trajectories=len(done), images=images)
            (made / "README.md").write_text(card, "utf-8")
    except FolderTakenError as error:
        raise ValueError(f"--out {folder}: is not empty; name another folder") from error
    return Published(folder=folder, people=len(labels), trajectories=len(done), images=images)


Rows = list[dict[str, Any]]


def _finished(run: Path) -> tuple[Rows, Rows, Rows]:
    """The trajectories that reached their end, their candidates that have a score, and a candidate of each image.

    The final image of a trajectory may have been proposed for another one, which has not reached its end.
    """
    trajectories = _read(run, "trajectories", ("trajectory_id", "user", "stop_reason", *_TRAJECTORY))
    candidates = _read(run, "candidates", ("trajectory_id", "user", *_CANDIDATE))
    done = [row for row in trajectories if row["stop_reason"] in _ENDED]
    if not done:
        raise ValueError(f"{run}: no trajectory is finished; there is nothing to publish")
    finished = {row["trajectory_id"] for row in done}
    scored = [row for row in candidates if row["trajectory_id"] in finished and row["score"] is not None]
    named = {row["image"] for row in scored} | {row[f"{part}_image"] for row in done for part in ("initial", "final")}
    return done, scored, list({row["image"]: row for row in reversed(candidates) if row["image"] in named}.values())


def _read(run: Path, name: str, columns: Iterable[str]) -> Rows:
    """
    Raises
    ------
    ValueError
        The table is missing, cut, or of another version.
    """
    path = run / f"{name}.parquet"
    if not path.is_file():
        raise ValueError(f"{run}: has no {path.name} yet; publish a run that has ended")
    try:
        return pq.read_table(path, columns=list(columns)).to_pylist()
    except pa.ArrowException as error:
        raise ValueError(
            f"{path}: does not read: {first_line(error)}; `steer-batch --resume --out {run}` writes it anew"
        ) from error


def _row(
    row: Mapping[str, Any], columns: Iterable[str], labels: Mapping[str, str], images: Iterable[str]
) -> dict[str, Any]:
    kept = {"person": labels[row["user"]], **{name: row[name] for name in columns}}
    return kept | {name: _file(row[name]) for name in images}


def _file(key: str | None) -> str | None:
    return None if key is None else f"{key}.png"


def _copy_images(run: Path, folder: Path, rows: Rows) -> int:
    """Copy the image of each candidate, with a table that names its prompt."""
    folder.mkdir()
    store = ImageStore(run)
    for row in rows:
        path = store.path(row["image"])
        if not path.is_file():
            raise ValueError(f"{path}: the run's records name this image, but it is not there; bring the images along")
        shutil.copyfile(path, folder / path.name)
    described = [
        {"file_name": _file(row["image"]), **{name: row[name] for name in ("prompt_id", "prompt", "seed")}}
        for row in rows
    ]
    pq.write_table(pa.Table.from_pylist(described), folder / "metadata.parquet")
    return len(described)
