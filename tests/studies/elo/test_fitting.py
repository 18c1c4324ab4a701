"""`studies.fit`: what the command does, as a call, on every kind of table."""

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest
from typer.testing import CliRunner

import studies
from studies.cli.main import app
from studies.elo.reporting.records import as_dict
from tests.studies.elo.test_analysis import as_table, study

COLUMNS = {"left": "model_x", "right": "model_y"}


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return as_table(study(6, votes_each=40, tie_share=0.1))


@pytest.mark.parametrize("kind", ["path", "text", "pyarrow", "pandas", "duckdb", "records"])
def test_every_kind_of_table_gives_the_report_of_the_command(tmp_path: Path, table: pa.Table, kind: str) -> None:
    path = tmp_path / "votes.csv"
    pyarrow.csv.write_csv(table, path)
    said = CliRunner().invoke(
        app, ["elo", str(path), "--columns", "left=model_x,right=model_y", "--json", str(tmp_path / "elo.json")]
    )
    assert said.exit_code == 0
    with duckdb.connect() as connection:
        source = {
            "path": path,
            "text": str(path),
            "pyarrow": table,
            "pandas": table.to_pandas().astype({"participant": "category"}),
            "duckdb": connection.from_arrow(table),
            "records": table.to_pylist(),
        }[kind]
        report = studies.fit(source, columns=COLUMNS)

    assert json.loads(json.dumps(as_dict(report))) == json.loads((tmp_path / "elo.json").read_text())


def test_wrong_input_is_refused_with_the_commands_own_line(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    path.write_text("participant,prompt_id,left,right,winner\nann,p,a,b,first\n")
    said = CliRunner().invoke(app, ["elo", str(path)])

    with pytest.raises(ValueError, match="line 2: winner is 'first'") as error:
        studies.fit(path)
    assert str(said.exception) == str(error.value)
    with pytest.raises(ValueError, match="row 1: winner is 'first'"):
        studies.fit(pd.read_csv(path))
    with pytest.raises(ValueError, match="votes must be a path, a table or a list of records, got int"):
        studies.fit(7)  # pyrefly: ignore[bad-argument-type]
    with pytest.raises(ValueError, match="no such file"):
        studies.fit(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="these records are no table"):
        studies.fit([{"left": "a"}, {"left": 1}])
    with pytest.raises(ValueError, match="ties 'none': unknown; use"):
        studies.fit([{"left": "a", "right": "b", "winner": "a"}], ties="none")  # pyrefly: ignore[bad-argument-type]
    with pytest.raises(ValueError, match="--columns, --values and --control are for files"):
        studies.fit(tmp_path, columns=COLUMNS)


def test_participants_are_left_out_by_their_names(table: pa.Table) -> None:
    left_out = studies.fit(table, columns=COLUMNS, leave_out=["u001"])
    assert "u001" not in left_out.participants


def test_importing_the_package_loads_nothing_else() -> None:
    code = (
        "import sys; import studies; assert not {'numpy', 'pyarrow', 'studies.fitting'} & set(sys.modules);"
        "studies.fit;"
        "assert 'torch' not in sys.modules and 'studies.fitting' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"ties": "none"}, "ties 'none': unknown; use half or davidson"),
        ({"generalise_to": "all"}, "generalise-to 'all': unknown; use people"),
        ({"prior": float("nan")}, "prior must be a number of wins of 0 or more, got nan"),
        ({"stop_at_width": 0.0}, "--stop-at-width 0: must be a number of Elo above 0"),
        ({"looks": 0}, "--looks 0: must lie between 1 and 100"),
    ],
)
def test_options_are_refused_before_a_file_is_read(tmp_path: Path, option: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        studies.fit(tmp_path / "none.csv", **option)


def test_a_place_that_cannot_be_written_is_refused_before_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for option, place, said in (
        ("json", tmp_path, "is a folder; name a file"),
        ("json", tmp_path / "file" / "elo.json", "cannot be written: "),
        ("out", tmp_path / "file", "is a file; name a folder"),
        ("out", tmp_path / "file" / "report", "cannot be written: "),
    ):
        with pytest.raises(ValueError, match=f"--{option} {place}.*: {said}"):
            studies.fit(tmp_path / "none.csv", **{option: place})  # pyrefly: ignore[bad-argument-type]


def test_names_of_columns_and_words_of_winners_that_we_do_not_have_are_refused(table: pa.Table) -> None:
    with pytest.raises(ValueError, match=r"--columns lefft=…: no column of votes is called 'lefft'; use participant"):
        studies.fit(table, columns={**COLUMNS, "lefft": "model_x"})
    with pytest.raises(ValueError, match=r"--values …=first: must be one of left, right, tie, both_bad, out"):
        studies.fit(table, columns=COLUMNS, values={"left": "first"})


@pytest.mark.parametrize("name", ["left", "winner", "repeat", "responses"])
def test_a_column_of_records_is_no_column_of_names(name: str) -> None:
    records = [{"left": "a", "right": "b", "winner": "left", "nested": {"x": 1}}]
    with pytest.raises(
        ValueError, match=rf"--columns {name}=nested: this column holds struct<x: int64>, and {name} need"
    ):
        studies.fit(records, columns={name: "nested"})


def test_one_name_may_be_given_as_text(table: pa.Table) -> None:
    assert "u001" not in studies.fit(table, columns=COLUMNS, leave_out="u001").participants
    with pytest.raises(ValueError, match="no votes on condition 'nobody'"):
        studies.fit(table, columns=COLUMNS, conditions="nobody")


def test_views_of_text_are_text_as_polars_hands_them_over(table: pa.Table) -> None:
    views = pa.table({name: pa.chunked_array(table[name].cast(pa.string()).cast(pa.string_view())) for name in
                      table.column_names})  # fmt: skip

    assert studies.fit(views, columns=COLUMNS).conditions == studies.fit(table, columns=COLUMNS).conditions
