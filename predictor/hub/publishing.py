"""Publishing of a checkpoint on the hub, by default without the people whom it was learnt from.

People are in a checkpoint as rows of users.parquet and evidence.parquet, and as vectors of the transformer's weights.
All three are left out, and so are the warnings of metrics.json, which name people. What is published knows taste in
general, meets new people, and names nobody. Files are otherwise those of the folder, byte for byte.
"""

import json
import shutil
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

from predictor.checkpoint import FILES, checkpoint_card, checkpoint_folder, checkpoint_users, parquet
from predictor.data.folders import StrPath
from predictor.hub.card import card_text
from predictor.hub.upload import upload
from predictor.transformer.tensor_file import save_tensors

_USERS = "model.users.weight"

_FRONT = {"library_name": "pamela-steer", "tags": ["image-aesthetics", "personalization"]}


def publishable(folder: Path, out: Path, *, people: bool) -> Path:
    """Write the checkpoint as it is published: with a card that the hub reads, and without people unless asked.

    Parameters
    ----------
    out
        An empty folder.
    people
        Keep the people: their demographics, tastes and answers.
    """
    for name in FILES:
        shutil.copyfile(folder / name, out / name)
    if not people:
        _leave_people_out(out)
    lines = [*checkpoint_card(folder).split("\n"), _who_is_in_it(out)]
    (out / "README.md").write_text(card_text(_FRONT, lines), "utf-8")
    return out


def push(
    checkpoint: StrPath, repository: str, *, people: bool = False, private: bool = False, revision: str | None = None
) -> str:
    """Publish a checkpoint, and return the address of the commit.

    Parameters
    ----------
    repository, private, revision
        As `upload` takes them.

    Raises
    ------
    ValueError
        There is no whole checkpoint, or the hub does not take it.
    """
    folder = checkpoint_folder(checkpoint)
    with tempfile.TemporaryDirectory() as scratch:
        made = publishable(folder, Path(scratch), people=people)
        return upload(made, repository, kind="model", message="A PAMELA predictor", private=private, revision=revision)


def _leave_people_out(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["model"]["users"] = 0
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    weights = load_file(folder / "model.safetensors")
    weights[_USERS] = torch.empty(0, weights[_USERS].shape[1])
    save_tensors(weights, folder / "model.safetensors")
    for name in ("users.parquet", "evidence.parquet"):
        pq.write_table(parquet(folder / name).slice(0, 0), folder / name)
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    metrics.pop("warnings", None)  # they name people
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", "utf-8")


def _who_is_in_it(folder: Path) -> str:
    count = len(checkpoint_users(folder))
    if not count:
        return "Nobody is in this checkpoint: enrol people by `steer-predictor enroll`."
    return f"{count} people are in this checkpoint, with demographics and tastes."
