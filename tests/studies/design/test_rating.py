"""The trials of a rating study."""

import os
from pathlib import Path

import pytest

from studies.design.making import make_rating
from studies.design.rating import design_rating, left_out, read_images
from studies.study import read_study
from tests.studies.conftest import picture


def test_a_dataset_folders_images_keep_id_prompt_and_metadata(images: Path) -> None:
    found = read_images(images)
    assert [image.image_id for image in found] == [f"i{number:02d}" for number in range(12)]
    assert found[0].prompt == "grey, number 0"
    assert found[0].metadata == {"style": "dark"}


def test_a_plain_folder_gives_every_image_in_it_by_its_path(tmp_path: Path) -> None:
    picture(10, tmp_path / "b" / "x.png")
    picture(10, tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("no image")
    assert [image.image_id for image in read_images(tmp_path)] == ["a.png", "b/x.png"]


def test_what_a_plain_folder_holds_beside_images_is_named(tmp_path: Path) -> None:
    picture(90, tmp_path / "a.png")
    picture(90, tmp_path / ".thumbnails" / "a.png")
    (tmp_path / "notes.txt").write_text("not an image")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.doc")).touch()

    assert [image.image_id for image in read_images(tmp_path)] == ["a.png"]
    assert left_out(tmp_path) == ["caf\\xe9.doc", "notes.txt"]


def test_practice_images_are_not_rated_and_every_other_one_is_once(images: Path) -> None:
    design = design_rating(read_images(images), practice=3, seed=0)
    shown = {
        kind: {design.items[t.image or ""].image for t in design.trials if t.kind == kind}
        for kind in ("trial", "practice")
    }
    assert len(shown["trial"]) == 9
    assert len(shown["practice"]) == 3
    assert not shown["trial"] & shown["practice"]


def test_attention_checks_never_show_an_image_that_is_rated(images: Path) -> None:
    design = design_rating(read_images(images), practice=0, attention=4, seed=0)
    shown = {
        kind: {design.items[t.image or ""].image for t in design.trials if t.kind == kind}
        for kind in ("trial", "attention")
    }
    assert len(shown["trial"]) == 11
    assert not shown["trial"] & shown["attention"]
    assert sum(trial.kind == "attention" for trial in design.trials) == 4


def test_columns_of_the_dataset_cannot_take_the_place_of_the_key(images: Path, tmp_path: Path) -> None:
    table = images / "images.csv"
    head, *rows = table.read_text().splitlines()
    names = "item_id,prompt_id,image,condition,user"
    table.write_text("\n".join([f"{head},{names}", *(f"{row},../../x,p,other,own,u1" for row in rows)]) + "\n")
    made = make_rating(read_images(images), images, tmp_path / "s", choices={"practice": 0, "attention": 0})
    study = read_study(made.folder)
    assert study.items == made.items
    assert all(study.asset(name).is_file() for name in study.items)
    assert {item.condition for item in study.items.values()} == {"rated"}
    assert next(iter(study.items.values())).metadata["condition"] == "own"


def test_practice_that_leaves_no_image_is_refused(images: Path) -> None:
    with pytest.raises(ValueError, match=r"12 practice trials need more than 12 images.*lower --practice"):
        design_rating(read_images(images), practice=12, seed=0)


def test_folders_without_images_and_ids_given_twice_are_refused(tmp_path: Path, images: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        read_images(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no images"):
        read_images(tmp_path / "empty")
    table = images / "images.csv"
    table.write_text(table.read_text() + "i00,0.png,again,dark\n")
    with pytest.raises(ValueError, match="image_id 'i00' is in row 2 already; ids must be unique"):
        read_images(images)
