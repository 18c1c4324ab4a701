"""A file of votes as a table, before anything is known of its meaning: CSV in any dialect, Parquet, JSON (lines).

CSV stays text throughout: 007 is a name, and 0,5 becomes a number only where a number is asked for. DuckDB reads all of
it; what it would have to guess (delimiter, encoding, a line `sep=;`) is found in the first line.
"""

import csv
import glob
import json
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from predictor.error_messages import first_line
from studies.elo.layouts.label_studio import is_export, rows_of

_DELIMITED = (".csv", ".tsv", ".txt")
_JSON = (".json", ".jsonl", ".ndjson")
_ENDINGS = (*_DELIMITED, ".parquet", *_JSON)
_DELIMITERS = ",;\t|"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a delimited file is written, by its first line."""

    names: tuple[str, ...]
    delimiter: str
    encoding: str
    skip: int
    """Lines before the names of the columns."""


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
        hint = "; a field that holds the delimiter has to be quoted" if suffix in _DELIMITED else ""
        raise ValueError(f"{path}: cannot be read as a table: {first_line(error)}{hint}") from error


def place_in(path: Path, row: int) -> str:
    """Where a row stands in its file, as an editor counts; a quoted field may run over several lines."""
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        return f"line {row + 1}"
    if suffix not in _DELIMITED:
        return f"row {row + 1}"
    dialect = _dialect(path)
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
    with duckdb.connect() as connection:
        if suffix in _DELIMITED:
            dialect = _dialect(path)
            encoding = dialect.encoding.removesuffix("-sig")
            types = ", ".join(f"{_literal(name)}: 'VARCHAR'" for name in dialect.names)
            reader = (
                f"read_csv($path, auto_detect = false, columns = {{{types}}}, header = true, quote = '\"', "
                f"escape = '\"', delim = {_literal(dialect.delimiter)}, encoding = '{encoding}', "
                f"skip = {dialect.skip})"
            )
            return connection.sql(f"FROM {reader}", params=literal).to_arrow_table()
        if suffix == ".parquet":
            return connection.sql("FROM read_parquet($path)", params=literal).to_arrow_table()
        shape = "auto" if suffix == ".json" else "newline_delimited"
        found = connection.sql(
            f"FROM read_json($path, format = '{shape}', sample_size = -1, map_inference_threshold = -1)", params=literal
        )
        mixed = [name for name, kind in zip(found.columns, found.types, strict=True) if str(kind) == "JSON"]
        if mixed:  # text here and a number there: without the quotes that JSON puts around text
            plain = ", ".join(f"{_identifier(name)} ->> '$' AS {_identifier(name)}" for name in mixed)
            found = found.select(f"* REPLACE ({plain})")
        return found.to_arrow_table()


def _dialect(path: Path) -> Dialect:
    with path.open("rb") as file:
        encoding = "utf-16" if file.read(2) in _UTF16 else "utf-8-sig"
    try:
        with path.open(encoding=encoding, newline="") as file:
            first = file.readline()
            said = first.strip().strip('"').lower()
            skip = int(said.startswith("sep=") and len(said) == 5)
            delimiter = (
                said[-1]
                if skip
                else max(_DELIMITERS, key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))
            )
            if not skip:
                file.seek(0)
            names = next(csv.reader(file, delimiter=delimiter), [])
    except UnicodeError as error:
        raise ValueError(f"{path}: is neither UTF-8 nor UTF-16 ({error}); save it as CSV UTF-8") from error
    except csv.Error as error:
        raise ValueError(f"{path}: cannot be read as a table: {error}") from error
    if not names:
        raise ValueError(f"{path}: is empty; the first line has to name the columns")
    trimmed = [name.strip() or f"column {number}" for number, name in enumerate(names, 1)]
    twice = sorted({name for name in trimmed if [own.lower() for own in trimmed].count(name.lower()) > 1})
    if twice:
        raise ValueError(f"{path}: two columns are called {twice[0]!r}; which one counts? Rename or leave out one")
    return Dialect(names=tuple(trimmed), delimiter=delimiter, encoding=encoding, skip=skip)


def _label_studio_rows(path: Path) -> list[dict[str, str | None]] | None:
    try:
        document = json.loads(path.read_text("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: is no JSON: {error}") from error
    return rows_of(document) if is_export(document) else None


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
