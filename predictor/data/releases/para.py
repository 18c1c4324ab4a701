"""The PARA release: a CSV of ratings (1 to 5 in halves) of photographs, and a CSV of their raters.

Each row of the ratings also has the rater's scores of quality, light and so on. They are left out: they would leak the
rating that the model has to predict. `imgEmotion`, what the rater felt, is left out too, unless all raters of every
image agree on it. The content (`semantic`) is kept.
"""

from pathlib import Path

from predictor.data.releases.release import Place, Rating, Reason, Release, clean, column_name, layout_root, renamed
from predictor.data.releases.rows import rows_of

RATINGS = "annotation/PARA-Images.csv"
PEOPLE = "annotation/PARA-UserInfo.csv"

_DEMOGRAPHICS = {
    "age": "age_binned",
    "EducationalLevel": "education",
    "artExperience": "art_experience",
    "photographyExperience": "photography_experience",
    "personality-E": "personality_extraversion",
    "personality-A": "personality_agreeableness",
    "personality-N": "personality_neuroticism",
    "personality-O": "personality_openness",
    "personality-C": "personality_conscientiousness",
}
_METADATA = {"semantic": "content", "imgEmotion": "emotion"}
_FIELDS = ("sessionId", "imageName", "userId", "aestheticScore")
_TAKEN = frozenset({*_METADATA, *_FIELDS})


def read(source: Path) -> Release:
    """Read the release from its folder, or from the folder that holds `PARA/`.

    Raises
    ------
    ValueError
        The file of ratings or that of people is not there.
    """
    release = Release(
        name="PARA",
        rating_min=1,
        rating_max=5,
        licence="see the terms of the release",
        source="https://cv-datasets.institutecv.com/#/data-sets",
        root=layout_root(source, "PARA", [RATINGS]),
        means_by=("content",),
    )
    if not (release.root / PEOPLE).is_file():
        raise ValueError(f"{source}: not the PARA layout, {PEOPLE} is not there; name the unzipped release")
    _read_people(release)
    _read_ratings(release)
    _leave_out_feelings(release)
    return release


def _read_people(release: Release) -> None:
    for place, row in rows_of(release, release.root / PEOPLE, PEOPLE):
        if row is None or not release.has_fields(place, row, ["userId"]):
            continue
        user_id = str(clean(row.pop("userId")))
        if user_id in release.users.values:
            release.refuse(place, Reason.USER_TWICE, f"{user_id}, the first is {release.users.places[user_id]}")
            continue
        release.users.add(user_id, {_DEMOGRAPHICS.get(k, column_name(k)): clean(v) for k, v in row.items()}, place)


def _read_ratings(release: Release) -> None:
    left_out: set[str] = set()
    for place, row in rows_of(release, release.root / RATINGS, RATINGS):
        release.read[""] += 1
        if row is None:
            continue
        left_out |= row.keys() - _TAKEN
        if release.has_fields(place, row, _FIELDS):
            _take(release, place, row)
    if left_out:
        columns = ", ".join(sorted(left_out))
        release.notes.append(f"{RATINGS}: columns left out, for they are the rater's own: {columns}")


def _take(release: Release, place: Place, row: dict[str, str]) -> None:
    session, name, user_id = (str(clean(row[field])) for field in ("sessionId", "imageName", "userId"))
    image_id, file = f"{session}/{name}", f"imgs/{session}/{name}"
    release.images.add(image_id, {"file": file, **renamed(row, _METADATA)}, place)
    release.ratings.append(
        Rating(place=place, user_id=user_id, image_id=image_id, value=row["aestheticScore"], file=file)
    )


def _leave_out_feelings(release: Release) -> None:
    images = release.images
    differ = images.differing.pop("emotion", set())
    if differ:
        for values in images.values.values():
            values.pop("emotion", None)
        release.notes.append(
            f"{RATINGS}: imgEmotion is left out, it is the rater's own: "
            f"it differs between the raters of {len(differ)} of {len(images.values)} images"
        )
