"""What goes out of a study: votes or ratings, participants, and a dataset folder that `steer-predictor` takes."""

import csv
import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import yaml

from studies.folders import new_output_folder
from studies.results.answers import DEMOGRAPHICS, participants_table, ratings_table, votes_table
from studies.study import Study


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table as CSV, Parquet or JSON lines, told by the file's ending.

    Raises
    ------
    ValueError
        The ending is none of these, or the file cannot be written.
    """
    ending = path.suffix.lower()
    if ending not in (".csv", ".parquet", ".jsonl"):
        raise ValueError(f"{path}: cannot be told by its ending; use one of .csv, .parquet, .jsonl")
    try:
        if ending == ".csv":
            path.write_text(csv_of(table), "utf-8")
        elif ending == ".parquet":
            pq.write_table(table, path)
        else:
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist())
            path.write_text("".join(lines), "utf-8")
    except OSError as error:
        raise ValueError(f"{path}: cannot be written: {error.strerror or error}; mend that, and try again") from error


def csv_of(table: pa.Table) -> str:
    """A table as CSV; text that a spreadsheet would take for a formula gets an apostrophe."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(table.column_names)
    rows.writerows([_harmless(value) for value in row.values()] for row in table.to_pylist())
    return text.getvalue()


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def answers_table(study: Study) -> pa.Table:
    """Votes or ratings, whichever the study asks for."""
    return votes_table(study) if study.settings.kind == "pairs" else ratings_table(study)


def export_dataset(study: Study, out: Path, *, external_ids: bool = False) -> Mapping[str, int]:
    """Write a study as a dataset folder, with its images: ratings of a rating study, choices of one of pairs.

    A person who was invited as a known user keeps that id, others have their participant's random name (or, where asked
    for, the recruiting platform's id). Practice, attention checks and repeats are left out. Of a pair, no condition is
    named: who learns from the choices learns from the pictures alone.

    Returns
    -------
    How many users, images and ratings or choices were written, and how many answers were left out, by what they are.

    Raises
    ------
    ValueError
        Nobody has answered, two people would have the same id, or the folder is taken.
    """
    rows, answers = answers_table(study).to_pylist(), "choices" if study.settings.kind == "pairs" else "ratings"
    kept = [row for row in rows if row["kind"] == "trial" and not row["repeat"]]
    if not kept:
        raise ValueError(f"{study.folder}: holds no {answers[:-1]} yet; nothing to make a dataset of")
    people = participants_table(study, external_ids=True).to_pylist()
    ids = {p["participant"]: p["user"] or (external_ids and p["external_id"]) or p["participant"] for p in people}
    present = sorted({row["participant"] for row in kept}, key=[p["participant"] for p in people].index)
    _refuse_shared(ids, present)
    with new_output_folder(out, option="--dataset") as folder:
        files = _write_dataset(study, folder, kept, people, ids, present)
    left_out = {kind: sum(row["kind"] == kind for row in rows) for kind in ("practice", "attention")}
    repeats = sum(row["kind"] == "trial" and row["repeat"] for row in rows)
    return {"users": len(present), "images": len(files), answers: len(kept), **left_out, "repeat": repeats}


def _write_dataset(
    study: Study,
    folder: Path,
    kept: list[dict[str, Any]],
    people: list[dict[str, Any]],
    ids: Mapping[str, str],
    present: list[str],
) -> dict[str, str]:
    (folder / "images").mkdir()
    pairs = study.settings.kind == "pairs"
    shown = {row[column] for row in kept for column in (("left_item", "right_item") if pairs else ("item_id",))}
    files = _copy_images(study, shown, folder)
    pa_csv.write_csv(_users(people, ids, present), folder / "users.csv")
    pa_csv.write_csv(_images(study, files), folder / "images.csv")
    said = [{"user_id": ids[row["participant"]], **(_choice if pairs else _rating)(row)} for row in kept]
    pa_csv.write_csv(pa.Table.from_pylist(said), folder / ("choices.csv" if pairs else "ratings.csv"))
    about = {
        "name": study.settings.title,
        "rating_min": 0.0,
        "rating_max": 100.0,
        "licence": "as the study's participants agreed to",
        "source": f"steer-study export, study of {study.settings.created}",
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(about, sort_keys=False, allow_unicode=True), "utf-8")
    return files


def _rating(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"image_id": row["image_id"], "rating": round(row["rating"], 3)}


def _choice(row: Mapping[str, Any]) -> dict[str, Any]:
    """A pair; without a preference nothing is chosen."""
    shown = {side: row[f"{side}_image"] for side in ("left", "right")}
    return {"shown": " ".join(shown.values()), "chosen": shown.get(row["winner"], "")}


def _refuse_shared(ids: Mapping[str, str], present: list[str]) -> None:
    taken: dict[str, str] = {}
    for participant in present:
        other = taken.setdefault(ids[participant], participant)
        if other != participant:
            raise ValueError(
                f"{other} and {participant} both took part as user {ids[participant]!r}, but a dataset has one rating "
                "of an image by a user; export the answers by --answers, and choose"
            )


def _copy_images(study: Study, items: set[str], out: Path) -> dict[str, str]:
    """Item id -> file, relative to the dataset's folder, in the order of the study; an image is there once."""
    files, images = {}, set()
    for item in study.items.values():
        if item.item_id in items and item.image not in images:
            images.add(item.image)
            files[item.item_id] = f"images/{len(files):05d}.png"
            shutil.copyfile(study.asset(item.item_id), out / files[item.item_id])
    return files


def _users(people: list[dict[str, Any]], ids: Mapping[str, str], present: list[str]) -> pa.Table:
    by_name = {person["participant"]: person for person in people}
    rows = [{"user_id": ids[name], **{d: by_name[name][d] for d in DEMOGRAPHICS}} for name in present]
    told = [d for d in DEMOGRAPHICS if any(row[d] is not None for row in rows)]
    return pa.Table.from_pylist([{name: row[name] for name in ("user_id", *told)} for row in rows])


def _images(study: Study, files: Mapping[str, str]) -> pa.Table:
    prompts = {item: trial.prompt for trial in study.trials.values() for item in trial.items}
    more = list(dict.fromkeys(name for item in files for name in study.items[item].metadata))
    rows = []
    for item, file in files.items():
        metadata = study.items[item].metadata
        row = {"image_id": study.items[item].image, "file": file, "prompt": prompts[item] or None}
        rows.append({**row, **{name: metadata.get(name) for name in more}})
    return pa.Table.from_pylist(rows)
