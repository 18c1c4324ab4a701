import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from predictor.data.dataset import read_dataset
from predictor.data.importing import import_dataset
from predictor.data.tables import read_table

WritePictures = Callable[[Path, Iterable[str]], None]
Refused = Callable[[Path], list[tuple[str, int | None, str]]]

USERS = [{"user_id": "007", "age": 31, "site": "010"}, {"user_id": "u2", "age": None, "site": "020"}]
IMAGES: list[dict[str, Any]] = [
    {"image_id": "01", "file": "images/a.png", "prompt": "1984", "year": 1984},
    {"image_id": "02", "file": "b.png", "prompt": None, "year": 1985},
]
RATINGS = [
    {"user_id": "007", "image_id": "01", "rating": 1.5},
    {"user_id": "u2", "image_id": "02", "rating": 5},
    {"user_id": "u2", "image_id": "01", "rating": 2},
]


@pytest.fixture
def source(tmp_path: Path, write_pictures: WritePictures) -> Path:
    folder = tmp_path / "source"
    write_pictures(folder, [image["file"] for image in IMAGES])
    (folder / "dataset.yaml").write_text("name: mine\nrating_min: 1\nrating_max: 5\nlicence: CC0\n", "utf-8")
    for name, rows in (("users", USERS), ("images", IMAGES), ("ratings", RATINGS)):
        write(folder / f"{name}.csv", rows)
    return folder


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """The rows in the format that the ending names."""
    match path.suffix:
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        case _:
            lines = [",".join("" if value is None else str(value) for value in row.values()) for row in rows]
            path.write_text("\n".join([",".join(rows[0]), *lines]) + "\n", "utf-8")


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_tables_of_every_format_give_the_same_dataset(source: Path, tmp_path: Path, ending: str) -> None:
    for name, rows in (("users", USERS), ("images", IMAGES), ("ratings", RATINGS)):
        (source / f"{name}.csv").unlink()
        write(source / f"{name}.{ending}", rows)
    report = import_dataset(source, tmp_path / "out", kind="folder")
    assert report.refused == ()
    dataset = read_dataset(tmp_path / "out")
    assert dataset.name == "mine"
    assert dataset.users.to_pylist() == USERS
    assert dataset.images.to_pylist() == [IMAGES[0], {**IMAGES[1], "file": "images/b.png"}]
    given = read_table(tmp_path / "out/ratings.parquet", required=["split"]).drop_columns("split")
    assert given.to_pylist() == RATINGS


def test_a_simulated_dataset_comes_out_as_it_went_in(rated: Path, tmp_path: Path) -> None:
    before, _ = read_dataset(rated), import_dataset(rated, tmp_path / "out", kind="folder")
    after = read_dataset(tmp_path / "out")
    assert after.users.equals(before.users)
    assert after.images.drop_columns("file").equals(before.images.drop_columns("file"))
    for name in ("user", "image", "rating", "split"):
        assert np.array_equal(getattr(after, name), getattr(before, name)), name


def test_what_an_imported_dataset_holds_can_be_imported_again(source: Path, tmp_path: Path) -> None:
    import_dataset(source, tmp_path / "out", kind="folder")
    report = import_dataset(tmp_path / "out", tmp_path / "again", kind="folder")
    assert (report.refused, report.splits_made) == ((), False)
    for name in ("users", "images", "ratings"):
        again, first = (tmp_path / folder / f"{name}.parquet" for folder in ("again", "out"))
        assert again.read_bytes() == first.read_bytes()


def test_images_are_links_where_the_disk_allows_it_and_copies_where_not(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = import_dataset(source, tmp_path / "linked", kind="folder")
    assert "images: 2 hard-linked, 0 copied" in linked.notes
    assert (tmp_path / "linked/images/a.png").samefile(source / "images/a.png")

    def other_disk(*_: object, **__: object) -> None:
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr(os, "link", other_disk)
    copied = import_dataset(source, tmp_path / "copied", kind="folder")
    assert "images: 0 hard-linked, 2 copied" in copied.notes
    assert not (tmp_path / "copied/images/a.png").samefile(source / "images/a.png")
    assert (tmp_path / "copied/images/a.png").read_bytes() == (source / "images/a.png").read_bytes()


def test_two_files_that_would_get_one_name_get_two(source: Path, tmp_path: Path, write_pictures: WritePictures) -> None:
    write_pictures(source, ["images/b.png", "b.png", "imgs/b.png"])
    files = ("images/b.png", "b.png", "./b.png", "imgs/b.png")
    write(source / "images.csv", [{"image_id": f"0{n}", "file": file} for n, file in enumerate(files, start=1)])
    import_dataset(source, tmp_path / "out", kind="folder")
    paths = read_dataset(tmp_path / "out").image_paths
    assert [path.read_bytes() for path in paths] == [(source / file).read_bytes() for file in files]
    assert len(set(paths)) == 3  # the second and the third are one


@pytest.mark.parametrize(
    ("file", "line", "number", "reason"),
    [
        ("ratings.csv", "007,02,5.5", 5, "rating out of scale"),
        ("ratings.csv", "007,02,1_0", 5, "rating is not a number"),
        ("ratings.csv", "007,02,inf", 5, "rating is not a number"),
        ("ratings.csv", "007,02,", 5, "field missing"),
        ("ratings.csv", "7,02,3", 5, "unknown user"),
        ("ratings.csv", "007,2,3", 5, "unknown image"),
        ("ratings.csv", "007,02,3,4", 5, "not a record"),
        ("ratings.csv", "u2,02,5", 5, "rated twice"),
        ("users.csv", "u2,44,1", 4, "user is there twice"),
        ("users.csv", ",44,1", 4, "field missing"),
        ("images.csv", "01,c.png,,", 4, "image is there twice"),
        ("images.csv", "03,,,", 4, "field missing"),
        ("images.csv", "03,c.png,,", 4, "image missing"),
        ("images.csv", "03,../c.png,,", 4, "path leaves the source folder"),
        ("images.csv", "03,images,,", 4, "image missing"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_line(
    source: Path, tmp_path: Path, refused: Refused, file: str, line: str, number: int, reason: str
) -> None:
    with (source / file).open("a", encoding="utf-8") as table:
        table.write(line + "\n")
    import_dataset(source, tmp_path / "out", kind="folder")
    assert refused(tmp_path / "out") == [(file, number, reason)]
    assert len(read_dataset(tmp_path / "out").rating) == 3


def test_broken_json_lines_are_refused_one_by_one(source: Path, tmp_path: Path, refused: Refused) -> None:
    (source / "ratings.csv").unlink()
    lines = [json.dumps(RATINGS[0]), "", "{", "[1]", json.dumps(RATINGS[1]), "9" * 5000]
    (source / "ratings.jsonl").write_text("\n".join(lines), "utf-8")
    import_dataset(source, tmp_path / "out", kind="folder")
    assert refused(tmp_path / "out") == [("ratings.jsonl", number, "not a record") for number in (3, 4, 6)]


def test_given_splits_are_kept_and_unknown_ones_refused(source: Path, tmp_path: Path, refused: Refused) -> None:
    splits = ("train", "test_unseen", "training")
    write(source / "ratings.csv", [row | {"split": split} for row, split in zip(RATINGS, splits, strict=True)])
    report = import_dataset(source, tmp_path / "out", kind="folder")
    assert refused(tmp_path / "out") == [("ratings.csv", 4, "unknown split")]
    assert read_dataset(tmp_path / "out").split.tolist() == ["train", "test_unseen"]
    assert report.read == {"train": 1, "test_unseen": 1, "training": 1}


def test_nothing_is_there_until_all_is_there(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def interrupt(what: str, done: int, total: int) -> None:
        seen.append([path.name for path in tmp_path.iterdir() if (path / "dataset.yaml").exists()])
        if (what, done) == ("storing images", total):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_dataset(source, tmp_path / "out", kind="folder", progress=interrupt)
    assert seen == [["source"]] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    (tmp_path / "out").mkdir()  # an empty folder may be there
    import_dataset(source, tmp_path / "out", kind="folder")
    assert (tmp_path / "out").stat().st_mode & 0o777 == (tmp_path / "source").stat().st_mode & 0o777
    assert {path.name for path in tmp_path.iterdir()} == {"source", "out"}


def test_a_disk_that_refuses_is_an_error_and_nothing_is_left(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(ValueError, match="No space left on device; nothing was written"):
        import_dataset(source, tmp_path / "out", kind="folder")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("name", ["dataset.yaml", "users.csv", "images.csv", "ratings.csv"])
def test_a_table_that_is_not_there_is_named(source: Path, tmp_path: Path, name: str) -> None:
    (source / name).unlink()
    with pytest.raises(ValueError, match=f"{name.partition('.')[0]}.* is (missing|not there)"):
        import_dataset(source, tmp_path / "out", kind="folder")


def test_where_nothing_can_be_kept_the_reasons_are_given_and_nothing_is_written(source: Path, tmp_path: Path) -> None:
    (source / "dataset.yaml").write_text("name: mine\nrating_min: 10\nrating_max: 50\n", "utf-8")
    message = r"none of 3 ratings could be kept; rating out of scale: 3 \(first ratings.csv, line 2: 1.5 is not from 10"
    with pytest.raises(ValueError, match=message):
        import_dataset(source, tmp_path / "out", kind="folder")
    assert not (tmp_path / "out").exists()
