from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from predictor.data.dataset import read_dataset
from predictor.data.importing import import_dataset
from predictor.data.profiles import describe_image, describe_person
from predictor.data.tables import read_table

WritePictures = Callable[[Path, Iterable[str]], None]
WriteCsv = Callable[..., Path]
Refused = Callable[[Path], list[tuple[str, int | None, str]]]

RATINGS = "annotation/PARA-Images.csv"
PEOPLE = "annotation/PARA-UserInfo.csv"


def rating(user: int, image: int, score: object, **changes: object) -> dict[str, Any]:
    return {
        "sessionId": f"session{1 + image % 2}",
        "userId": f"A{user}",
        "imageName": f"iaa_{image}_.jpg",
        "aestheticScore": score,
        "qualityScore": score,
        "compositionScore": score,
        "imgEmotion": ("joy", "awe")[user % 2],
        "semantic": ("animal", "night scene")[image % 2],
        **changes,
    }


def person(user: int) -> dict[str, Any]:
    return {
        "userId": f"A{user}",
        "age": "18_21",
        "gender": "male",
        "EducationalLevel": "junior_college",
        "artExperience": "beginner",
        "photographyExperience": "competent",
        "personality-E": 5,
        "personality-A": 6,
        "personality-N": 7,
        "personality-O": 8,
        "personality-C": 9,
        "shoeSize": 43,
    }


ROWS = [rating(user, image, 1 + (user + image) % 9 / 2) for user in range(1, 5) for image in range(1, 11)]


@pytest.fixture
def source(tmp_path: Path, write_pictures: WritePictures, write_csv: WriteCsv) -> Path:
    root = tmp_path / "PARA"
    write_pictures(root / "imgs", sorted({f"{row['sessionId']}/{row['imageName']}" for row in ROWS}))
    write_csv(root / RATINGS, ROWS)
    write_csv(root / PEOPLE, [person(user) for user in range(1, 5)])
    return root


def test_a_release_becomes_a_dataset_with_images_distinguished_by_session(source: Path, tmp_path: Path) -> None:
    report = import_dataset(source, tmp_path / "out", kind="para")
    dataset = read_dataset(tmp_path / "out")
    assert dataset.images.to_pylist()[0] == {
        "image_id": "session2/iaa_1_.jpg",
        "file": "images/session2/iaa_1_.jpg",
        "content": "night scene",
    }
    assert all(path.is_file() for path in dataset.image_paths)
    ratings = read_table(tmp_path / "out/ratings.parquet")
    assert ratings["rating"].to_pylist() == [row["aestheticScore"] for row in ROWS]
    assert set(ratings["split"].to_pylist()) == {"train", "val_seen", "test_seen"}  # of four people, none is held out
    assert report.read == {"": 40}
    assert report.refused == ()


def test_people_are_described_under_this_houses_names(source: Path, tmp_path: Path) -> None:
    import_dataset(source, tmp_path / "out", kind="para")
    dataset = read_dataset(tmp_path / "out")
    assert dataset.users.column_names == [
        *("user_id", "age_binned", "gender", "education", "art_experience", "photography_experience"),
        *("personality_extraversion", "personality_agreeableness", "personality_neuroticism"),
        *("personality_openness", "personality_conscientiousness", "shoe_size"),
    ]
    assert "aged 18_21, art experience beginner, education junior_college, male" in str(
        describe_person(dataset.users.to_pylist()[0])
    )
    assert describe_image(dataset.images.to_pylist()[0]) == "An image, content: night scene."


def test_what_the_rater_said_beside_the_rating_never_becomes_metadata(source: Path, tmp_path: Path) -> None:
    report = import_dataset(source, tmp_path / "out", kind="para")
    assert read_dataset(tmp_path / "out").images.column_names == ["image_id", "file", "content"]
    notes = "\n".join(report.notes)
    assert "columns left out, for they are the rater's own: compositionScore, qualityScore" in notes
    assert "imgEmotion is left out, it is the rater's own: it differs between the raters of 10 of 10 images" in notes


def test_an_emotion_that_is_the_images_own_is_kept(source: Path, tmp_path: Path, write_csv: WriteCsv) -> None:
    write_csv(source / RATINGS, [row | {"imgEmotion": "joy"} for row in ROWS])
    import_dataset(source, tmp_path / "out", kind="para")
    assert set(read_dataset(tmp_path / "out").images["emotion"].to_pylist()) == {"joy"}


def test_content_on_which_the_rows_of_an_image_do_not_agree_is_left_empty_there(
    source: Path, tmp_path: Path, write_csv: WriteCsv
) -> None:
    write_csv(source / RATINGS, [*ROWS[:-1], ROWS[-1] | {"semantic": "food"}])
    report = import_dataset(source, tmp_path / "out", kind="para")
    assert "content: left empty for 1 images, whose records do not agree on it" in report.notes
    assert read_dataset(tmp_path / "out").images["content"].to_pylist()[8:] == ["night scene", None]


def test_unknown_users_and_users_listed_twice_are_refused(
    source: Path, tmp_path: Path, write_csv: WriteCsv, refused: Refused
) -> None:
    write_csv(source / RATINGS, [*ROWS, rating(9, 1, 3)])
    write_csv(source / PEOPLE, [*(person(user) for user in (1, 2, 3, 4)), person(2) | {"age": "22_25"}])
    import_dataset(source, tmp_path / "out", kind="para")
    assert refused(tmp_path / "out") == [
        (PEOPLE, 6, "user is there twice"),
        (RATINGS, 42, "unknown user"),
    ]
    assert set(read_dataset(tmp_path / "out").users["age_binned"].to_pylist()) == {"18_21"}


@pytest.mark.parametrize("name", [RATINGS, PEOPLE])
def test_a_file_that_is_not_there_is_named(source: Path, tmp_path: Path, name: str) -> None:
    (source / name).unlink()
    with pytest.raises(ValueError, match=f"not the PARA layout, {name} is not there"):
        import_dataset(source, tmp_path / "out", kind="para")
