import shutil
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from predictor.data.dataset import read_dataset
from predictor.data.rating_scale import RatingScale
from predictor.enrolment import (
    AnsweredImages,
    enroll,
    read_choices_of_files,
    read_likes,
    read_person,
    read_ratings,
)
from predictor.evaluation.adaptation import Adaptation, Context
from predictor.people.person import Person
from predictor.predictor import PamelaPredictor
from predictor.taste.evidence import Choice, Like, Pair, Rating

Table = Callable[[str], Path]


@pytest.fixture
def table(dataset: Path) -> Table:
    """A ratings table beside the dataset's images; `001.png` and so on are paths from it."""

    def written(text: str, name: str = "ada") -> Path:
        path = dataset / f"{name}.csv"
        path.write_text(text, "utf-8")
        return path

    return written


@pytest.fixture(scope="module")
def liked(rated: Path) -> AnsweredImages:
    """Fifteen images, the brighter the better."""
    files = sorted(rated.glob("*.png"))[:15]
    light = [float(np.asarray(Image.open(file)).mean()) / 255 for file in files]
    answers = [Rating(image=row, rating=value) for row, value in enumerate(light)]
    return AnsweredImages(files=files, answers=answers, prompts=["fog", None, *["a cloud"] * 13])


def ratings_of(answered: AnsweredImages) -> list[float]:
    return [answer.rating for answer in answered.answers if isinstance(answer, Rating)]


def test_an_enrolled_user_has_the_scores_of_an_unseen_user_with_those_ratings(
    predictor: PamelaPredictor, liked: AnsweredImages, pictures: list[Image.Image]
) -> None:
    with_ada = enroll(predictor, "ada", liked)
    images = predictor.encode([Image.open(file) for file in liked.files], prompts=liked.prompts)
    context = Context(images=images, features=predictor.taste.features(images), rating=np.array(ratings_of(liked)))
    adapted = Adaptation(predictor).adapt(Person(name="ada"), context)
    assert np.array_equal(with_ada.score(pictures, with_ada.person("ada")), predictor.score(pictures, adapted))
    generic = predictor.score(pictures, predictor.population())
    assert not np.array_equal(with_ada.score(pictures, with_ada.person("ada")), generic)
    assert with_ada.users.to_pylist()[-1]["n_ratings"] == 15
    assert with_ada.users.to_pylist()[-1]["profile"] == pytest.approx(
        np.average(images.image.numpy(), axis=0, weights=ratings_of(liked)), abs=1e-5
    )


def test_a_new_person_is_kept_in_the_checkpoint_and_nobody_else_is_changed(
    predictor: PamelaPredictor, liked: AnsweredImages, pictures: list[Image.Image], tmp_path: Path
) -> None:
    with_ada = enroll(predictor, "ada", liked, demographics={"age": "31", "gender": "female"})
    with_ada.save_pretrained(tmp_path / "with ada")
    loaded = PamelaPredictor.from_pretrained(tmp_path / "with ada")
    assert loaded.user_ids == [*predictor.user_ids, "ada"]
    assert loaded.users.equals(with_ada.users)
    assert loaded.users.schema.equals(predictor.users.schema)
    assert loaded.users.slice(0, 6).equals(predictor.users)
    for name in ("ada", "u01", "u06"):
        assert np.array_equal(
            loaded.score(pictures, loaded.person(name)), with_ada.score(pictures, with_ada.person(name))
        )
    for name in predictor.user_ids:
        assert np.array_equal(
            loaded.score(pictures, loaded.person(name)), predictor.score(pictures, predictor.person(name))
        )
    assert "ada" not in predictor.user_ids


def test_demographics_are_kept_in_the_types_of_the_checkpoint_and_count(
    predictor: PamelaPredictor, liked: AnsweredImages, pictures: list[Image.Image]
) -> None:
    said = enroll(predictor, "ada", liked, demographics={"age": "31", "nationality": "German"})
    row = said.users.to_pylist()[-1]
    assert (row["age"], row["gender"], row["nationality"]) == (31, None, "German")
    silent = enroll(predictor, "ada", liked)
    assert silent.person("ada").demographics is None
    assert not np.array_equal(said.score(pictures, said.person("ada")), silent.score(pictures, silent.person("ada")))


def test_two_new_people_are_each_as_if_alone(
    predictor: PamelaPredictor, liked: AnsweredImages, pictures: list[Image.Image]
) -> None:
    turned = [Rating(image=row, rating=1 - rating) for row, rating in enumerate(ratings_of(liked))]
    contrary = AnsweredImages(files=liked.files, answers=turned, prompts=liked.prompts)
    both = enroll(enroll(predictor, "ada", liked), "bob", contrary)
    alone = enroll(predictor, "bob", contrary)
    assert np.array_equal(both.score(pictures, both.person("bob")), alone.score(pictures, alone.person("bob")))
    assert both.group("both", ["ada", "bob", "u01"]).taste is not None


def test_enrolling_by_15_cached_images_takes_less_than_a_second(
    predictor: PamelaPredictor, liked: AnsweredImages
) -> None:
    enroll(predictor, "ada", liked)
    started = time.monotonic()
    enroll(predictor, "ada", liked)
    assert time.monotonic() - started < 1  # 0.02 s on a machine at rest


@pytest.mark.parametrize(
    ("name", "demographics", "message"),
    [
        ("u01", {}, "--user u01: is in the checkpoint already; name the new person otherwise"),
        ("*", {}, r"--user must be a name for the new person, got '\*'"),
        ("", {}, "--user must be a name for the new person, got ''"),
        ("  ", {}, "--user must be a name for the new person"),
        ("\udcff", {}, "--user must be text in UTF-8"),
        ("ada", {"shoe": "38"}, "unknown demographic 'shoe'; the checkpoint has age, gender, nationality"),
        ("ada", {"taste": "1"}, "unknown demographic 'taste'"),
        ("ada", {"user_id": "eve"}, "unknown demographic 'user_id'"),
        ("ada", {"age": "old"}, "demographic age must be of type int64, got 'old'"),
    ],
)
def test_who_cannot_be_enrolled_is_refused(
    predictor: PamelaPredictor, liked: AnsweredImages, name: str, demographics: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        enroll(predictor, name, liked, demographics=demographics)


def test_a_table_gives_files_from_its_own_folder_scaled_ratings_and_prompts(dataset: Path, table: Table) -> None:
    file = table("image,rating,prompt\n001.png,1,fog\n002.png,7,\n003.png,2.5,1984\n")
    read = read_ratings(file, RatingScale(1, 7))
    assert read.files == [dataset / "001.png", dataset / "002.png", dataset / "003.png"]
    assert ratings_of(read) == [0, 1, 0.25]
    assert read.prompts == ["fog", None, "1984"]
    assert read_ratings(table(f"image,rating\n{dataset / '001.png'},3\n"), RatingScale(1, 7)).prompts == [None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,rating\n001.png,3\n002.png,8\n", "row 3: rating must be a number from 1 to 7, got 8; give another"),
        ("image,rating\n001.png,3\n002.png,0\n", "row 3: rating must be a number from 1 to 7, got 0"),
        ("image,rating\n001.png,good\n002.png,3\n", "row 2: rating must be a number from 1 to 7, got 'good'"),
        ("image,rating\n001.png,nan\n002.png,3.5\n", "row 2: rating must be a number from 1 to 7, got None"),
        ("image,rating\n001.png,\n002.png,3\n", "row 2: rating must be a number from 1 to 7, got None"),
        ("image,rating\n001.png,true\n002.png,false\n", "row 2: rating must be a number from 1 to 7, got True"),
        ("image,rating\n001.png,3\nnowhere.png,3\n", r"row 3: no such image 'nowhere.png' \(paths are from /"),
        ("image,rating\n001.png,3\n,3\n", "row 3: no such image None"),
        ("image,rating\n001.png,3\n002.png,3\n001.png,4\n", "row 4: '001.png' is rated already in row 2"),
        ("image,rating\n001.png,3\n./001.png,4\n", "row 3: './001.png' is rated already in row 2"),
        ("image,rating\n", "has no rating; give at least one row of image,rating"),
        ("image,stars\n001.png,3\n", "no column rating; the file has image, stars"),
        ("file,rating\n001.png,3\n", "no column image; the file has file, rating"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_with_its_row(table: Table, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_ratings(table(text), RatingScale(1, 7))


def test_ratings_in_a_corner_of_the_default_scale_are_questioned(table: Table) -> None:
    file = table("image,rating\n" + "".join(f"{n:03d}.png,{1 + n % 7}\n" for n in range(8)))
    with pytest.raises(
        ValueError, match=r"ratings are from 1 to 7, in a corner of the scale 0 to 100; give theirs by --"
    ):
        read_ratings(file)
    assert len(read_ratings(file, RatingScale(0, 100)).answers) == 8


def test_likes_are_yes_or_no(table: Table) -> None:
    read = read_likes(table("image,liked\n001.png,1\n002.png,No\n003.png,TRUE\n"))
    assert [answer.liked for answer in read.answers if isinstance(answer, Like)] == [True, False, True]
    with pytest.raises(
        ValueError, match="row 2: liked must be 1 or 0, yes or no, true or false, got '2'; row 3: no such"
    ):
        read_likes(table("image,liked\n001.png,2\nnowhere.png,1\n"))


def test_choices_are_of_paths_from_the_tables_own_folder(table: Table, dataset: Path) -> None:
    read = read_choices_of_files(
        table("shown,chosen,worst\n001.png 002.png 003.png,002.png,001.png\n004.png,004.png,\n")
    )
    assert read.files == [dataset / f"00{n}.png" for n in (1, 2, 3, 4)]
    assert read.answers == [Choice(shown=(0, 1, 2), best=1, worst=0), Like(image=3, liked=True)]
    with pytest.raises(ValueError, match=r"row 2: no such image 'x\.png' \(paths are from /.*; one with a space needs"):
        read_choices_of_files(table("shown,chosen\nx.png 002.png,002.png\n"))


def test_metadata_and_prompts_count_as_in_training(
    predictor: PamelaPredictor, table: Table, pictures: list[Image.Image]
) -> None:
    rows = [f"00{n}.png,{1 + n},fog" for n in range(6)]
    plain = enroll(predictor, "ada", read_ratings(table("image,rating,prompt\n" + "\n".join(rows)), RatingScale(1, 7)))
    text = "image,rating,prompt,style\n" + "\n".join(f"{row},soft" for row in rows)
    read = read_ratings(table(text), RatingScale(1, 7), metadata=predictor.categories)
    described = enroll(predictor, "ada", read)
    assert not np.array_equal(plain.score(pictures, user="ada"), described.score(pictures, user="ada"))
    images = predictor.encode(pictures, prompts=["fog"] * 6, metadata=[{"style": "soft"}] * 6)
    by_hand = predictor.enroll("ada", images, [Rating(image=n, rating=n / 6) for n in range(6)])
    assert np.allclose(by_hand.score(pictures, user="ada"), described.score(pictures, user="ada"), atol=1e-6)


def test_a_person_of_a_dataset_is_enrolled_as_it_describes_the_images(
    predictor: PamelaPredictor, dataset: Path, pictures: list[Image.Image]
) -> None:
    (dataset / "choices.csv").write_text("user_id,shown,chosen\nu02,001 002,002\nu02,003,\n", "utf-8")
    data = read_dataset(dataset)
    answered, _ = read_person(dataset, "u02")
    described = data.images.to_pylist()
    assert [row["style"] for row in answered.metadata] == [
        described[data.image_paths.index(Path(file))]["style"] for file in answered.files
    ]
    assert [type(answer) for answer in answered.answers[-2:]] == [Pair, Like]
    assert len(answered.answers) == int((data.user == 1).sum()) + 2
    twin = enroll(predictor, "twin", answered)
    theirs, generic = (twin.score(pictures, user=user) for user in ("twin", "*"))
    assert not np.array_equal(theirs, generic)


@pytest.mark.parametrize(("low", "high"), [(7, 1), (3, 3)])
def test_a_scale_that_does_not_ascend_is_refused(table: Table, low: float, high: float) -> None:
    with pytest.raises(ValueError, match="the rating scale must ascend"):
        read_ratings(table("image,rating\n001.png,3\n"), RatingScale(low, high))


@pytest.mark.parametrize(
    "again", ["{folder}/../{folder.name}/001.png", "{folder}/001.png"], ids=["way round", "absolute"]
)
def test_an_image_that_is_named_in_two_ways_is_rated_twice_all_the_same(
    table: Table, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    folder = table("").parent
    file = table(f"image,rating\n001.png,3\n{again.format(folder=folder)},4\n")
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError, match=r"row 3: .* is rated already in row 2"):
        read_ratings(Path(file.name), RatingScale(1, 7))


def test_json_lines_have_no_header_to_be_counted(table: Table) -> None:
    file = table("").with_name("ada.jsonl")
    file.write_text('{"image": "001.png", "rating": 3}\n{"image": "002.png", "rating": 8}\n', "utf-8")
    with pytest.raises(ValueError, match=r"ada.jsonl: row 2: rating must be"):
        read_ratings(file, RatingScale(1, 7))


def test_ratings_may_be_decimals_of_a_parquet_file(table: Table) -> None:
    file = table("").with_name("ada.parquet")
    pq.write_table(pa.table({"image": ["001.png"], "rating": [Decimal("2.5")]}), file)
    assert ratings_of(read_ratings(file, RatingScale(1, 7))) == [0.25]


def test_a_file_that_is_no_image_is_refused_by_its_name(predictor: PamelaPredictor, table: Table) -> None:
    file = table("image,rating\n001.png,3\nimages.csv,5\n")
    with pytest.raises(ValueError, match=r"images\.csv: not an image that can be read"):
        enroll(predictor, "ada", read_ratings(file, RatingScale(1, 7)))


def test_a_user_of_a_dataset_folder_has_all_their_ratings_and_demographics(dataset: Path) -> None:
    data = read_dataset(dataset)
    user = data.user_ids[0]
    rated, demographics = read_person(dataset, user)
    rows = data.user == 0
    assert ratings_of(rated) == data.rating[rows].tolist()
    assert rated.files == [data.image_paths[image] for image in data.image[rows]]
    assert set(demographics) <= set(data.users.column_names) - {"user_id"}
    with pytest.raises(ValueError, match="no user 'nobody'; there are"):
        read_person(dataset, "nobody")


def test_names_of_files_that_look_like_numbers_or_days_stay_names(table: Table, dataset: Path) -> None:
    for name in ("0001", "2024-01-01"):
        shutil.copy(dataset / "001.png", dataset / name)
    assert read_ratings(table("image,rating\n0001,3\n"), RatingScale(1, 7)).files == [dataset / "0001"]
    assert read_likes(table("image,liked\n2024-01-01,1\n")).files == [dataset / "2024-01-01"]


def test_a_name_that_is_too_long_for_a_file_is_no_image(table: Table) -> None:
    with pytest.raises(ValueError, match="row 2: no such image 'xxx"):
        read_ratings(table(f"image,rating\n{'x' * 300},3\n"), RatingScale(1, 7))


def test_one_picture_under_two_names_is_no_choice(predictor: PamelaPredictor, table: Table, dataset: Path) -> None:
    shutil.copy(dataset / "001.png", dataset / "again.png")
    file = table("shown,chosen\n001.png again.png,001.png\n")
    with pytest.raises(ValueError, match=r"001\.png and .*again\.png are the same picture; drop the choice"):
        enroll(predictor, "ada", read_choices_of_files(file))


def test_demographics_may_be_given_in_their_own_types(predictor: PamelaPredictor, liked: AnsweredImages) -> None:
    enrolled = enroll(predictor, "ada", liked, demographics={"age": 31.0})
    assert enrolled.users["age"][-1].as_py() == 31
