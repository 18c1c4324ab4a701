"""A dataset folder that was made elsewhere: tables in any format, not validated yet."""

from pathlib import Path

from predictor.data.choices import read_choices
from predictor.data.dataset import read_about
from predictor.data.releases.release import Metadata, Place, Rating, Reason, Release, clean, layout_root
from predictor.data.releases.rows import rows_of
from predictor.data.tables import find_table


def read(source: Path) -> Release:
    """Read a folder of ratings, choices, users and images with its dataset.yaml.

    Raises
    ------
    ValueError
        A table or dataset.yaml is not there, the latter gives no name or scale, or rows of choices are faulty.
    """
    root = layout_root(source, "dataset", ["dataset.yaml"])
    about = read_about(root)
    release = Release(
        name=str(about["name"]),
        rating_min=about["rating_min"],
        rating_max=about["rating_max"],
        licence=str(about.get("licence") or "unknown"),
        source=str(about.get("source") or "unknown"),
        root=root,
    )
    tables = {stem: find_table(root, stem) for stem in ("users", "images")}
    choices = find_table(root, "choices", optional=True)
    ratings = find_table(root, "ratings", optional=choices is not None)
    _read_described(release, tables["users"], "user_id", (), release.users, Reason.USER_TWICE)
    _read_described(release, tables["images"], "image_id", ("file",), release.images, Reason.IMAGE_TWICE)
    if ratings is not None:
        _read_ratings(release, ratings)
    if choices is not None:
        release.choices = [(Place(file=choices.name, line=row.row), row) for row in read_choices(choices)]
    _note_other_files(release, {path.name for path in (*tables.values(), ratings, choices) if path is not None})
    return release


def _read_described(
    release: Release, path: Path, key: str, fields: tuple[str, ...], metadata: Metadata, twice: Reason
) -> None:
    for place, row in rows_of(release, path, path.name):
        if row is None or not release.has_fields(place, row, (key, *fields)):
            continue
        name = str(clean(row.pop(key)))
        if name in metadata.values:
            release.refuse(place, twice, f"{name}, the first is {metadata.places[name]}")
        else:
            metadata.add(name, {column: clean(value) for column, value in row.items()}, place)


def _read_ratings(release: Release, path: Path) -> None:
    left_out: set[str] = set()
    for place, row in rows_of(release, path, path.name):
        split = None if row is None else clean(row.get("split"))
        release.read[str(split or "")] += 1
        if row is None:
            continue
        left_out |= row.keys() - {"user_id", "image_id", "rating", "split"}
        if release.has_fields(place, row, ("user_id", "image_id", "rating")):
            user_id, image_id = str(clean(row["user_id"])), str(clean(row["image_id"]))
            split = None if split is None else str(split)
            release.ratings.append(
                Rating(place=place, user_id=user_id, image_id=image_id, value=row["rating"], split=split)
            )
    if left_out:
        release.notes.append(f"{path.name}: columns left out: {', '.join(sorted(left_out))}")


def _note_other_files(release: Release, tables: set[str]) -> None:
    known = {
        *tables,
        "dataset.yaml",
        "import-report.json",
        *(row.get("file") for row in release.images.values.values()),
    }
    others = sorted(path.name for path in release.root.iterdir() if path.is_file() and path.name not in known)
    if others:
        more = f" and {len(others) - 8:,} more" if len(others) > 8 else ""
        release.notes.append(f"files not taken over: {', '.join(others[:8])}{more}")
