"""From a released layout to a dataset folder (DESIGN 6): what is kept, what is refused, and a report of both.

Nothing is dropped in silence: whatever is not in the dataset is in `import-report.json`, with its file
and line. The folder appears under its name only when it is whole. Images are hard links to the
source's where the file system allows it, and copies where not, so that the source may go.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from predictor.data.folders import new_folder
from predictor.data.releases import folder, lapis, pamela, para
from predictor.data.releases.columns import column
from predictor.data.releases.judging import Judged, Kept, judge
from predictor.data.releases.pictures import inside, side_by_side, store
from predictor.data.releases.release import Reason, Refusal, Release, plain
from predictor.data.splits import SPLITS

REPORT = "import-report.json"

LAYOUTS: Mapping[str, Callable[[Path], Release]] = {
    "pamela": pamela.read,
    "lapis": lapis.read,
    "para": para.read,
    "folder": folder.read,
}

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of a release. `read` is `kept` and the refused ratings together."""

    source: str
    kind: str
    seed: int
    splits_made: bool
    read: Mapping[str, int]
    """Ratings by released split; "" where the layout has none."""
    kept: Mapping[str, int]
    """Ratings by split of the dataset."""
    users: int
    images: int
    refused: tuple[Refusal, ...]
    notes: tuple[str, ...]
    means: Mapping[str, Mapping[str, tuple[int, float]]]
    """Split -> "all" and each value of the layout's own columns -> number of ratings kept, and their mean."""

    @property
    def reasons(self) -> Mapping[str, int]:
        counts = Counter(refusal.reason for refusal in self.refused)
        return {reason.value: counts[reason] for reason in Reason if counts[reason]}

    def as_dict(self) -> dict[str, object]:
        return {
            "source": self.source,
            "kind": self.kind,
            "splits": f"made, seed {self.seed}" if self.splits_made else "released",
            "ratings": {
                "read": sum(self.read.values()),
                "kept": sum(self.kept.values()),
                "refused": sum(self.read.values()) - sum(self.kept.values()),
                "read_by_split": dict(self.read),
                "kept_by_split": dict(self.kept),
            },
            "users": self.users,
            "images": self.images,
            "refused": dict(self.reasons),
            "notes": list(self.notes),
            "means": {split: {name: list(pair) for name, pair in of.items()} for split, of in self.means.items()},
            "rows": [refusal.as_dict() for refusal in self.refused],
        }

    def lines(self) -> list[str]:
        """For the screen: what is there, what is not and why, and what else is worth knowing."""
        kept = ", ".join(f"{split} {count:,}" for split, count in self.kept.items() if count)
        return [
            f"{sum(self.kept.values()):,} of {sum(self.read.values()):,} ratings kept ({kept}), "
            f"{self.users:,} users, {self.images:,} images",
            *(f"refused: {reason}: {count:,}" for reason, count in self.reasons.items()),
            *(f"note: {note}" for note in self.notes),
        ]


def import_dataset(
    source: Path,
    out: Path,
    *,
    kind: str,
    seed: int = 0,
    progress: Progress = lambda what, done, total: None,
) -> Report:
    """Write the dataset folder `out` from a release in the layout `kind`.

    Raises
    ------
    ValueError
        The kind is unknown, `out` is not empty, the layout is not there, nothing could be kept of it, or the
        disk refuses.
    """
    if kind not in LAYOUTS:
        raise ValueError(f"unknown kind {kind!r}; known are {', '.join(LAYOUTS)}")
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise ValueError(f"--out {out}: is not empty; name a new folder")
    try:
        release = LAYOUTS[kind](source)
        judged = judge(release, seed=seed, progress=lambda done, total: progress("checking images", done, total))
        if not judged.ratings:
            raise ValueError(_nothing_kept(source, release))
        with new_folder(out.resolve()) as made:
            linked = _store_images(release, judged, made, progress)
            report = _report(release, judged, source=source, kind=kind, seed=seed, linked=linked)
            _write_tables(release, judged, made)
            content = json.dumps(report.as_dict(), ensure_ascii=False, indent=1) + "\n"
            (made / REPORT).write_text(content, "utf-8", "backslashreplace")
            _write_about(release, made)
    except OSError as error:  # a full disk, a folder that may not be read
        raise ValueError(f"{source}: cannot be imported to {out}: {error}; nothing was written") from error
    return report


def _report(release: Release, judged: Judged, *, source: Path, kind: str, seed: int, linked: int) -> Report:
    return Report(
        source=str(source),
        kind=kind,
        seed=seed,
        splits_made=judged.splits_made,
        read=dict(release.read),
        kept=_by_split(judged.ratings),
        users=len(release.users.values),
        images=len(judged.files),
        refused=tuple(release.refused),
        notes=(*release.notes, *_notes(release, linked, len(judged.stored))),
        means=_means(release, judged.ratings),
    )


def _nothing_kept(source: Path, release: Release) -> str:
    first: dict[Reason, str] = {}
    for refusal in release.refused:
        first.setdefault(refusal.reason, f"{refusal.place}: {refusal.detail}")
    counts = Counter(refusal.reason for refusal in release.refused)
    why = "; ".join(f"{reason.value}: {counts[reason]} (first {example})" for reason, example in first.items())
    return f"{source}: none of {sum(release.read.values())} ratings could be kept; {why or 'mend the source'}"


def _store_images(release: Release, judged: Judged, made: Path, progress: Progress) -> int:
    """Put the sound images into the dataset; how many are links."""

    def put(pair: tuple[str, str]) -> bool:
        path = inside(release.root, pair[0])
        if isinstance(path, Reason):
            raise ValueError(f"{release.root / pair[0]}: {path.value} since it was checked; leave the source in peace")
        return store(path, made / pair[1])

    (made / "images").mkdir(parents=True)
    return sum(side_by_side(put, judged.stored.items(), lambda done, total: progress("storing images", done, total)))


def _notes(release: Release, linked: int, files: int) -> Iterable[str]:
    yield f"images: {linked:,} hard-linked, {files - linked:,} copied"
    differing = {name: len(ids) for name, ids in sorted(release.users.differing.items())}
    if differing:
        columns = ", ".join(f"{name} of {count:,}" for name, count in differing.items())
        yield f"demographics differ between a user's records, the first are kept: {columns} users"
    for name, ids in sorted(release.images.differing.items()):
        if name != "file":
            yield f"{name}: left empty for {len(ids):,} images, whose records do not agree on it"
    silent = sum(all(value is None for value in told.values()) for told in release.users.values.values())
    if silent:
        yield f"{silent:,} users have no demographics; they are kept"


def _by_split(ratings: Iterable[Kept]) -> dict[str, int]:
    counts = Counter(rating.split for rating in ratings)
    return {split: counts[split] for split in SPLITS}


def _means(release: Release, ratings: Iterable[Kept]) -> dict[str, dict[str, tuple[int, float]]]:
    values: dict[str, dict[str, list[float]]] = {split: {"all": []} for split in SPLITS}
    column_of = {"all": ""}  # a value that two columns share gets its column's name
    for rating in ratings:
        told = release.images.values[rating.image_id]
        of_split = values[rating.split]
        of_split["all"].append(rating.rating)
        for name in release.means_by:
            if told.get(name) is not None:
                value = str(told[name])
                key = value if column_of.setdefault(value, name) == name else f"{name} {value}"
                of_split.setdefault(key, []).append(rating.rating)
    return {
        split: {name: (len(given), round(sum(given) / len(given), 4)) for name, given in of.items()}
        for split, of in values.items()
        if of["all"]
    }


def _write_tables(release: Release, judged: Judged, made: Path) -> None:
    users = release.users
    people: dict[str, Any] = {"user_id": pa.array(list(users.values), pa.string())}
    for name in users.columns():
        people[name] = column(name, [told.get(name) for told in users.values.values()])
    pictures: dict[str, Any] = {
        "image_id": pa.array(list(judged.files), pa.string()),
        "file": pa.array([judged.stored[file] for file in judged.files.values()], pa.string()),
    }
    images = release.images
    for name in images.columns():
        if name != "file":
            differing = images.differing.get(name, set())
            told = [None if image in differing else images.values[image].get(name) for image in judged.files]
            pictures[name] = column(name, told)
    pq.write_table(pa.table(people), made / "users.parquet")
    pq.write_table(pa.table(pictures), made / "images.parquet")
    given = {
        name: [getattr(rating, name) for rating in judged.ratings]
        for name in ("user_id", "image_id", "rating", "split")
    }
    pq.write_table(pa.table(given), made / "ratings.parquet")


def _write_about(release: Release, made: Path) -> None:
    """Last of all: a folder without dataset.yaml is no dataset."""
    about = {
        "name": release.name,
        "rating_min": plain(release.rating_min),
        "rating_max": plain(release.rating_max),
        "licence": release.licence,
        "source": release.source,
    }
    (made / "dataset.yaml").write_text(yaml.safe_dump(about, sort_keys=False, allow_unicode=True), "utf-8")
