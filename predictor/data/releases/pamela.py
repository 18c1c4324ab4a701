"""The PAMELA release: five JSON lists, one for each of the paper's splits, beside a folder of images.

Every record repeats its image's metadata and its user's demographics. Published means of pamela_train: Art
17,698 ratings, mean 2.989; Photorealism 32,524, 3.255; abstract 3,289, 2.069; landscape 7,570, 3.552; portrait 4,824,
3.214; food 3,288, 3.341; product 3,931, 2.774.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from predictor.data.releases.release import Place, Rating, Reason, Release, clean, column_name, layout_root
from predictor.data.releases.rows import records_of
from predictor.data.splits import SPLITS

FILES = {split: f"annotations/pamela_{split}.json" for split in SPLITS}

_FIELDS = ("participant_id", "image_id", "image_path", "original_score")
_TAKEN = frozenset({*_FIELDS, "image_metadata", "user_demographics"})


def read(source: Path) -> Release:
    """Read the release from its folder, or from the folder that holds `PAMELA/`.

    Raises
    ------
    ValueError
        None of the five files is there.
    """
    release = Release(
        name="PAMELA",
        rating_min=1,
        rating_max=5,
        licence="CC BY 4.0",
        source="https://huggingface.co/datasets/bethgelab/PAMELA",
        root=layout_root(source, "PAMELA", FILES.values()),
        means_by=("group", "type"),
    )
    left_out: set[str] = set()
    for split, name in FILES.items():
        if not (release.root / name).is_file():
            release.notes.append(f"{name}: is not there, so there is no split {split}")
            continue
        for place, record in records_of(release, release.root / name, name):
            release.read[split] += 1
            if record is None:
                continue
            left_out |= record.keys() - _TAKEN
            if release.has_fields(place, record, _FIELDS):
                _take(release, place, record, split)
    if left_out:
        release.notes.append(f"annotations: keys left out: {', '.join(sorted(left_out))}")
    return release


def _take(release: Release, place: Place, record: Mapping[str, Any], split: str) -> None:
    parts = {}
    for name in ("image_metadata", "user_demographics"):
        part = record.get(name)
        if not isinstance(part, dict | None):
            release.refuse(place, Reason.NOT_A_RECORD, f"{name} must be an object, got {str(part)[:60]!r}")
            return
        parts[name] = {column_name(str(column)): clean(value) for column, value in (part or {}).items()}
    user_id, image_id, file = (str(clean(record[name])) for name in ("participant_id", "image_id", "image_path"))
    release.users.add(user_id, parts["user_demographics"], place)
    release.images.add(image_id, {"file": file, **parts["image_metadata"]}, place)
    rating = record["original_score"]
    release.ratings.append(
        Rating(place=place, user_id=user_id, image_id=image_id, value=rating, split=split, file=file)
    )
