from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from predictor.data.dataset import read_dataset
from predictor.data.splits import split_by_image
from predictor.data.tables import read_table
from predictor.metrics import srocc
from predictor.simulation.attributes import measure
from predictor.simulation.dataset import simulate
from predictor.simulation.raters import read_truth, sample_raters

WRITTEN = ("users.csv", "ratings.csv", "dataset.yaml", "truth.parquet")


def test_each_image_is_rated_by_as_many_people_as_asked_for(images: Path) -> None:
    seen: list[tuple[int, ...]] = []
    people = simulate(images, raters=5, ratings_per_image=3, seed=1, on_image=lambda *step: seen.append(step))
    dataset = read_dataset(images)
    assert [person.user_id for person in people] == dataset.user_ids
    assert np.bincount(dataset.image).tolist() == [3] * 10
    assert len(set(zip(dataset.user, dataset.image, strict=True))) == 30  # nobody rates an image twice
    assert seen == [(number, 10) for number in range(1, 11)]


def test_the_same_seed_gives_the_same_files_and_another_seed_other_ratings(images: Path) -> None:
    written = []
    for seed in (1, 1, 2):
        simulate(images, raters=4, ratings_per_image=2, seed=seed)
        written.append({name: (images / name).read_bytes() for name in WRITTEN})
    assert written[0] == written[1]
    assert written[0]["ratings.csv"] != written[2]["ratings.csv"]


def test_the_dataset_says_what_it_is(images: Path) -> None:
    simulate(images, raters=4, ratings_per_image=2, seed=7)
    about = yaml.safe_load((images / "dataset.yaml").read_text("utf-8"))
    assert (about["rating_min"], about["rating_max"]) == (0, 100)
    assert "--raters 4 --per-image 2 --seed 7" in about["source"]
    assert read_table(images / "users.csv").column_names == ["user_id", "age", "gender", "nationality"]


def test_everybody_is_seen_and_images_are_split_by_the_seed_of_the_simulation(images: Path) -> None:
    simulate(images, raters=12, ratings_per_image=12, seed=5)
    dataset = read_dataset(images, seed=9)
    assert dataset.split.tolist() == split_by_image(dataset.image, 10, seed=5).tolist()
    assert set(dataset.split) == {"train", "val_seen", "test_seen"}


def test_ratings_follow_the_written_truth(rated: Path) -> None:
    dataset, truth = read_dataset(rated), read_truth(rated / "truth.parquet")
    attributes = []
    for path in dataset.image_paths:
        with Image.open(path) as image:
            attributes.append(measure(image))
    for number, user in enumerate(dataset.user_ids):
        own = dataset.user == number
        liking = truth[user].utility(np.array(attributes))[dataset.image[own]]
        assert srocc(dataset.rating[own], liking) > 0.6


def test_taste_depends_neither_on_prompts_nor_on_names(images: Path) -> None:
    simulate(images, raters=4, ratings_per_image=3, seed=0)
    before = read_table(images / "ratings.csv")["rating"].to_pylist()
    renamed = ["image_id,file,prompt"]
    for number in range(10):
        (images / f"{number:03d}.png").rename(images / f"other{number}.png")
        renamed.append(f"x{number},other{number}.png,a completely different prompt")
    (images / "images.csv").write_text("\n".join(renamed) + "\n", "utf-8")
    simulate(images, raters=4, ratings_per_image=3, seed=0)
    assert read_table(images / "ratings.csv")["rating"].to_pylist() == before


def test_people_do_not_depend_on_the_images(images: Path) -> None:
    people = simulate(images, raters=4, ratings_per_image=3, seed=9)
    assert all(
        np.array_equal(one.ideal, other.ideal) for one, other in zip(people, sample_raters(4, seed=9), strict=True)
    )


@pytest.mark.parametrize("per_image", [0, 5])
def test_more_ratings_an_image_than_people_or_none_are_refused(images: Path, per_image: int) -> None:
    with pytest.raises(ValueError, match=f"from 1 to the number of raters, 4; got {per_image}"):
        simulate(images, raters=4, ratings_per_image=per_image, seed=0)


@pytest.mark.parametrize("break_it", ["text", "missing", "cut", "bomb"])
def test_an_image_that_cannot_be_read_is_named_and_leaves_no_dataset(images: Path, break_it: str) -> None:
    path = images / "004.png"
    match break_it:
        case "text":
            path.write_text("no image", "utf-8")
        case "missing":
            path.unlink()
        case "cut":
            path.write_bytes(path.read_bytes()[:100])
        case "bomb":
            Image.new("1", (20000, 10000)).save(path)
    with pytest.raises(ValueError, match=r"004.png: not an image that can be read"):
        simulate(images, raters=4, ratings_per_image=2, seed=0)
    assert not any((images / name).exists() for name in WRITTEN)


def test_a_folder_without_a_table_of_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'images' is missing"):
        simulate(tmp_path, raters=4, ratings_per_image=2, seed=0)


def test_ratings_that_people_gave_are_never_overwritten(images: Path) -> None:
    given = "user_id,image_id,rating\nu1,01,3\n"
    (images / "ratings.csv").write_text(given, "utf-8")
    with pytest.raises(ValueError, match=r"ratings\.csv: was not simulated, and would be lost"):
        simulate(images, raters=4, ratings_per_image=2, seed=1)
    assert (images / "ratings.csv").read_text("utf-8") == given


@pytest.mark.parametrize("file", ["", "/etc/passwd", "../elsewhere.png"])
def test_a_file_outside_the_folder_is_refused_with_its_row(images: Path, file: str) -> None:
    (images / "images.csv").write_text(f"image_id,file\na,{file}\nb,{file}\n", "utf-8")
    with pytest.raises(ValueError, match=r"images\.csv, row 2: file must be a path inside the folder"):
        simulate(images, raters=4, ratings_per_image=2, seed=1)


@pytest.mark.parametrize("name", ["users.csv", "choices.jsonl"])
def test_people_who_made_choices_are_never_overwritten(images: Path, name: str) -> None:
    (images / name).write_text("user_id\nu1\n", "utf-8")
    with pytest.raises(ValueError, match=f"{name}: was not simulated, and would be lost; copy the images"):
        simulate(images, raters=4, ratings_per_image=2, seed=1)
    assert (images / name).read_text("utf-8") == "user_id\nu1\n"


@pytest.mark.parametrize(
    ("rows", "message"),
    [("", "names no image"), ("a,000.png\na,001.png\n", "row 3: image_id 'a' is in row 2 already; ids must be unique")],
)
def test_images_that_nobody_could_be_asked_about_are_refused(images: Path, rows: str, message: str) -> None:
    (images / "images.csv").write_text(f"image_id,file\n{rows}", "utf-8")
    with pytest.raises(ValueError, match=message):
        simulate(images, raters=4, ratings_per_image=2, seed=1)
    assert not any((images / name).exists() for name in WRITTEN)
