"""Import of a released layout as a dataset folder, with a report.

Invariant: everything that is refused is in `import-report.json`, with its file and line; and the folder appears whole
or not at all. Images are hard links to the source's if the file system allows it, else copies: the source may be
removed afterwards. The layouts are left to `releases`.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from predictor.data.choices import ChoiceRow
from predictor.data.folders import FolderTakenError, new_folder
from predictor.data.rating_scale import RatingScale
from predictor.data.releases import folder, lapis, pamela, para, table
from predictor.data.releases.columns import column
from predictor.data.releases.images import link_or_copy, map_in_threads, path_inside
from predictor.data.releases.release import Reason, Refusal, Release, clean
from predictor.data.releases.validation import KeptRating, ValidatedRelease, validate
from predictor.data.splits import SPLITS
from predictor.progress import Progress

REPORT = "import-report.json"

LAYOUTS: Mapping[str, Callable[[Path], Release]] = {
    "pamela": pamela.read,
    "lapis": lapis.read,
    "para": para.read,
    "folder": folder.read,
}

TABLE = "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of an import. `read` counts the kept and the refused ratings."""

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
        """For the screen: counts, reasons of refusals, notes."""
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
        The kind is unknown, `out` is not empty, the layout is not there, no rating could be kept, or the disk is full
        or not writable.
    """
    if kind not in LAYOUTS:
        raise ValueError(f"unknown kind {kind!r}; known are {', '.join(LAYOUTS)}, {TABLE}")
    return _import(lambda: LAYOUTS[kind](source), source, out, kind=kind, seed=seed, progress=progress)


def import_table(
    ratings: Path,
    images: Path,
    out: Path,
    *,
    scale: RatingScale,
    seed: int = 0,
    progress: Progress = lambda what, done, total: None,
) -> Report:
    """Write the dataset folder `out` from one table of ratings and a folder of images.

    Raises
    ------
    ValueError
        See `import_dataset`.
    """
    return _import(lambda: table.read(ratings, images, scale), ratings, out, kind=TABLE, seed=seed, progress=progress)


def _import(
    read: Callable[[], Release], source: Path, out: Path, *, kind: str, seed: int, progress: Progress
) -> Report:
    taken = f"--out {out}: is not empty; name a new folder"
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise ValueError(taken)
    try:
        release = read()
        validated = validate(release, seed=seed, progress=lambda done, total: progress("checking images", done, total))
        if not validated.ratings and not validated.choices:
            raise ValueError(_nothing_kept(source, release))
        with new_folder(out.resolve()) as made:
            linked = _store_images(release, validated, made, progress)
            report = _report(release, validated, source=source, kind=kind, seed=seed, linked=linked)
            _write_tables(release, validated, made)
            content = json.dumps(report.as_dict(), ensure_ascii=False, indent=1) + "\n"
            (made / REPORT).write_text(content, "utf-8", "backslashreplace")
            _write_about(release, made)
    except FolderTakenError as error:  # by another process, since
        raise ValueError(taken) from error
    except OSError as error:  # a full disk, a folder that may not be read
        raise ValueError(f"{source}: cannot be imported to {out}: {error}; nothing was written") from error
    return report


def _report(
    release: Release, validated: ValidatedRelease, *, source: Path, kind: str, seed: int, linked: int
) -> Report:
    return Report(
        source=str(source),
        kind=kind,
        seed=seed,
        splits_made=validated.splits_made,
        read=dict(release.read),
        kept=_by_split(validated.ratings),
        users=len(release.users.values),
        images=len(validated.files),
        refused=tuple(release.refused),
        notes=(*release.notes, *_notes(release, validated, linked)),
        means=_means(release, validated.ratings),
    )


def _nothing_kept(source: Path, release: Release) -> str:
    first: dict[Reason, str] = {}
    for refusal in release.refused:
        first.setdefault(refusal.reason, f"{refusal.place}: {refusal.detail}")
    counts = Counter(refusal.reason for refusal in release.refused)
    why = "; ".join(f"{reason.value}: {counts[reason]} (first {example})" for reason, example in first.items())
    return f"{source}: none of {sum(release.read.values())} ratings could be kept; {why or 'mend the source'}"


def _store_images(release: Release, validated: ValidatedRelease, made: Path, progress: Progress) -> int:
    """Put the readable images into the dataset; returns how many are links."""

    def put(pair: tuple[str, str]) -> bool:
        path = path_inside(release.root, pair[0])
        if isinstance(path, Reason):
            raise ValueError(f"{release.root / pair[0]}: {path.value} since it was checked; leave the source in peace")
        return link_or_copy(path, made / pair[1])

    (made / "images").mkdir(parents=True)
    return sum(
        map_in_threads(put, validated.stored.items(), lambda done, total: progress("storing images", done, total))
    )


def _notes(release: Release, validated: ValidatedRelease, linked: int) -> Iterable[str]:
    scale = RatingScale(release.rating_min, release.rating_max)
    if odd := scale.question([rating.rating for rating in validated.ratings]):
        yield f"{odd}: is that the right scale?"
    if release.choices:
        yield f"choices: {len(validated.choices):,} of {len(release.choices):,} kept"
    yield f"images: {linked:,} hard-linked, {len(validated.stored) - linked:,} copied"
    differing = {name: len(ids) for name, ids in sorted(release.users.differing.items())}
    if differing:
        columns = ", ".join(f"{name} of {count:,}" for name, count in differing.items())
        yield f"demographics differ between a user's records, the first are kept: {columns} users"
    for name, ids in sorted(release.images.differing.items()):
        if name != "file":
            yield f"{name}: left empty for {len(ids):,} images, whose records do not agree on it"
    without = sum(all(value is None for value in row.values()) for row in release.users.values.values())
    if without:
        yield f"{without:,} users have no demographics; they are kept"


def _by_split(ratings: Iterable[KeptRating]) -> dict[str, int]:
    counts = Counter(rating.split for rating in ratings)
    return {split: counts[split] for split in SPLITS}


def _means(release: Release, ratings: Iterable[KeptRating]) -> dict[str, dict[str, tuple[int, float]]]:
    values: dict[str, dict[str, list[float]]] = {split: {"all": []} for split in SPLITS}
    column_of = {"all": ""}  # a value that two columns share gets its column's name
    for rating in ratings:
        metadata = release.images.values[rating.image_id]
        of_split = values[rating.split]
        of_split["all"].append(rating.rating)
        for name in release.means_by:
            if metadata.get(name) is not None:
                value = str(metadata[name])
                key = value if column_of.setdefault(value, name) == name else f"{name} {value}"
                of_split.setdefault(key, []).append(rating.rating)
    return {
        split: {name: (len(given), round(sum(given) / len(given), 4)) for name, given in of.items()}
        for split, of in values.items()
        if of["all"]
    }


def _write_tables(release: Release, validated: ValidatedRelease, made: Path) -> None:
    users = release.users
    people: dict[str, Any] = {"user_id": pa.array(list(users.values), pa.string())}
    for name in users.columns():
        people[name] = column(name, [row.get(name) for row in users.values.values()])
    pictures: dict[str, Any] = {
        "image_id": pa.array(list(validated.files), pa.string()),
        "file": pa.array([validated.stored[file] for file in validated.files.values()], pa.string()),
    }
    images = release.images
    for name in images.columns():
        if name != "file":
            differing = images.differing.get(name, set())
            cells = [None if image in differing else images.values[image].get(name) for image in validated.files]
            pictures[name] = column(name, cells)
    pq.write_table(pa.table(people), made / "users.parquet")
    pq.write_table(pa.table(pictures), made / "images.parquet")
    given = {
        name: [getattr(rating, name) for rating in validated.ratings]
        for name in ("user_id", "image_id", "rating", "split")
    }
    if validated.ratings:
        pq.write_table(pa.table(given), made / "ratings.parquet")
    if validated.choices:
        pq.write_table(_choices(validated.choices), made / "choices.parquet")


def _choices(choices: Sequence[ChoiceRow]) -> pa.Table:
    """With the split only where the source gave one: `read_dataset` keeps held-out users and images out of train."""
    columns = {
        "user_id": pa.array([choice.user for choice in choices], pa.string()),
        "shown": pa.array([list(choice.shown) for choice in choices], pa.list_(pa.string())),
    }
    for name in ("chosen", "worst", "split"):
        columns[name] = pa.array([getattr(choice, name) for choice in choices], pa.string())
    return pa.table(columns)


def _write_about(release: Release, made: Path) -> None:
    """Written last: a folder without dataset.yaml is no dataset."""
    about = {
        "name": release.name,
        "rating_min": clean(release.rating_min),
        "rating_max": clean(release.rating_max),
        "licence": release.licence,
        "source": release.source,
    }
    (made / "dataset.yaml").write_text(yaml.safe_dump(about, sort_keys=False, allow_unicode=True), "utf-8")
