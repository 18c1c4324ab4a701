"""evidence.parquet: what each enrolled person answered, so that they can learn more later, or be forgotten.

One row an answer. Of its images it holds no pixels, but what a taste weighs of them, in single precision, and an id
that is the same for the same image, prompt and metadata.
"""

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from predictor.encoders.encoding import Images
from predictor.taste.evidence import Answer, Choice, Evidence, Like, Order, Pair, Rating
from predictor.taste.hierarchical import ImageFeatures

SCHEMA = pa.schema(
    {
        "user_id": pa.string(),
        "kind": pa.string(),
        "shown": pa.list_(pa.string()),
        "chosen": pa.string(),
        "worst": pa.string(),
        "rating": pa.float64(),
        "generic": pa.list_(pa.float64()),
        "features": pa.list_(pa.list_(pa.float32())),
    }
)


def image_ids(images: Images) -> tuple[str, ...]:
    """An id of each image, from all that the models see of it."""
    parts = [vectors.numpy() for vectors in (images.image, images.prompt, images.metadata)]
    return tuple(
        hashlib.sha256(b"".join(np.ascontiguousarray(part[row]).tobytes() for part in parts)).hexdigest()[:16]
        for row in range(len(images))
    )


def evidence_rows(user_id: str, evidence: Evidence) -> pa.Table:
    """One person's evidence as a table."""
    ids, features = evidence.ids, evidence.features
    generic, values = features.generic.tolist(), features.values.numpy().astype(np.float32)
    rows = []
    for answer in evidence.answers:
        kind, chosen, worst, rating = _described(answer)
        rows.append(
            {
                "user_id": user_id,
                "kind": kind,
                "shown": [ids[image] for image in answer.shown],
                "chosen": None if chosen is None else ids[chosen],
                "worst": None if worst is None else ids[worst],
                "rating": rating,
                "generic": [generic[image] for image in answer.shown],
                "features": [values[image].tolist() for image in answer.shown],
            }
        )
    return pa.Table.from_pylist(rows, SCHEMA)


def evidence_of(table: pa.Table, user_id: str, *, rank: int) -> Evidence:
    """One person's evidence; none where the table does not know them."""
    answers: list[Answer] = []
    place: dict[str, int] = {}
    generic: list[float] = []
    features: list[list[float]] = []
    wanted = [row for row, name in enumerate(table["user_id"].to_pylist()) if name == user_id]
    for row in table.take(pa.array(wanted, pa.int64())).to_pylist():
        for name, common, own in zip(row["shown"], row["generic"], row["features"], strict=True):
            if name not in place:
                place[name] = len(place)
                generic.append(common)
                features.append(own)
        answers.append(_answer(row, place))
    values = torch.tensor(features, dtype=torch.float64).reshape(len(features), rank)
    return Evidence(
        answers=tuple(answers),
        ids=tuple(place),
        features=ImageFeatures(generic=torch.tensor(generic, dtype=torch.float64), values=values),
    )


def _described(answer: Answer) -> tuple[str, int | None, int | None, float | None]:
    """Kind, chosen, worst and rating."""
    match answer:
        case Rating():
            return "rating", None, None, answer.rating
        case Like():
            return "like", answer.image if answer.liked else None, None, None
        case Pair():
            return "pair", answer.preferred, None, None
        case Choice():
            return "choice", answer.best, answer.worst, None
        case Order():
            return "order", None, None, None


def _answer(row: dict[str, Any], place: dict[str, int]) -> Answer:
    shown = tuple(place[name] for name in row["shown"])
    chosen, worst = (None if row[name] is None else place[row[name]] for name in ("chosen", "worst"))
    match row["kind"]:
        case "rating":
            return Rating(image=shown[0], rating=row["rating"])
        case "like":
            return Like(image=shown[0], liked=chosen is not None)
        case "pair":
            return Pair(first=shown[0], second=shown[1], preferred=chosen)
        case "choice":
            return Choice(shown=shown, best=chosen, worst=worst)
        case "order":
            return Order(shown=shown)
        case kind:
            raise ValueError(f"evidence.parquet has an answer of the unknown kind {kind!r}")
