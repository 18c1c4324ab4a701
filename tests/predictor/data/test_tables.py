import json
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from predictor.data import delimited
from predictor.data.tables import duckdb_connection, find_table, read_table, select

PEOPLE = pa.table({"user_id": ["007", "u2", "u3"], "age": [20, 40, None], "gender": ["female", "male", "male"]})


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    """The rows in whatever format the path's ending names."""
    names = list(rows[0])
    match path.suffix:
        case ".csv" | ".tsv":
            mark = {".csv": ",", ".tsv": "\t"}[path.suffix]
            lines = [mark.join(names), *(mark.join(str(row[name]) for name in names) for row in rows)]
            path.write_text("\n".join(lines) + "\n", "utf-8")
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        case _:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "jsonl", "ndjson", "CSV"])
def test_every_format_reads_the_same_and_ids_like_007_stay_text(tmp_path: Path, ending: str) -> None:
    rows: list[dict[str, object]] = [{"user_id": "007", "image_id": "010", "rating": 3}]
    path = write(tmp_path / f"t.{ending.lower()}", rows).rename(tmp_path / f"ratings.{ending}")
    assert read_table(path, required=["user_id", "image_id", "rating"]).to_pylist() == rows


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "jsonl"])
def test_ids_that_a_file_holds_as_numbers_or_days_become_text(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"ratings.{ending}", [{"user_id": 7, "image_id": "2024-01-31", "rating": 1.5}])
    assert read_table(path).to_pylist() == [{"user_id": "7", "image_id": "2024-01-31", "rating": 1.5}]


def test_rows_keep_their_order_and_prompts_their_punctuation(tmp_path: Path) -> None:
    path = tmp_path / "prompts.csv"
    path.write_text('prompt_id,prompt\n9,"a ""red"" boat, moored"\n1,été\n5,"two\nlines"\n', "utf-8")
    assert read_table(path)["prompt"].to_pylist() == ['a "red" boat, moored', "été", "two\nlines"]
    assert read_table(path)["prompt_id"].to_pylist() == ["9", "1", "5"]


@pytest.mark.parametrize("name", ["a*.csv", "a?.csv", "a[b].csv"])
def test_a_file_name_is_taken_as_it_is_and_never_for_a_pattern(tmp_path: Path, name: str) -> None:
    write(tmp_path / "ab.csv", [{"user_id": "neighbour"}])
    assert read_table(write(tmp_path / name, [{"user_id": "own"}]))["user_id"].to_pylist() == ["own"]


def test_a_missing_file_an_unknown_ending_and_a_missing_column_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere.csv: no such file"):
        read_table(tmp_path / "nowhere.csv")
    with pytest.raises(ValueError, match=r"ratings.xlsx: .* use one of .csv"):
        read_table(tmp_path / "ratings.xlsx")
    path = write(tmp_path / "ratings.csv", [{"user": "u1", "stars": 3}])
    with pytest.raises(ValueError, match="no column user_id, rating; the file has user, stars"):
        read_table(path, required=["user_id", "rating"])


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_a_file_that_is_no_table_is_one_clear_line(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"broken.{ending}"
    path.write_bytes(b"\x00\x01\xff{")
    with pytest.raises(ValueError, match="cannot be read as a table") as error:
        read_table(path)
    assert "\n" not in str(error.value)


def test_a_table_is_found_by_its_stem_and_has_to_be_there_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'users' is missing; give one of users.csv, users.parquet"):
        find_table(tmp_path, "users")
    path = write(tmp_path / "users.parquet", [{"user_id": "u1"}])
    assert find_table(tmp_path, "users") == path
    write(tmp_path / "users.csv", [{"user_id": "u1"}])
    with pytest.raises(ValueError, match=r"there 2 times \(users.csv, users.parquet\)"):
        find_table(tmp_path, "users")


@pytest.mark.parametrize(
    ("predicate", "ids"),
    [
        ("age >= 18 and age < 30", ["007"]),
        ("gender = 'male' or age is null", ["u2", "u3"]),
        ("user_id in ('007', 'u3')", ["007", "u3"]),
        ("regexp_matches(user_id, '^u')", ["u2", "u3"]),
        ("age > 90", []),
    ],
)
def test_a_predicate_selects_rows_in_their_order(predicate: str, ids: list[str]) -> None:
    assert select(PEOPLE, predicate)["user_id"].to_pylist() == ids


@pytest.mark.parametrize(
    "predicate",
    [
        "1=1); drop table people; --",
        "1=1; select 1",
        "true) union select * from (values ('x', 1, 'y')",
        "exists(from read_text('{file}'))",
        "exists(from read_csv('{file}'))",
        "exists(from '{file}')",
        "exists(from glob('{folder}/*'))",
        "attach '{folder}/new.db'",
        "true; attach '{folder}/new.db'",
        "copy people to '{folder}/new.csv'",
        "true; copy (select 1) to '{folder}/new.csv'",
        "true; set enable_external_access = true",
        "true; install httpfs",
    ],
)
def test_a_predicate_can_neither_reach_a_file_nor_bring_a_second_statement(tmp_path: Path, predicate: str) -> None:
    secret = write(tmp_path / "secret.csv", [{"user_id": "007"}])
    with pytest.raises(ValueError, match=r"^group:.*no predicate over the columns user_id, age, gender"):
        select(PEOPLE, predicate.format(file=secret, folder=tmp_path))
    assert list(tmp_path.iterdir()) == [secret]


@pytest.mark.parametrize("predicate", ["", "salary > 3", "age >", "user_id", "sum(age) > 3", "age > 'old'"])
def test_what_is_no_predicate_over_the_users_is_refused_with_their_columns(predicate: str) -> None:
    with pytest.raises(ValueError, match=r"columns user_id, age, gender: .*Error"):
        select(PEOPLE, predicate)


def test_decimals_that_come_late_in_a_long_table_are_not_rounded(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text("user_id,rating\n" + "u1,3\n" * 21_000 + "u1,3.4\n", "utf-8")
    assert read_table(path)["rating"][-1].as_py() == 3.4


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_spreadsheets_semicolons_decimal_commas_and_encoding_are_read(
    encoding: str, ending: str, tmp_path: Path
) -> None:
    path = tmp_path / "ratings.csv"
    path.write_bytes(ending.join(["user_id;rating;note", "007;3,5;a, b", "ü;4;c", ""]).encode(encoding))

    assert read_table(path).to_pylist() == [
        {"user_id": "007", "rating": 3.5, "note": "a, b"},
        {"user_id": "ü", "rating": 4.0, "note": "c"},
    ]


def test_commas_among_semicolons_are_no_decimals_where_no_number_has_one(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text("user_id;rating\na;3.5\nb,c;4\n", "utf-8")

    assert read_table(path)["rating"].to_pylist() == [3.5, 4.0]


@pytest.mark.parametrize("header", ["user_id,rating,rating", "user_id,rating,Rating", "user_id, rating,rating"])
def test_a_column_that_is_named_twice_is_refused_by_its_name(header: str, tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text(f"{header}\na,1,2\n", "utf-8")

    with pytest.raises(ValueError, match=r"two columns are called '[Rr]ating'; which one counts"):
        read_table(path)


def test_ids_in_json_lines_stay_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "ratings.jsonl"
    ids = ["6F9619FF-8B86-D011-B42D-00C04FC964FF", "2020-01-02T03:04:05Z", "007"]
    path.write_text("".join(f'{{"user_id": "{name}", "rating": 3, "tags": ["a", "b"]}}\n' for name in ids), "utf-8")

    table = read_table(path)

    assert table["user_id"].to_pylist() == ids
    assert table["rating"].to_pylist() == [3, 3, 3]
    assert table["tags"].to_pylist() == [["a", "b"]] * 3


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_ages_that_a_file_holds_as_floats_are_whole_numbers(ending: str, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"user_id": "u1", "age": 18.0}, {"user_id": "u2", "age": 25.0}]
    people = read_table(write(tmp_path / f"users.{ending}", rows))

    assert people["age"].to_pylist() == [18, 25]
    assert people["age"].type == pa.int64()
    assert select(people, "age = 18")["user_id"].to_pylist() == ["u1"]


def test_ids_that_parquet_holds_as_floats_because_one_was_missing_lose_their_decimals(tmp_path: Path) -> None:
    path = tmp_path / "ratings.parquet"
    pq.write_table(pa.table({"user_id": ["a", "b", "c"], "image_id": [7.0, None, 8.5]}), path)

    assert read_table(path)["image_id"].to_pylist() == ["7", None, "8.5"]


@pytest.mark.parametrize("missing", ["NA", "n/a", "", "NULL", "-", "nan"])
def test_a_word_for_a_missing_value_makes_no_text_of_a_column_of_numbers(missing: str, tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_text(f"user_id,age\nu1,31\nu2,{missing}\nu3,44\n", "utf-8")

    assert read_table(path)["age"].to_pylist() == [31, None, 44]


@pytest.mark.parametrize(
    ("ending", "row", "how"), [("csv", 30_002, "; read as UTF-8 with ',' between fields"), ("jsonl", 30_001, "")]
)
def test_one_bad_value_in_the_last_row_is_blamed_on_itself(ending: str, row: int, how: str, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"user_id": f"u{n}", "rating": n % 5} for n in range(30_000)]
    path = write(tmp_path / f"ratings.{ending}", [*rows, {"user_id": "last", "rating": "five"}])

    with pytest.raises(ValueError, match=rf"ratings.{ending}, row {row}: column rating: 'five' is no number{how}$"):
        read_table(path, numbers=["rating"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"user_id,age\nu1,18\nu2,20,21\n",
            "row 3 ('u2,20,21', read as UTF-8 with ',' between fields) has 3 fields",
        ),
        (
            b"user_id;age\nu1;18\nu2\n",
            "row 3 ('u2', read as UTF-8 with ';' between fields) has 1 fields",
        ),
        (b'user_id,age\nu1,"18\nu2,20\n', "row 2 ('u1,\"18', read as UTF-8 with ',' between fields) opens a quote"),
        (b"user_id,name\n" + b"u1,a\n" * 30_000 + b"u2,caf\xe9\n", "not UTF-8 in line 30002 (byte 150019: e9)"),
        ("user_id\tage\nu1\t1\t2\n".encode("utf-16"), "row 2 ('u1\\t1\\t2', read as UTF-16 with tabs between fields)"),
    ],
    ids=["too many", "too few", "an open quote", "Latin-1 late", "UTF-16"],
)
def test_a_row_that_does_not_fit_is_named_with_how_it_was_read(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_bytes(content)

    with pytest.raises(ValueError, match="cannot be read as a table") as error:
        read_table(path)
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_lines_that_end_in_three_different_ways_are_lines_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_bytes(b'user_id,note\r\nu1,"a\r\nb"\nu2,c\ru3,d\r\n')

    assert read_table(path).to_pylist() == [
        {"user_id": "u1", "note": "a\nb"},
        {"user_id": "u2", "note": "c"},
        {"user_id": "u3", "note": "d"},
    ]


def test_a_line_that_is_no_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ratings.jsonl"
    path.write_text('{"user_id": "u1"}\n\n{"user_id": \n', "utf-8")

    with pytest.raises(ValueError, match=r"cannot be read as a table: line 3 \('\{\"user_id\": '\) is no JSON"):
        read_table(path)


def test_a_predicate_on_a_column_that_one_value_makes_text_is_told_the_value() -> None:
    people = pa.table({"user_id": list("abcde"), "age": ["18", "19", "20", "21", "old"]})

    with pytest.raises(ValueError, match=r"age is text because of 'old'$"):
        select(people, "age > 18 and age < 21")


def test_what_is_no_number_among_floats_is_missing(tmp_path: Path) -> None:
    pq.write_table(pa.table({"user_id": ["a", "b"], "age": [31.0, float("nan")]}), tmp_path / "users.parquet")
    assert read_table(tmp_path / "users.parquet")["age"].to_pylist() == [31, None]


def test_a_file_that_changed_is_read_anew(tmp_path: Path) -> None:
    for name in ("ada", "bob"):
        pq.write_table(pa.table({"user_id": [name]}), tmp_path / "users.parquet")
        assert read_table(tmp_path / "users.parquet")["user_id"].to_pylist() == [name]


@pytest.mark.parametrize("broken", [duckdb.FatalException, duckdb.InternalException])
def test_after_an_error_that_ends_the_database_the_next_table_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: type[duckdb.Error]
) -> None:
    (tmp_path / "users.csv").write_text("user_id\nada\n", "utf-8")
    with duckdb_connection() as connection:
        connection.execute("CREATE TABLE of_this_database (x INT)")

    def break_down(path: Path, dialect: object) -> None:
        raise broken("database has been invalidated because of a previous fatal error")

    with monkeypatch.context() as patched:
        patched.setattr(delimited, "_with_uniform_ends", break_down)
        with pytest.raises(ValueError, match=r"users\.csv: cannot be read as a table: .*database has been invalidated"):
            read_table(tmp_path / "users.csv")

    assert read_table(tmp_path / "users.csv")["user_id"].to_pylist() == ["ada"]
    with duckdb_connection() as connection:
        assert connection.execute("SHOW TABLES").fetchall() == []
