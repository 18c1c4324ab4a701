"""Answers with their meaning: what is in the store, joined with the key.

Reads beside a running server. A vote's sides are named by condition as seen from the voter (`own`, `other`,
`initial`, a generic scorer); a participant is known by a random name, and what links it to a person stays in the
store.
"""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from studies.store.database import read_rows
from studies.study import Study, Trial
from studies.wording import ANCHORS

_JOINED = (
    "SELECT x.*, a.block, a.repeat, p.user, p.source FROM {table} x "
    "JOIN assignments a USING (participant, position) JOIN participants p USING (participant) "
    "ORDER BY p.number, position"
)

_SHARED = [
    ("participant", pa.string()),
    ("user", pa.string()),
    ("position", pa.int32()),
    ("block", pa.int32()),
    ("prompt_id", pa.string()),
    ("prompt", pa.string()),
    ("trial_id", pa.string()),
    ("kind", pa.string()),
    ("repeat", pa.bool_()),
    ("response_ms", pa.int64()),
    ("answered_at", pa.string()),
]
VOTES = pa.schema(
    [
        *_SHARED,
        *[(name, pa.string()) for name in ("left", "right", "winner", "left_image", "right_image")],
        *[(name, pa.string()) for name in ("left_item", "right_item", "expected", "layout")],
    ]
)
RATINGS = pa.schema(
    [*_SHARED, *[(name, pa.string()) for name in ("image_id", "item_id", "expected")], ("rating", pa.float64())]
)

SLACK = 10.0
"""How far from an end of the slider still counts as that end, in an attention check."""

DEMOGRAPHICS = ("age", "gender", "nationality", "education", "art_experience")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """How one participant did at what is asked for the sake of quality."""

    attention_passed: int
    attention: int


def votes_table(study: Study) -> pa.Table:
    """Every vote, in the columns of `VOTES`: practice, attention checks and repeats are told by kind and repeat.

    Raises
    ------
    ValueError
        The study is one of ratings, or nobody was invited to it yet.
    """
    _of_kind(study, "pairs")
    rows = []
    for row in read_rows(study.database, _JOINED.format(table="votes")):
        trial = study.trials[row["trial_id"]]
        left, right = study.items[row["left"]], study.items[row["right"]]
        sides = {
            "left": left.condition_for(row["user"]),
            "right": right.condition_for(row["user"]),
            "left_image": left.image,
            "right_image": right.image,
            "left_item": left.item_id,
            "right_item": right.item_id,
        }
        rows.append({**row, **sides, **_about(trial), "repeat": bool(row["repeat"])})
    return pa.Table.from_pylist(rows, VOTES)


def ratings_table(study: Study) -> pa.Table:
    """Every rating, 0 to 100, in the columns of `RATINGS`.

    Raises
    ------
    ValueError
        The study is one of pairs, or nobody was invited to it yet.
    """
    _of_kind(study, "rating")
    rows = []
    for row in read_rows(study.database, _JOINED.format(table="ratings")):
        trial, item = study.trials[row["trial_id"]], study.items[row["image"]]
        about = {**_about(trial), "image_id": item.image, "item_id": item.item_id, "repeat": bool(row["repeat"])}
        rows.append({**row, **about})
    return pa.Table.from_pylist(rows, RATINGS)


def participants_table(study: Study, *, external_ids: bool = False) -> pa.Table:
    """Participants with their demographics as given; ids of a recruiting platform only where asked for."""
    query = "SELECT * FROM participants ORDER BY number"
    rows = []
    for row in read_rows(study.database, query):
        about = json.loads(row["about"] or "{}")
        told = {name: about.get(name) for name in DEMOGRAPHICS}
        kept = {
            name: row[name] for name in ("participant", "user", "source", "invited_at", "consented_at", "withdrawn_at")
        }
        rows.append({**kept, **({"external_id": row["external_id"]} if external_ids else {}), **told})
    names = list(rows[0]) if rows else ["participant"]
    return pa.Table.from_pylist(rows, pa.schema([(name, pa.string()) for name in names]))


def attention_checks(rows: list[dict[str, Any]]) -> dict[str, Checks]:
    """Attention checks by participant, of the rows of `votes_table` or of `ratings_table`."""
    passed, asked = Counter[str](), Counter[str]()
    for row in rows:
        if row["kind"] == "attention":
            asked[row["participant"]] += 1
            passed[row["participant"]] += _as_told(row)
    return {name: Checks(attention_passed=passed[name], attention=count) for name, count in asked.items()}


def _as_told(row: dict[str, Any]) -> bool:
    if "winner" in row:
        return row["winner"] == row["expected"]
    return row["rating"] >= 100 - SLACK if row["expected"] == ANCHORS[-1] else row["rating"] <= SLACK


def _of_kind(study: Study, kind: str) -> None:
    if study.settings.kind != kind:
        raise ValueError(f"{study.folder}: is a study of kind {study.settings.kind!r}, this needs one of kind {kind!r}")


def _about(trial: Trial) -> dict[str, str | None]:
    return {"prompt_id": trial.prompt_id, "prompt": trial.prompt, "kind": trial.kind, "expected": trial.expected}
