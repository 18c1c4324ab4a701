"""One table of ratings beside a folder of images: the least that somebody has.

    user_id,image,rating
    ann,sea.jpg,6

`image` (or `image_id`) is a file of the folder, with or without its ending. Optional columns are prompt, which becomes
the image's, and split. Of the people nothing else is known.
"""

from pathlib import Path

from predictor.data.image_files import file_exists
from predictor.data.rating_scale import RatingScale
from predictor.data.releases.release import Rating, Release, clean
from predictor.data.releases.rows import rows_of

_TAKEN = frozenset({"user_id", "image", "image_id", "rating", "prompt", "split"})


def read(ratings: Path, images: Path, scale: RatingScale) -> Release:
    """Read the table; every row is kept or refused.

    Raises
    ------
    ValueError
        A file or folder is not there, or the table has no row.
    """
    if not ratings.is_file():
        raise ValueError(f"--ratings {ratings}: no such file; give a table of user_id,image,rating")
    if not images.is_dir():
        raise ValueError(f"--images {images}: no such folder; give the one that holds the images")
    release = Release(
        name=ratings.stem,
        rating_min=scale.low,
        rating_max=scale.high,
        licence="unknown",
        source=str(ratings),
        root=images,
    )
    by_stem = _by_stem(images)
    left_out: set[str] = set()
    for place, row in rows_of(release, ratings, ratings.name):
        split = None if row is None else clean(row.get("split"))
        release.read[str(split or "")] += 1
        if row is None:
            continue
        left_out |= row.keys() - _TAKEN
        key = "image" if "image" in row else "image_id"
        if not release.has_fields(place, row, ("user_id", key, "rating")):
            continue
        user_id, named = str(clean(row["user_id"])), str(clean(row[key]))
        file = named if file_exists(images / named) else by_stem.get(named, named)
        prompt = clean(row.get("prompt"))
        release.users.add(user_id, {}, place)
        release.images.add(named, {"file": file} | ({} if prompt is None else {"prompt": prompt}), place)
        given = None if split is None else str(split)
        release.ratings.append(Rating(place=place, user_id=user_id, image_id=named, value=row["rating"], split=given))
    if left_out:
        release.notes.append(f"{ratings.name}: columns left out: {', '.join(sorted(left_out))}")
    return release


def _by_stem(folder: Path) -> dict[str, str]:
    """Name without its ending -> file, where it is the only one so called."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            file = path.relative_to(folder)
            found.setdefault(str(file.with_suffix("")), []).append(str(file))
    return {stem: files[0] for stem, files in found.items() if len(files) == 1}
