from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from predictor.data.dataset import read_dataset
from predictor.data.importing import import_dataset
from predictor.data.profiles import describe_image, describe_person
from predictor.data.splits import split_by_user_and_image
from predictor.data.tables import read_table

WritePictures = Callable[[Path, Iterable[str]], None]
WriteCsv = Callable[..., Path]
Refused = Callable[[Path], list[tuple[str, int | None, str]]]

FILE = "annotation/LAPIS_PIAA.csv"


def row(user: int, image: int, rating: object) -> dict[str, Any]:
    known = user != 3  # the third told nothing
    return {
        "image_id": image,
        "image_filename": f"kahlo_{image}.jpg",
        "participant_id": f"P{user:02d}",
        "rating": rating,
        "age": f"{20 + user}.0" if known else "",
        "nationality": "Belgian" if known else "",
        "demo_gender": "female" if known else "",
        "demo_edu": "Master" if known else "",
        "demo_colorblind": "No" if known else "NaN",
        "Art Interest VAIAK": "3.5" if known else "",
        "artist": "Frida Kahló" if image != 2 else "André, the elder\nand the younger",
        "style": "naïve art",
        "genre": "portrait",
        "response_time": 1234,
    }


ROWS = [row(user, image, (7 * user + 13 * image) % 101) for user in range(1, 13) for image in range(1, 6)]


@pytest.fixture
def source(tmp_path: Path, write_pictures: WritePictures, write_csv: WriteCsv) -> Path:
    write_pictures(tmp_path / "LAPIS/images", [f"kahlo_{number}.jpg" for number in range(1, 6)])
    write_csv(tmp_path / "LAPIS" / FILE, ROWS)
    return tmp_path / "LAPIS"


def test_a_release_becomes_a_dataset_with_renamed_columns_and_seeded_splits(source: Path, tmp_path: Path) -> None:
    report = import_dataset(source, tmp_path / "out", kind="lapis", seed=3)
    dataset = read_dataset(tmp_path / "out")
    ratings = read_table(tmp_path / "out/ratings.parquet").to_pydict()
    assert [ratings["user_id"], ratings["image_id"], ratings["rating"]] == [
        [entry["participant_id"] for entry in ROWS],
        [str(entry["image_id"]) for entry in ROWS],
        [entry["rating"] for entry in ROWS],
    ]
    made = split_by_user_and_image(ratings["user_id"], ratings["image_id"], seed=3)
    assert ratings["split"] == made.tolist()
    assert set(made) >= {"train", "val_unseen", "test_unseen", "test_seen"}
    assert report.splits_made
    assert dataset.prompts == [None] * 5
    assert dataset.users.to_pylist()[0] == {
        "user_id": "P01",
        "age": 21,
        "nationality": "Belgian",
        "gender": "female",
        "education": "Master",
        "colour_blind": "No",
        "art_interest": 3.5,
    }
    assert describe_person(dataset.users.to_pylist()[0]) == (
        "A person, 21 years old, art interest: 3.5, colour blind: No, education Master, female, nationality Belgian."
    )
    assert describe_image(dataset.images.to_pylist()[0]) == (
        "An image, artist: Frida Kahló, genre: portrait, style: naïve art."
    )


def test_raters_without_demographics_are_kept_and_counted(source: Path, tmp_path: Path) -> None:
    report = import_dataset(source, tmp_path / "out", kind="lapis")
    assert "1 users have no demographics; they are kept" in report.notes
    dataset = read_dataset(tmp_path / "out")
    assert describe_person(dataset.users.to_pylist()[2]) is None
    assert (dataset.user == 2).sum() == 5


def test_latin_1_is_read_as_such_and_noted(source: Path, tmp_path: Path, write_csv: WriteCsv) -> None:
    import_dataset(source, tmp_path / "utf8", kind="lapis")
    write_csv(source / FILE, ROWS, encoding="latin-1")
    report = import_dataset(source, tmp_path / "latin", kind="lapis")
    assert f"{FILE}: is no UTF-8, read as Latin-1" in report.notes
    for table in ("users", "images", "ratings"):
        names = (tmp_path / f"{name}/{table}.parquet" for name in ("utf8", "latin"))
        assert len({path.read_bytes() for path in names}) == 1


def test_columns_that_are_neither_of_the_image_nor_of_the_person_stay_out_and_are_named(
    source: Path, tmp_path: Path
) -> None:
    report = import_dataset(source, tmp_path / "out", kind="lapis")
    assert any(note.endswith("response_time") for note in report.notes)
    assert "response_time" not in read_dataset(tmp_path / "out").images.column_names


def test_lines_are_those_of_the_file_also_below_fields_of_two_lines_and_blank_lines(
    source: Path, tmp_path: Path, write_csv: WriteCsv, refused: Refused
) -> None:
    rows: list[Mapping[str, Any]] = [
        row(1, 1, 5),  # line 2
        row(1, 2, 5),  # lines 3 and 4
        row(1, 3, 101),  # line 5
        row(1, 4, "five"),  # line 6
    ]
    path = write_csv(source / FILE, rows)
    lines = path.read_text("utf-8") + "\n9,too,few\n" + ",".join(map(str, row(1, 5, "").values())) + "\n"
    path.write_text(lines, "utf-8")
    import_dataset(source, tmp_path / "out", kind="lapis")
    assert refused(tmp_path / "out") == [
        (FILE, 8, "not a record"),
        (FILE, 9, "field missing"),
        (FILE, 5, "rating out of scale"),
        (FILE, 6, "rating is not a number"),
    ]


def test_a_quote_that_never_closes_costs_what_follows_and_says_so(
    source: Path, tmp_path: Path, refused: Refused
) -> None:
    with (source / FILE).open("a", encoding="utf-8") as file:
        file.write('6,"kahlo_1.jpg,P01,4\n')
    first_after = (source / FILE).read_text("utf-8").count("\n")
    import_dataset(source, tmp_path / "out", kind="lapis")
    assert refused(tmp_path / "out") == [(FILE, first_after, "file unreadable from here on")]
    assert len(read_dataset(tmp_path / "out").rating) == len(ROWS)


def test_a_folder_without_the_file_is_no_release(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not the LAPIS layout, annotation/LAPIS_PIAA.csv is not there"):
        import_dataset(tmp_path, tmp_path / "out", kind="lapis")
