"""The LAPIS release: one CSV of ratings (0 to 100) of artworks, with the rater's demographics in every row.

The file is UTF-8 or Latin-1, by version. Some raters have no demographics. There are no prompts. The release's splits
are by image alone, so that its ratings come without a split.
"""

from pathlib import Path

from predictor.data.releases.release import Rating, Release, clean, layout_root, renamed
from predictor.data.releases.rows import rows_of

FILE = "annotation/LAPIS_PIAA.csv"

_DEMOGRAPHICS = {
    "age": "age",
    "nationality": "nationality",
    "demo_gender": "gender",
    "demo_edu": "education",
    "demo_colorblind": "colour_blind",
    "Art Interest VAIAK": "art_interest",
}
_METADATA = {"artist": "artist", "style": "style", "genre": "genre"}
_FIELDS = ("participant_id", "image_id", "image_filename", "rating")
_TAKEN = frozenset({*_DEMOGRAPHICS, *_METADATA, *_FIELDS})


def read(source: Path) -> Release:
    """Read the release from its folder, or from the folder that holds `LAPIS/`.

    Raises
    ------
    ValueError
        The file of ratings is not there.
    """
    release = Release(
        name="LAPIS",
        rating_min=0,
        rating_max=100,
        licence="see the terms of the release",
        source="https://github.com/Anne-SofieMaerten/LAPIS",
        root=layout_root(source, "LAPIS", [FILE]),
        means_by=("genre", "style"),
    )
    left_out: set[str] = set()
    for place, row in rows_of(release, release.root / FILE, FILE):
        release.read[""] += 1
        if row is None:
            continue
        left_out |= row.keys() - _TAKEN
        if not release.has_fields(place, row, _FIELDS):
            continue
        user_id, image_id = str(clean(row["participant_id"])), str(clean(row["image_id"]))
        file = f"images/{clean(row['image_filename'])}"
        release.users.add(user_id, renamed(row, _DEMOGRAPHICS), place)
        release.images.add(image_id, {"file": file, **renamed(row, _METADATA)}, place)
        release.ratings.append(Rating(place=place, user_id=user_id, image_id=image_id, value=row["rating"], file=file))
    if left_out:
        release.notes.append(
            f"{FILE}: columns left out, for they may be the rater's own: {', '.join(sorted(left_out))}"
        )
    return release
