"""A study as a data set that others can use: its answers in Parquet, its images, and a card. Nobody can be found in it.

    README.md                  the card
    data/votes.parquet         a row a vote of a pairs study: person, prompt, conditions left and right, winner, images
    data/ratings.parquet       a row a rating of a rating study, 0 to 100
    data/people.parquet        for each person, how many answers, and how they did at attention checks
    images/*.png               every image that a row names
    images/metadata.parquet    file_name, prompt_id, prompt, condition

Invariant: people are labels that are dealt out at random (`predictor.hub.labels`). No column holds a participant's
name, whom an image was steered for, a demographic, an id of a recruiting platform, or the time of an answer. Practice
and attention checks are left out; repeats are told by `repeat`.
"""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from predictor.hub.card import card_text
from predictor.hub.labels import deal_labels
from studies.folders import new_output_folder
from studies.results.answers import attention_checks
from studies.results.export import answers_table
from studies.study import Study, StudySettings

_PAIRS = ("prompt_id", "prompt", "left", "right", "winner", "repeat", "position", "response_ms", "layout")
_RATING = ("prompt_id", "prompt", "rating", "repeat", "position", "response_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What was written."""

    people: int
    answers: int
    images: int
    address: str | None = None
    """Of the commit, where it was pushed to the hub."""


def write_publication(study: Study, out: Path, *, licence: str | None = None) -> Publication:
    """Write a study into a new folder; its server may be running.

    Parameters
    ----------
    licence : str or None
        Identifier of the hub, such as cc-by-4.0; None: "other".

    Raises
    ------
    ValueError
        Nobody has answered, or the folder is taken.
    """
    rows = answers_table(study).to_pylist()
    kept = [row for row in rows if row["kind"] == "trial"]
    if not kept:
        raise ValueError(f"{study.folder}: nobody has answered yet; there is nothing to publish")
    labels = deal_labels(row["participant"] for row in kept)
    with new_output_folder(out) as folder:
        (folder / "data").mkdir()
        answers = [_answer(row, labels, study.settings) for row in kept]
        name = "votes" if study.settings.kind == "pairs" else "ratings"
        _write(sorted(answers, key=lambda row: (row["person"], row["position"])), folder / "data" / f"{name}.parquet")
        _write(_people(rows, kept, labels), folder / "data" / "people.parquet")
        images = _copy_images(study, folder / "images", kept)
        counts = Publication(people=len(labels), answers=len(kept), images=images)
        (folder / "README.md").write_text(_card(study, name, counts, licence), "utf-8")
    return counts


def _answer(row: Mapping[str, Any], labels: Mapping[str, str], settings: StudySettings) -> dict[str, Any]:
    said = {"person": labels[row["participant"]]}
    if settings.kind == "rating":
        return {**said, **{name: row[name] for name in _RATING}, "image": f"{row['item_id']}.png"}
    images = {f"{side}_image": f"{row[f'{side}_item']}.png" for side in ("left", "right")}
    return {**said, **{name: row[name] for name in _PAIRS}, **images}


def _people(rows: list[dict[str, Any]], kept: list[dict[str, Any]], labels: Mapping[str, str]) -> list[dict[str, Any]]:
    checks, answers = attention_checks(rows), Counter(row["participant"] for row in kept)
    people = []
    for participant, label in labels.items():
        met = checks.get(participant)
        people.append(
            {
                "person": label,
                "answers": answers[participant],
                "attention_passed": 0 if met is None else met.attention_passed,
                "attention": 0 if met is None else met.attention,
            }
        )
    return sorted(people, key=lambda row: row["person"])


def _copy_images(study: Study, folder: Path, kept: Iterable[Mapping[str, Any]]) -> int:
    """Copy each image once, in no order that tells who met it, with a table that names its prompt and condition."""
    folder.mkdir()
    columns = ("left_item", "right_item") if study.settings.kind == "pairs" else ("item_id",)
    shown = sorted({row[column] for row in kept for column in columns})
    prompts = {item: trial.prompt for trial in study.trials.values() for item in trial.items}
    described = []
    for item in shown:
        shutil.copyfile(study.asset(item), folder / f"{item}.png")
        about = study.items[item]
        described.append(
            {
                "file_name": f"{item}.png",
                "prompt_id": about.prompt_id,
                "prompt": prompts[item],
                "condition": about.condition,
            }
        )
    _write(described, folder / "metadata.parquet")
    return len(shown)


def _write(rows: list[dict[str, Any]], path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


def _card(study: Study, name: str, counts: Publication, licence: str | None) -> str:
    """README.md with the hub's front matter."""
    settings = study.settings
    front = {
        "license": licence or "other",
        "tags": ["human-preferences", "text-to-image", "pamela-steer"],
        "configs": [
            {"config_name": name, "data_files": f"data/{name}.parquet", "default": True},
            {"config_name": "people", "data_files": "data/people.parquet"},
            {"config_name": "images", "data_dir": "images"},
        ],
    }
    asked = (
        "which of two images they prefer" if settings.kind == "pairs" else "how much they like an image, from 0 to 100"
    )
    lines = [
        f"# {settings.title}",
        "",
        f"{counts.people} people were asked {asked}: {counts.answers} {name} of {counts.images} images, blind to where "
        "an image comes from.",
        "",
        f"> {settings.question}",
        "",
        f"- `{name}`: every answer, `repeat` where the same was asked a second time",
        "- `people`: how many answers each gave, and how they did at attention checks",
        "- `images`: the files, with prompt and condition",
        "",
        *_CONDITIONS[settings.kind],
        "## Images",
        "",
        settings.notice,
        "",
        "## Licence",
        "",
        f"{licence or 'Not stated'}. Images that a model generated, and photographs, may have terms of their own.",
        "",
        "## People and consent",
        "",
        "People are labels that were dealt out at random; which label is whose was kept nowhere. What they told of "
        "themselves, ids, and the times of their answers are not in here, nor is anybody who has withdrawn until now. "
        "They agreed to take part on a page that said:",
        "",
        *(
            f"> {line}" if line else ">"
            for line in (settings.about or "(no words of the researcher's own)").split("\n")
        ),
        "",
        "Whoever publishes this has to have their consent for it.",
    ]
    return card_text(front, lines)


_CONDITIONS = {
    "pairs": (
        "`initial` is the prompt as written, `own` was steered for the very person who votes, `other` for somebody "
        "else, and a scorer's name is what was steered by it. In `images`, `steered` stands for `own` and `other`.",
        "",
    ),
    "rating": (),
}
