from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from predictor.data.choices import read_choices
from predictor.data.dataset import DatasetChoice, read_dataset


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "choices.csv"
        path.write_text(text, "utf-8")
        return path

    return write


@pytest.fixture
def chosen_among(tmp_path: Path) -> Path:
    """A dataset of choices alone: two people, three images."""
    (tmp_path / "dataset.yaml").write_text("name: tiny\nrating_min: 1\nrating_max: 5\n", "utf-8")
    (tmp_path / "users.csv").write_text("user_id\n007\nu2\n", "utf-8")
    (tmp_path / "images.csv").write_text("image_id,file\n01,a.png\n02,b.png\n03,c.png\n", "utf-8")
    (tmp_path / "choices.csv").write_text(
        "user_id,shown,chosen,worst,split\n007,01 02 03,03,01,train\nu2,01 02,,,test_unseen\n007,02,,,\n", "utf-8"
    )
    return tmp_path


def test_a_dataset_may_hold_choices_and_no_rating(chosen_among: Path) -> None:
    data = read_dataset(chosen_among)
    assert len(data.rating) == 0
    assert data.choices == (
        DatasetChoice(user=0, shown=(0, 1, 2), chosen=2, worst=0, split="train"),
        DatasetChoice(user=1, shown=(0, 1), chosen=None, worst=None, split="test_unseen"),
        DatasetChoice(user=0, shown=(1,), chosen=None, worst=None, split="train"),
    )


def test_a_dataset_has_ratings_or_choices(chosen_among: Path) -> None:
    (chosen_among / "choices.csv").unlink()
    with pytest.raises(ValueError, match=r"the table 'ratings' is missing; give one of ratings.csv, ratings.parquet"):
        read_dataset(chosen_among)


def test_parquet_has_lists_in_which_names_may_have_spaces(tmp_path: Path) -> None:
    table = {"user_id": ["ann"], "shown": [["a b.png", "c.png"]], "chosen": ["a b.png"]}
    pq.write_table(pa.table(table), tmp_path / "choices.parquet")
    (row,) = read_choices(tmp_path / "choices.parquet")
    assert (row.user, row.shown, row.chosen, row.worst) == ("ann", ("a b.png", "c.png"), "a b.png", None)


def test_in_csv_a_list_may_be_written_as_json_or_python_write_it(written: Callable[[str], Path]) -> None:
    file = written("""user_id,shown,chosen\nann,"[""a b.png"", ""c.png""]",c.png\nbob,"['a b.png', 'c.png']",\n""")
    assert [row.shown for row in read_choices(file)] == [("a b.png", "c.png")] * 2


def test_all_faults_are_told_together(written: Callable[[str], Path]) -> None:
    file = written("shown,chosen,worst\na b,c,\na a b,a,\na b c,,\na b,a,a\n,,\na,,a\n")
    with pytest.raises(ValueError, match=r"choices.csv: row 2: ") as error:
        read_choices(file, user="ann")
    message = str(error.value)
    for fault in (
        "row 2: chosen is 'c', which was not shown",
        "row 3: an image is shown twice",
        "row 4: nothing was chosen of 3 images; name the chosen one or the worst, or drop the row",
        "row 5: 'a' is both chosen and the worst",
        "row 6: no image was shown",
        "and 1 more",
    ):
        assert fault in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("u2,01 02", "u2,01 09", r"choices.csv: row 3: no such image '09' \(add it to the images' table"),
        ("u2,01 02", "u9,01 02", "choices.csv: row 3: unknown user_id 'u9'; add it to its table or drop the choice"),
        (",test_unseen", ",best", "choices.csv: row 3: unknown split 'best'; the splits are train"),
        ("u2,01 02", ",01 02", "choices.csv: row 3: user_id is empty"),
        ("user_id,shown", "user,shown", "no column user_id; the file has user, shown, chosen, worst, split"),
    ],
)
def test_choices_of_what_the_dataset_does_not_know_are_refused(
    chosen_among: Path, old: str, new: str, message: str
) -> None:
    path = chosen_among / "choices.csv"
    path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")
    with pytest.raises(ValueError, match=message):
        read_dataset(chosen_among)
