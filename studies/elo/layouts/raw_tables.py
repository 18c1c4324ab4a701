"""A file of votes as a table, before anything is known of its meaning: CSV in any dialect, Parquet, JSON (lines).

CSV stays text throughout: 007 is a name, and 0,5 becomes a number only where a number is asked for. DuckDB reads all of
it; what it would have to guess (delimiter, encoding, a line `sep=;`) is found in the first line.
"""

import csv
import glob
import json
from pathlib import Path

import duckdb
import pyarrow as pa

from predictor.data.delimited import DELIMITED, dialect_of, sql_name, text_table
from predictor.data.tables import duckdb_connection
from predictor.error_messages import first_line
from studies.elo.layouts.label_studio import is_export, rows_of

_JSON = (".json", ".jsonl", ".ndjson")
_ENDINGS = (*DELIMITED, ".parquet", *_JSON)


def raw_table(path: Path) -> pa.Table:
    """The table of a file, in the order of its rows.

    Raises
    ------
    ValueError
        The file is missing, cannot be read as a table, or names a column twice.
    """
    suffix = path.suffix.lower()
    if suffix not in _ENDINGS:
        raise ValueError(f"{path}: not a table that can be read; use one of {', '.join(_ENDINGS)}")
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if suffix == ".json" and (export := _label_studio_rows(path)) is not None:
        return pa.Table.from_pylist(export)
    try:
        return _by_duckdb(path, suffix)
    except duckdb.Error as error:
        raise ValueError(f"{path}: cannot be read as a table: {first_line(error)}") from error


def place_in(path: Path, row: int) -> str:
    """Where a row stands in its file, as an editor counts; a quoted field may run over several lines."""
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        return f"line {row + 1}"
    if suffix not in DELIMITED:
        return f"row {row + 1}"
    dialect = dialect_of(path)
    with path.open(encoding=dialect.encoding, newline="", errors="replace") as file:
        lines = csv.reader(file, delimiter=dialect.delimiter)
        seen, first = -1 - dialect.skip, 1
        for record in lines:
            if record and seen == row:
                return f"line {first}"
            seen += bool(record)
            first = lines.line_num + 1
    return f"row {row + 1}"


def _by_duckdb(path: Path, suffix: str) -> pa.Table:
    literal = {"path": glob.escape(str(path))}  # DuckDB would take * and ? in a name for a pattern
    with duckdb_connection() as connection:
        if suffix in DELIMITED:
            return text_table(connection, path, dialect_of(path))
        if suffix == ".parquet":
            return connection.sql("FROM read_parquet($path)", params=literal).to_arrow_table()
        shape = "auto" if suffix == ".json" else "newline_delimited"
        found = connection.sql(
            f"FROM read_json($path, format = '{shape}', sample_size = -1, map_inference_threshold = -1)", params=literal
        )
        mixed = [name for name, kind in zip(found.columns, found.types, strict=True) if str(kind) == "JSON"]
        if mixed:  # text here and a number there: without the quotes that JSON puts around text
            plain = ", ".join(f"{sql_name(name)} ->> '$' AS {sql_name(name)}" for name in mixed)
            found = found.select(f"* REPLACE ({plain})")
        return found.to_arrow_table()


def _label_studio_rows(path: Path) -> list[dict[str, str | None]] | None:
    try:
        document = json.loads(path.read_text("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: is no JSON: {error}") from error
    if not is_export(document):
        return None
    try:
        return rows_of(document)
    except (AttributeError, TypeError) as error:
        raise ValueError(
            f"{path}: looks like an export of Label Studio, but is laid out otherwise ({error}); export it as JSON anew"
        ) from error
