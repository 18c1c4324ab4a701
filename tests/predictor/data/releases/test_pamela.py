import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from predictor.data.dataset import read_dataset
from predictor.data.importing import import_dataset
from predictor.data.profiles import describe_image, describe_person
from predictor.data.tables import read_table

WritePictures = Callable[[Path, Iterable[str]], None]
Refused = Callable[[Path], list[tuple[str, int | None, str]]]

TRAIN = "annotations/pamela_train.json"
PEOPLE = {"p1": (31, "German"), "p2": (44, "Ghanaian"), "p3": (23, "Chilean")}


def record(user: str, image: str, score: object, **changes: object) -> dict[str, Any]:
    art = image.startswith("art")
    age, nationality = PEOPLE[user]
    return {
        "participant_id": user,
        "image_id": image,
        "image_path": f"./images/{image}.png" if art else f"images/{image}.png",
        "original_score": score,
        "image_metadata": {
            "prompt": f"a {image}, moored",
            "group": "Art" if art else "Photorealism",
            "style": "cubism" if art else None,
            "type": "abstract" if art else "food",
        },
        "user_demographics": {"age": age, "age_binned": "18-99", "gender": "female", "nationality": nationality},
        **changes,
    }


RECORDS = {
    "train": [record("p1", "art1", 2), record("p1", "photo1", 3.37), record("p1", "art2", 1.5)],
    "val_seen": [record("p1", "art3", 1)],
    "val_unseen": [record("p2", "art3", 5)],
    "test_seen": [record("p1", "photo2", 4.25)],
    "test_unseen": [record("p3", "photo2", 5.0)],
}


@pytest.fixture
def source(tmp_path: Path, write_pictures: WritePictures) -> Path:
    root = tmp_path / "unzipped" / "PAMELA"
    write_pictures(root / "images", [f"{name}.png" for name in ("art1", "art2", "art3", "photo1", "photo2")])
    (root / "annotations").mkdir()
    for split, records in RECORDS.items():
        write(root, split, records)
    return root


def write(root: Path, split: str, records: list[Any]) -> None:
    (root / f"annotations/pamela_{split}.json").write_text(json.dumps(records, indent=2), "utf-8")


def line_of(root: Path, needle: str) -> int:
    """The line on which the record begins that holds the needle; the records are written with an indent."""
    lines = (root / TRAIN).read_text("utf-8").splitlines()
    at = next(number for number, line in enumerate(lines, start=1) if needle in line)
    return max(number for number, line in enumerate(lines[:at], start=1) if line == "  {")


def test_a_release_becomes_a_dataset_with_the_papers_splits_and_its_own_scale(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = import_dataset(source, out, kind="pamela")
    dataset = read_dataset(out)
    given = [
        (dataset.user_ids[user], dataset.images["image_id"][image].as_py(), split)
        for user, image, split in zip(dataset.user.tolist(), dataset.image.tolist(), dataset.split, strict=True)
    ]
    assert given == [
        (entry["participant_id"], entry["image_id"], split) for split, rows in RECORDS.items() for entry in rows
    ]
    ratings = read_table(out / "ratings.parquet")["rating"].to_pylist()
    assert ratings == [2, 3.37, 1.5, 1, 5, 4.25, 5]  # as given
    assert dataset.rating.tolist() == pytest.approx([(rating - 1) / 4 for rating in ratings])
    assert not report.splits_made
    assert report.kept == {"train": 3, "val_seen": 1, "val_unseen": 1, "test_seen": 1, "test_unseen": 1}
    assert report.refused == ()


def test_prompts_metadata_and_demographics_come_along_under_names_that_are_described(
    source: Path, tmp_path: Path
) -> None:
    import_dataset(source, tmp_path / "out", kind="pamela")
    dataset = read_dataset(tmp_path / "out")
    assert dataset.images.to_pylist()[1] == {
        "image_id": "photo1",
        "file": "images/photo1.png",
        "prompt": "a photo1, moored",
        "group": "Photorealism",
        "style": None,
        "type": "food",
    }
    assert describe_image(dataset.images.to_pylist()[0]) == "An image, group: Art, style: cubism, type: abstract."
    assert describe_person(dataset.users.to_pylist()[0]) == (
        "A person, 31 years old, aged 18-99, female, nationality German."
    )
    with Image.open(dataset.image_paths[0]) as image, Image.open(source / "images/art1.png") as original:
        assert image.tobytes() == original.tobytes()


def test_keys_that_are_not_known_are_kept_within_the_metadata_and_named_elsewhere(source: Path, tmp_path: Path) -> None:
    more = record("p1", "art2", 2, device="phone")
    more["image_metadata"] |= {"imageModel": "FLUX.2", "tags": ["sea", "\ud800"]}
    more["user_demographics"] |= {"user_id": "hers"}
    write(source, "train", [more])
    report = import_dataset(source, tmp_path / "out", kind="pamela")
    assert "annotations: keys left out: device" in report.notes
    dataset = read_dataset(tmp_path / "out")
    assert dataset.images.to_pylist()[0]["image_model"] == "FLUX.2"
    assert dataset.images.to_pylist()[0]["tags"] == '["sea", "?"]'
    assert dataset.users.to_pylist()[0]["user_id_released"] == "hers"


def test_the_folder_that_holds_the_release_will_do_as_well(source: Path, tmp_path: Path) -> None:
    import_dataset(source.parent, tmp_path / "out", kind="pamela")
    assert len(read_dataset(tmp_path / "out").rating) == 7


def test_the_report_gives_means_by_group_and_type_to_compare_with_the_published_ones(
    source: Path, tmp_path: Path
) -> None:
    import_dataset(source, tmp_path / "out", kind="pamela")
    means = json.loads((tmp_path / "out/import-report.json").read_text("utf-8"))["means"]
    assert means["train"] == {
        "all": [3, pytest.approx(2.29)],
        "Art": [2, 1.75],
        "abstract": [2, 1.75],
        "Photorealism": [1, 3.37],
        "food": [1, 3.37],
    }
    assert means["val_unseen"] == {"all": [1, 5], "Art": [1, 5], "abstract": [1, 5]}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"original_score": 5.01}, "rating out of scale"),
        ({"original_score": 0}, "rating out of scale"),
        ({"original_score": "good"}, "rating is not a number"),
        ({"original_score": True}, "rating is not a number"),
        ({"original_score": [3]}, "rating is not a number"),
        ({"original_score": None}, "field missing"),
        ({"participant_id": ""}, "field missing"),
        ({"image_metadata": "none"}, "not a record"),
        ({"image_path": "images/art1.png", "image_id": "photo1"}, "image has another file elsewhere"),
        ({"image_id": "photo1", "image_path": "images/photo1.png"}, "rated twice"),
    ],
)
def test_a_rating_that_does_not_fit_is_refused_with_its_line_and_the_rest_is_kept(
    source: Path, tmp_path: Path, refused: Refused, changes: dict[str, Any], reason: str
) -> None:
    wrong = record("p1", "art2", 2, needle="here", **changes) | changes
    write(source, "train", [*RECORDS["train"], wrong])
    report = import_dataset(source, tmp_path / "out", kind="pamela")
    assert refused(tmp_path / "out") == [(TRAIN, line_of(source, "needle"), reason)]
    assert (sum(report.read.values()), sum(report.kept.values())) == (8, 7)
    assert len(read_dataset(tmp_path / "out").rating) == 7


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("../../secret.png", "path leaves the source folder"),
        ("{tmp}/secret.png", "path leaves the source folder"),
        ("images/link.png", "path leaves the source folder"),
        ("images/nowhere.png", "image missing"),
        ("images/empty.png", "image corrupt"),
        ("images/cut.png", "image corrupt"),
        ("images/text.png", "image corrupt"),
        ("images/bomb.png", "image corrupt"),
        ("images/" + "long" * 200, "image missing"),
        ("images/\0.png", "image missing"),
    ],
)
def test_an_image_that_cannot_be_had_is_refused_and_so_are_its_ratings(
    source: Path, tmp_path: Path, refused: Refused, path: str, reason: str
) -> None:
    Image.effect_noise((60, 60), 90).save(tmp_path / "secret.png")
    content = (tmp_path / "secret.png").read_bytes()
    (source / "images/link.png").symlink_to(tmp_path / "secret.png")
    (source / "images/empty.png").touch()
    (source / "images/text.png").write_text("no image", "utf-8")
    (source / "images/cut.png").write_bytes(content[: len(content) // 2])
    if "bomb" in path:
        Image.new("1", (20000, 10000)).save(source / "images/bomb.png")
    wrong = {"image_id": "x", "image_path": path.format(tmp=tmp_path)}
    write(source, "train", [*RECORDS["train"], record("p1", "art1", 2, **wrong), record("p2", "art1", 2, **wrong)])
    import_dataset(source, tmp_path / "out", kind="pamela")
    lines = (source / TRAIN).read_text("utf-8").splitlines()
    starts = [number for number, line in enumerate(lines, start=1) if line == "  {"]
    assert refused(tmp_path / "out") == [
        (TRAIN, starts[3], reason),
        (TRAIN, starts[3], "rating of a refused image"),
        (TRAIN, starts[4], "rating of a refused image"),
    ]
    kept = {file.name for file in (tmp_path / "out/images").iterdir()}
    assert kept == {"art1.png", "art2.png", "art3.png", "photo1.png", "photo2.png"}
    assert len(read_dataset(tmp_path / "out").images) == 5


def test_a_folder_of_images_may_be_a_link_to_another_disk(source: Path, tmp_path: Path) -> None:
    (source / "images").rename(tmp_path / "large disk")
    (source / "images").symlink_to(tmp_path / "large disk")
    assert import_dataset(source, tmp_path / "out", kind="pamela").refused == ()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[\n{first},\n{second},\n{"participant_id": \n', 5),
        ("[\n{first},\n{second}\n", 4),
        ("[\n{first},\n{second}\n{second}]", 4),
        ("[\n{first},\n{second}]\n[]", 4),
        ('[\n{first},\n{second},\n{"a": \udcff}]', 4),
        ("[\n{first},\n{second},\n" + "[" * 100_000, 4),
        ("[\n{first},\n{second},\n" + "9" * 5_000 + "]", 4),
    ],
    ids=["cut", "no end", "no comma", "two lists", "no UTF-8", "too deep", "too long a number"],
)
def test_a_malformed_file_gives_the_records_before_the_damage_and_says_where_it_is(
    source: Path, tmp_path: Path, refused: Refused, text: str, line: int
) -> None:
    first, second = (json.dumps(entry) for entry in RECORDS["train"][:2])
    damaged = text.replace("{first}", first).replace("{second}", second)
    (source / TRAIN).write_bytes(damaged.encode("utf-8", "surrogateescape"))
    report = import_dataset(source, tmp_path / "out", kind="pamela")
    assert refused(tmp_path / "out") == [(TRAIN, line, "file unreadable from here on")]
    assert "2 records came before" in report.refused[0].detail
    assert report.kept["train"] == 2


def test_a_file_that_holds_no_list_and_an_entry_that_is_no_record_are_refused(
    source: Path, tmp_path: Path, refused: Refused
) -> None:
    write(source, "train", [*RECORDS["train"], "a rating"])
    (source / "annotations/pamela_val_seen.json").write_text('\n{"records": []}', "utf-8")
    report = import_dataset(source, tmp_path / "out", kind="pamela")
    assert [(file, reason) for file, _, reason in refused(tmp_path / "out")] == [
        (TRAIN, "not a record"),
        ("annotations/pamela_val_seen.json", "file unreadable from here on"),
    ]
    assert report.refused[0].place.record == 4
    assert report.refused[1].place.line == 2


def test_held_out_ratings_that_overlap_with_training_are_refused(
    source: Path, tmp_path: Path, refused: Refused
) -> None:
    write(source, "test_seen", [*RECORDS["test_seen"], record("p2", "art1", 2)])
    import_dataset(source, tmp_path / "out", kind="pamela")
    assert refused(tmp_path / "out") == [
        ("annotations/pamela_val_unseen.json", 2, "unseen user is in another split"),
        ("annotations/pamela_test_seen.json", 20, "held-out image is in train"),
    ]
    assert read_dataset(tmp_path / "out").rows("val_unseen").tolist() == []


def test_records_that_differ_on_a_person_or_an_image_are_noted(source: Path, tmp_path: Path) -> None:
    later = record("p1", "art1", 3, image_id="art2", image_path="images/art2.png")
    later["user_demographics"]["age"] = 32
    later["image_metadata"]["style"] = "fauvism"
    write(source, "train", [*RECORDS["train"][:1], RECORDS["train"][2], record("p1", "photo1", 3)])
    write(source, "val_unseen", [{**later, "participant_id": "p2"}])
    report = import_dataset(source, tmp_path / "out", kind="pamela")
    notes = "\n".join(report.notes)
    assert "style: left empty for 1 images, whose records do not agree on it" in notes
    users = read_dataset(tmp_path / "out").users.to_pylist()
    assert users[0]["age"] == 31
    later["participant_id"] = "p1"
    write(source, "val_unseen", [])
    write(source, "test_seen", [later | {"image_id": "photo2", "image_path": "images/photo2.png"}])
    report = import_dataset(source, tmp_path / "again", kind="pamela")
    assert any("the first are kept: age of 1 users" in note for note in report.notes)


def test_a_split_that_is_not_there_is_noted_and_a_folder_without_any_is_no_release(
    source: Path, tmp_path: Path
) -> None:
    (source / "annotations/pamela_test_unseen.json").unlink()
    report = import_dataset(source, tmp_path / "out", kind="pamela")
    assert "annotations/pamela_test_unseen.json: is not there, so there is no split test_unseen" in report.notes
    with pytest.raises(ValueError, match=r"not the PAMELA layout, annotations/pamela_train.json is not there"):
        import_dataset(source / "images", tmp_path / "none", kind="pamela")
    with pytest.raises(ValueError, match=r"nowhere: no such folder"):
        import_dataset(tmp_path / "nowhere", tmp_path / "none", kind="pamela")
    (tmp_path / "PAMELA.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"PAMELA.zip: is an archive; unzip it first"):
        import_dataset(tmp_path / "PAMELA.zip", tmp_path / "none", kind="pamela")
