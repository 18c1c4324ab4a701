from pathlib import Path

import pytest
from PIL import Image

from predictor.data.dataset import read_dataset
from predictor.data.importing import import_table
from predictor.data.rating_scale import RatingScale


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    for number, name in enumerate(("sea.jpg", "hill.png", "trip/bay.png")):
        Image.new("RGB", (8, 8), (60 * number, 90, 120)).save(folder / name)
    return folder


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    path = tmp_path / "walks.csv"
    path.write_text(
        "user_id,image,rating,prompt,mood\nann,sea.jpg,6,the sea,fine\nann,hill,2,a hill,fine\nbob,trip/bay,7,,grim\n"
        "bob,sea.jpg,1,the sea,grim\n",
        "utf-8",
    )
    return path


def test_a_table_and_a_folder_are_a_dataset(ratings: Path, photos: Path, tmp_path: Path) -> None:
    report = import_table(ratings, photos, tmp_path / "made", scale=RatingScale(1, 7))
    data = read_dataset(tmp_path / "made")
    assert (data.name, data.user_ids) == ("walks", ["ann", "bob"])
    assert data.rating.tolist() == pytest.approx([5 / 6, 1 / 6, 1, 0])
    assert data.prompts == ["the sea", "a hill", None]
    assert [path.name for path in data.image_paths] == ["sea.jpg", "hill.png", "bay.png"]
    assert "walks.csv: columns left out: mood" in report.notes


def test_everything_that_is_wrong_is_listed_at_once(ratings: Path, photos: Path, tmp_path: Path) -> None:
    with ratings.open("a", encoding="utf-8") as file:
        file.write("cid,nowhere.png,3,,\ncid,sea.jpg,8,,\n,sea.jpg,3,,\nann,sea.jpg,5,the sea,\n")
    report = import_table(ratings, photos, tmp_path / "made", scale=RatingScale(1, 7))
    assert dict(report.reasons) == {
        "image missing": 1,
        "rating of a refused image": 1,
        "rating out of scale": 1,
        "field missing": 1,
        "rated twice": 1,
    }
    assert sum(report.kept.values()) == 4


def test_a_scale_that_looks_wrong_is_questioned(ratings: Path, photos: Path, tmp_path: Path) -> None:
    with ratings.open("a", encoding="utf-8") as file:
        file.write("ann,trip/bay,3,,\n")
    report = import_table(ratings, photos, tmp_path / "made", scale=RatingScale(0, 100))
    question = "all 5 ratings are from 1 to 7, in a corner of the scale 0 to 100: is that the right scale?"
    assert question in report.notes


def test_what_is_not_there_is_refused(ratings: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--ratings .*no.csv: no such file; give a table of user_id,image,rating"):
        import_table(tmp_path / "no.csv", photos, tmp_path / "made", scale=RatingScale(1, 7))
    with pytest.raises(ValueError, match=r"--images .*no: no such folder; give the one that holds the images"):
        import_table(ratings, tmp_path / "no", tmp_path / "made", scale=RatingScale(1, 7))


@pytest.mark.parametrize(
    "content",
    [
        b"sep=;\nuser_id;image;rating\nann;sea.jpg;6\nann;hill;2\n",
        b"sep=\t\nuser_id\timage\trating\nann\tsea.jpg\t6\nann\thill\t2\n",
        b"user_id,image,rating\rann,sea.jpg,6\rann,hill,2\r",
    ],
    ids=["a named delimiter", "a named tab", "lines of old Macs"],
)
def test_tables_of_spreadsheets_are_read(photos: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.csv").write_bytes(content)
    report = import_table(tmp_path / "r.csv", photos, tmp_path / "made", scale=RatingScale(1, 7))
    assert (sum(report.kept.values()), report.refused) == (2, ())


def test_a_name_that_is_too_long_for_a_file_is_refused_alone(ratings: Path, photos: Path, tmp_path: Path) -> None:
    with ratings.open("a", encoding="utf-8") as file:
        file.write(f"bob,{'x' * 300},3,,\n")
    report = import_table(ratings, photos, tmp_path / "made", scale=RatingScale(1, 7))
    assert dict(report.reasons) == {"image missing": 1, "rating of a refused image": 1}


def test_a_table_that_breaks_off_within_a_character_is_one_line(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_bytes("user_id,image,rating\n".encode("utf-16") + b"\x00")
    with pytest.raises(ValueError, match=r"r\.csv: not UTF-16 in line 2 .*; save it as UTF-8"):
        import_table(tmp_path / "r.csv", photos, tmp_path / "made", scale=RatingScale(1, 7))
