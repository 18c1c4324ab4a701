import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.data.releases.images import stored_paths
from predictor.data.releases.release import Reason, Release, clean, column_name
from predictor.data.releases.rows import records_of, rows_of

cells = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(["a\nb", 'say "x"', "1,5", "\r", "été"])
values = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=4), st.lists, max_leaves=4)
records = st.lists(st.dictionaries(st.text(max_size=3), values, max_size=3), max_size=6)


def release() -> Release:
    return Release(name="r", rating_min=0, rating_max=1, licence="", source="", root=Path())


@given(records, st.sampled_from([None, 0, 2]), st.sampled_from([None, (", ", ": "), ("\n,\n", " :\t")]))
def test_a_json_list_gives_its_records_and_the_line_on_which_each_begins(
    entries: list[dict[str, Any]], indent: int | None, separators: tuple[str, str] | None
) -> None:
    text = "\n" + json.dumps(entries, indent=indent, separators=separators) + "\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.json"
        path.write_text(text, "utf-8", newline="")
        into = release()
        found = list(records_of(into, path, "list.json"))
    assert into.refused == []
    assert [record for _, record in found] == entries
    assert [place.record for place, _ in found] == list(range(1, len(entries) + 1))
    for place, _ in found:
        assert place.line is not None
        assert "{" in text.split("\n")[place.line - 1]


@given(st.lists(st.lists(cells, min_size=2, max_size=2), max_size=6), st.sampled_from(["\n", "\r\n"]))
def test_csv_gives_its_rows_and_the_line_on_which_each_begins(rows: list[list[str]], end: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        starts: list[int] = []
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator=end, quoting=csv.QUOTE_ALL)
            writer.writerow(["a", "b"])
            for row in rows:
                file.flush()
                starts.append(1 + len(path.read_bytes().replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")) - 1)
                writer.writerow(row)
        into = release()
        found = list(rows_of(into, path, "table.csv"))
    assert into.refused == []
    assert [list((row or {}).values()) for _, row in found] == rows
    assert [place.line for place, _ in found] == starts


def test_a_cut_quoted_field_is_refused_where_it_opens(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text('a,b\n1,2\n3,"4\n5,6\n', "utf-8")
    into = release()
    assert [row for _, row in rows_of(into, tmp_path / "table.csv", "table.csv")] == [{"a": "1", "b": "2"}]
    assert [(refusal.place.line, refusal.reason) for refusal in into.refused] == [(3, Reason.FILE_UNREADABLE)]


@pytest.mark.parametrize("text", ["", "\n", "a,b\n"])
def test_an_empty_table_has_no_rows(tmp_path: Path, text: str) -> None:
    (tmp_path / "table.csv").write_text(text, "utf-8")
    assert list(rows_of(release(), tmp_path / "table.csv", "table.csv")) == []


@pytest.mark.parametrize(
    ("cell", "kept"),
    [
        (" a ", "a"),
        ("", None),
        ("NaN", None),
        (float("nan"), None),
        (31.0, 31),
        (3.5, 3.5),
        (True, True),
        (["é"], '["é"]'),
        (None, None),
    ],
)
def test_a_cell_is_kept_as_plainly_as_it_goes(cell: object, kept: object) -> None:
    assert clean(cell) == kept
    assert type(clean(cell)) is type(kept)


@pytest.mark.parametrize(
    ("released", "name"),
    [
        ("photographyExperience", "photography_experience"),
        ("Art Interest VAIAK", "art_interest_vaiak"),
        ("personality-E", "personality_e"),
        ("file", "file_released"),
        ("!", "unnamed"),
    ],
)
def test_columns_are_named_in_lower_case_and_never_like_our_own(released: str, name: str) -> None:
    assert column_name(released) == name


def test_files_of_other_folders_never_take_each_others_place() -> None:
    files = ["1-x.png", "images/a/x.png", "a/x.png", "images/4-x.png", "b/4-x.png", "images/b/4-x.png"]
    stored = stored_paths([*files, "2-x.png"])
    assert len({*stored.values()}) == len(stored) == len(files) + 1
