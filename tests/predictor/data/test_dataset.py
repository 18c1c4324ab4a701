import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from predictor.data.dataset import join, read_dataset
from predictor.data.splits import split_by_user_and_image
from predictor.data.tables import read_table

Change = Callable[[Path, str, str], None]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Two people, three images, four ratings on a scale of 1 to 5; files of images are not looked at."""
    (tmp_path / "dataset.yaml").write_text("name: tiny\nrating_min: 1\nrating_max: 5\n", "utf-8")
    (tmp_path / "users.csv").write_text("user_id,age\n007,31\nu2,\n", "utf-8")
    (tmp_path / "images.csv").write_text("image_id,file,prompt\n01,a.png,a boat\n02,b/b.png,\n03,c.png,1984\n", "utf-8")
    (tmp_path / "ratings.csv").write_text("user_id,image_id,rating\n007,01,1\n007,03,3\nu2,02,5\nu2,01,2\n", "utf-8")
    return tmp_path


def test_ratings_come_in_order_scaled_to_0_to_1_with_rows_of_users_and_images(tiny: Path) -> None:
    dataset = read_dataset(tiny)
    assert dataset.name == "tiny"
    assert dataset.user_ids == ["007", "u2"]
    assert dataset.image_paths == (tiny / "a.png", tiny / "b/b.png", tiny / "c.png")
    assert dataset.prompts == ["a boat", None, "1984"]
    assert dataset.user.tolist() == [0, 0, 1, 1]
    assert dataset.image.tolist() == [0, 2, 1, 0]
    assert dataset.rating.tolist() == [0, 0.5, 1, 0.25]


def test_images_without_a_prompt_column_have_no_prompts(tiny: Path) -> None:
    (tiny / "images.csv").write_text("image_id,file\n01,a.png\n02,b.png\n03,c.png\n", "utf-8")
    assert read_dataset(tiny).prompts == [None] * 3


def test_given_splits_are_kept(tiny: Path) -> None:
    rows = [
        f"{user},0{number},2,{split}\n"
        for number, (user, split) in enumerate([("007", "train"), ("007", "val_seen"), ("u2", "test_unseen")], start=1)
    ]
    (tiny / "ratings.csv").write_text("user_id,image_id,rating,split\n" + "".join(rows), "utf-8")
    given = read_dataset(tiny)
    assert given.split.tolist() == ["train", "val_seen", "test_unseen"]
    assert given.rows("val_seen").tolist() == [1]


def test_images_of_one_prompt_are_in_one_split_where_there_are_many_prompts(dataset: Path) -> None:
    rows = [line.rpartition(",")[0] for line in (dataset / "ratings.csv").read_text("utf-8").splitlines()]
    (dataset / "ratings.csv").write_text("\n".join(rows) + "\n", "utf-8")
    assert read_dataset(dataset).groups is None  # a cloud and fog: too few to hold some out
    lines = [f"{n:03d},{n:03d}.png,subject {n // 2}" for n in range(40)]
    (dataset / "images.csv").write_text("\n".join(["image_id,file,prompt", *lines]) + "\n", "utf-8")
    made = read_dataset(dataset)
    splits = {(image // 2, split) for image, split in zip(made.image.tolist(), made.split.tolist(), strict=True)}
    assert len(splits) == 20
    assert {split for _, split in splits} == {"train", "val_seen", "test_seen"}


def test_images_of_one_group_are_in_one_split(dataset: Path) -> None:
    lines = (dataset / "images.csv").read_text("utf-8").splitlines()
    grouped = [f"{lines[0]},group_id", *(f"{line},photograph {n // 4}" for n, line in enumerate(lines[1:]))]
    (dataset / "images.csv").write_text("\n".join(grouped) + "\n", "utf-8")
    rows = [line.rpartition(",")[0] for line in (dataset / "ratings.csv").read_text("utf-8").splitlines()]
    (dataset / "ratings.csv").write_text("\n".join(rows) + "\n", "utf-8")
    made = read_dataset(dataset)
    assert made.groups is not None
    splits = {}
    for image, split in zip(made.image.tolist(), made.split.tolist(), strict=True):
        splits.setdefault(made.groups[image], set()).add(split)
    assert len(splits) == 10
    assert all(len(found) == 1 for found in splits.values())
    assert {"train", "test_seen"} <= set.union(*splits.values())


def test_without_a_column_splits_are_made_of_the_ids_and_the_seed(rated: Path, dataset: Path) -> None:
    lines = (dataset / "ratings.csv").read_text("utf-8").splitlines()
    (dataset / "ratings.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines) + "\n", "utf-8")
    for seed in (0, 1):
        made = read_dataset(dataset, seed=seed)
        users = [made.user_ids[user] for user in made.user]
        images = [made.images["image_id"][image].as_py() for image in made.image.tolist()]
        assert made.split.tolist() == split_by_user_and_image(users, images, seed=seed).tolist()
    assert np.array_equal(
        read_dataset(rated, seed=0).split, read_dataset(rated, seed=1).split
    )  # simulated ones are given


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "ratings.csv",
            "u2,02,5",
            "u2,02,6",
            r"row 4: rating must be from 1 to 5, got 6.0 \(1 such rows\); mend it or",
        ),
        ("ratings.csv", "u2,02,5", "u2,02,", "row 4: rating must be from 1 to 5, got nan"),
        ("ratings.csv", "u2,02,5", "u2,02,good", "row 4: column rating: 'good' is no number"),
        ("ratings.csv", "u2,02,5", "u9,02,5", "row 4: unknown user_id 'u9'; add it to its table or drop the rating"),
        ("ratings.csv", "u2,02,5", "u2,99,5", "row 4: unknown image_id '99'; add it to its table or drop the rating"),
        ("ratings.csv", "007,01,1", "7,01,1", "row 2: unknown user_id '7'"),
        (
            "ratings.csv",
            "u2,02,5",
            "007,03,5",
            r"row 4: user '007' rated image '03' already in row 3 \(1 such rows\); keep one",
        ),
        ("ratings.csv", "rating", "stars", "no column rating; the file has user_id, image_id, stars"),
        ("images.csv", "file", "path", "images.csv: no column file"),
        ("users.csv", "user_id", "name", "users.csv: no column user_id"),
        ("users.csv", "u2", '""', "users.csv, row 3: user_id is empty; fill it in or drop the row"),
        ("images.csv", "02,b/b.png", ",b/b.png", "images.csv, row 3: image_id is empty"),
        ("users.csv", "u2", "007", "user_id '007' is in row 2 already; ids must be unique"),
        ("images.csv", "02", "03", "row 4: image_id '03' is in row 3 already; ids must be unique"),
        ("dataset.yaml", "rating_min: 1", "", "rating_min is missing; give the dataset's name and its rating scale"),
        ("dataset.yaml", "rating_min: 1", "rating_min:", "rating_min is missing"),
        (
            "dataset.yaml",
            "rating_min: 1",
            "rating_min: 7",
            "below rating_max, and both finite numbers, got 7.0 and 5.0",
        ),
        ("dataset.yaml", "rating_max: 5", "rating_max: .inf", "and both finite numbers, got 1.0 and inf"),
        ("dataset.yaml", "rating_max: 5", "rating_max: .nan", "and both finite numbers, got 1.0 and nan"),
        ("dataset.yaml", "rating_min: 1", "rating_min: low", "rating_min and rating_max must be numbers: .*'low'"),
        ("dataset.yaml", "rating_min: 1", "- [", "dataset.yaml: cannot be read as YAML"),
        ("dataset.yaml", "name: tiny\nrating_min: 1\nrating_max: 5\n", "- a list", "name, rating_min, rating_max is"),
    ],
)
def test_what_does_not_fit_is_an_error_that_says_where_and_what_to_do(
    tiny: Path, change: Change, file: str, old: str, new: str, message: str
) -> None:
    change(tiny / file, old, new)
    with pytest.raises(ValueError, match=message):
        read_dataset(tiny)


def test_several_kinds_of_faults_are_told_together(tiny: Path) -> None:
    (tiny / "ratings.csv").write_text("user_id,image_id,rating\n007,01,9\n007,03,3\n007,03,4\nu2,02,5\n", "utf-8")
    with pytest.raises(
        ValueError, match=r"row 2: rating must be from 1 to 5, got 9.0 .*; .*row 4: user '007' rated image"
    ):
        read_dataset(tiny)
    (tiny / "ratings.csv").write_text("user_id,image_id,rating\neve,01,2\n007,09,3\n", "utf-8")
    with pytest.raises(ValueError, match=r"row 2: unknown user_id 'eve'.*; .*row 3: unknown image_id '09'"):
        read_dataset(tiny)


def test_an_unknown_split_is_named_with_the_known_ones(tiny: Path) -> None:
    (tiny / "ratings.csv").write_text("user_id,image_id,rating,split\n007,01,2,train\n007,02,2,training\n", "utf-8")
    with pytest.raises(
        ValueError, match=r"ratings.csv, row 3: unknown split 'training'; the splits are train, val_seen"
    ):
        read_dataset(tiny)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["007,01,2,train", "007,02,2,test_unseen"], "row 3: user '007' of test_unseen is in another split as well"),
        (["007,01,2,val_unseen", "007,02,2,test_unseen"], "row 2: user '007' of val_unseen is in another split"),
        (["007,01,2,train", "u2,01,2,test_seen"], "row 3: image '01' of test_seen is in train as well"),
    ],
)
def test_splits_that_let_training_see_what_is_held_out_are_refused(tiny: Path, rows: list[str], message: str) -> None:
    (tiny / "ratings.csv").write_text("\n".join(["user_id,image_id,rating,split", *rows]) + "\n", "utf-8")
    with pytest.raises(ValueError, match=message + r".*\(1 such rows\); mend the column split, or remove it"):
        read_dataset(tiny)


@pytest.mark.parametrize("name", ["dataset.yaml", "users.csv", "images.csv", "ratings.csv"])
def test_a_missing_file_is_named(tiny: Path, name: str) -> None:
    (tiny / name).unlink()
    with pytest.raises(ValueError, match=f"{name.partition('.')[0]}.* is missing"):
        read_dataset(tiny)


def test_rows_of_parquet_are_counted_from_one(tiny: Path) -> None:
    table = read_table(tiny / "ratings.csv")
    pq.write_table(table.set_column(2, "rating", pa.array([9.0, *table["rating"].to_pylist()[1:]])), tiny / "r.parquet")
    (tiny / "ratings.csv").unlink()
    (tiny / "r.parquet").rename(tiny / "ratings.parquet")
    with pytest.raises(ValueError, match=r"ratings\.parquet, row 1: rating must be from 1 to 5, got 9.0"):
        read_dataset(tiny)


def test_datasets_are_joined_where_a_column_holds_lists_here_and_text_there(tiny: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(tiny, tmp_path / "other"))
    (other / "dataset.yaml").write_text("name: other\nrating_min: 1\nrating_max: 5\n", "utf-8")
    for folder, values in ((tiny, [["oil", "canvas"], None, []]), (other, ["oil", "ink", None])):
        table = read_table(folder / "images.csv").append_column("media", pa.array(values))
        (folder / "images.csv").unlink()
        pq.write_table(table, folder / "images.parquet")
    joined = join([read_dataset(tiny), read_dataset(other)])
    assert joined.images["media"].to_pylist() == ["oil, canvas", None, "", "oil", "ink", None]
