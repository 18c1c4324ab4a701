"""Tables that users give, read by DuckDB: CSV, Parquet or JSON lines, by the file's ending.

What a column holds is decided by all of its values: whole numbers (18.0 is 18), numbers, truths, days, times, or text.
A few words that stand for a missing value are null among numbers. A column that has to hold numbers and does not is an
error that names the row and the value.
"""

import atexit
import glob
import json
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import overload

import duckdb
import numpy as np
import pyarrow as pa

from predictor.data.delimited import DELIMITED, dialect_of, sql_name, sql_text, text_table
from predictor.error_messages import first_line

_SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet", ".tsv")

_TEXT = frozenset({"user_id", "image_id", "prompt_id", "prompt", "file", "caption", "split"})
"""Columns that are always text: 007 is a name."""

_MISSING = ("na", "n/a", "null", "none", "nan", "-", "?", ".")
"""What stands for a missing value among numbers, whatever its case."""
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
_WHOLE = r"[-+]?[0-9]{1,15}"
_MOST_WHOLE = 2.0**53
"""Above it a float does not hold every whole number."""


def read_table(
    path: Path, *, required: Sequence[str] = (), text: Collection[str] = (), numbers: Collection[str] = ()
) -> pa.Table:
    """Read one table, in the order of its rows.

    Parameters
    ----------
    text
        Further columns that are always text, so that 007 stays 007.
    numbers
        Columns whose every value is a number or missing.

    Raises
    ------
    ValueError
        The file is missing, cannot be read as a table, or lacks a required column; or a value is no number that has to
        be one.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise ValueError(f"{path}: not a table that can be read; use one of {', '.join(_SUFFIXES)}")
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        with duckdb_connection() as connection:
            table = _read(connection, path, {*_TEXT, *text}, numbers)
    except duckdb.Error as error:
        said = _malformed_line(path) or first_line(error)
        raise ValueError(f"{path}: cannot be read as a table: {said}") from error
    missing = [name for name in required if name not in table.column_names]
    if missing:
        raise ValueError(f"{path}: no column {', '.join(missing)}; the file has {', '.join(table.column_names)}")
    return table


def line_number(path: Path, index: int) -> int:
    """The line of a table's file, from 1, that holds the row of this index; line 1 of a CSV names the columns."""
    return index + (2 if path.suffix.lower() in DELIMITED else 1)


# Annotations that name DuckDB's connection are quoted: unquoted, its binding reports leaks when Python ends.
@contextmanager
def duckdb_connection() -> "Iterator[duckdb.DuckDBPyConnection]":
    """A new connection to the one DuckDB of this process: starting another takes 30 ms."""
    try:
        with _database().cursor() as connection:
            yield connection
    except (duckdb.FatalException, duckdb.InternalException):  # after these DuckDB refuses every further query
        _database.cache_clear()
        raise


@cache
def _database() -> "duckdb.DuckDBPyConnection":
    """Its cache of file contents is off: a file that changed would be read as it was."""
    atexit.register(_database.cache_clear)  # or DuckDB's binding would report leaks when Python ends
    return duckdb.connect(config={"enable_external_file_cache": False})


def _read(
    connection: "duckdb.DuckDBPyConnection", path: Path, text: Collection[str], numbers: Collection[str]
) -> pa.Table:
    if path.suffix.lower() in DELIMITED:
        dialect = dialect_of(path)
        table = text_table(connection, path, dialect)
        untyped = [name for name in table.column_names if name not in text]
        return _typed(connection, path, table, untyped, numbers, decimal=dialect.decimal)
    literal = {"path": glob.escape(str(path))}  # DuckDB would take * and ? in a name for a pattern
    if path.suffix.lower() == ".parquet":
        found, mixed = connection.sql("FROM read_parquet($path)", params=literal), []
    else:
        found, mixed = _json_lines(connection, literal, text)
    kinds = dict(zip(found.columns, map(str, found.types), strict=True))
    casts = [_id_as_text(name, kind) for name, kind in kinds.items() if name in text and kind != "VARCHAR"]
    table = (found.select(f"* REPLACE ({', '.join(casts)})") if casts else found).to_arrow_table()
    said = [name for name in kinds if name in mixed or (name in numbers and kinds[name] == "VARCHAR")]
    return _typed(connection, path, _with_whole_numbers(table), said, numbers)


def _json_lines(connection: "duckdb.DuckDBPyConnection", literal: dict[str, str], text: Collection[str]):
    """The relation of a file, and its columns that are text here and a number there."""
    reader = "read_json($path, format = 'newline_delimited', sample_size = -1{})"
    found = connection.sql(f"FROM {reader.format('')}", params=literal)
    kinds = dict(zip(found.columns, map(str, found.types), strict=True))
    mixed = [name for name, kind in kinds.items() if kind == "JSON" and name not in text]
    if mixed or any(name in text for name in kinds):  # else an id that looks like a UUID or a time is written anew
        plain = {name: "VARCHAR" if name in mixed or name in text else kind for name, kind in kinds.items()}
        columns = ", ".join(f"{sql_text(name)}: '{kind}'" for name, kind in plain.items())
        found = connection.sql(f"FROM {reader.format(f', columns = {{{columns}}}')}", params=literal)
    return found, mixed


def _malformed_line(path: Path) -> str | None:
    """The first line of a JSON-lines file that is no JSON, with what is wrong; None where all are, or it is none."""
    if path.suffix.lower() not in (".jsonl", ".ndjson"):
        return None
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        try:
            if line.strip():
                json.loads(line)
        except ValueError as error:
            return f"line {number} ({line[:60].decode('utf-8', 'replace')!r}) is no JSON: {first_line(error)}"
    return None


def _id_as_text(name: str, kind: str) -> str:
    """Ids that a table holds as floats, because one was missing once, are whole numbers all the same."""
    column = sql_name(name)
    if kind in ("DOUBLE", "FLOAT"):
        whole = f"{column} = trunc({column}) AND abs({column}) < {_MOST_WHOLE:.0f}"
        return f"CASE WHEN {whole} THEN {column}::BIGINT::VARCHAR ELSE {column}::VARCHAR END AS {column}"
    return f"{column}::VARCHAR AS {column}"


def _with_whole_numbers(table: pa.Table) -> pa.Table:
    """Floats that are no numbers become null, and columns of floats that are all whole become whole numbers."""
    for place, name in enumerate(table.column_names):
        column = table[name]
        if pa.types.is_floating(column.type):
            column = pa.array(column.to_numpy(), column.type, from_pandas=True)  # nan is what pandas has for null
            table = table.set_column(place, name, column.cast(pa.int64()) if _all_whole(column) else column)
    return table


def _all_whole(column: pa.Array) -> bool:
    numbers = column.drop_null().to_numpy(zero_copy_only=False)
    if not len(numbers):
        return False
    return bool(np.all((numbers == np.trunc(numbers)) & (np.abs(numbers) < _MOST_WHOLE)))


def _typed(
    connection: "duckdb.DuckDBPyConnection",
    path: Path,
    table: pa.Table,
    untyped: Sequence[str],
    numbers: Collection[str],
    *,
    decimal: str = ".",
) -> pa.Table:
    """The table with its columns of text as what they hold; `untyped` are those to look at."""
    for name in untyped:
        column = _as_held(connection, table.select([name]), name, decimal)
        if name in numbers and column is None:
            _refuse_other_than_numbers(connection, path, table.select([name]), name, decimal)
        if column is not None:
            table = table.set_column(table.column_names.index(name), name, column)
    return table


def _as_held(
    connection: "duckdb.DuckDBPyConnection", table: pa.Table, name: str, decimal: str
) -> pa.ChunkedArray | None:
    """The column as numbers, truths, days or times; None where it is text."""
    column = sql_name(name)
    as_kind = {
        "BIGINT": f"CASE WHEN regexp_full_match(trim({column}), '{_WHOLE}') THEN trim({column})::BIGINT END",
        "DOUBLE": _number(column, decimal),
        "BOOLEAN": f"CASE WHEN lower({column}) IN ('true', 'false') THEN {column}::BOOLEAN END",
        "DATE": f"CASE WHEN length({column}) <= 10 THEN TRY_CAST({column} AS DATE) END",
        "TIMESTAMP": f"TRY_CAST({column} AS TIMESTAMP)",
    }
    held = connection.from_arrow(table)
    counts = ", ".join(f"count({sql})" for sql in (column, *as_kind.values()))
    ((there, *passed, missing),) = held.aggregate(f"{counts}, count(*) FILTER ({_missing(column)})").fetchall()
    for (kind, sql), count in zip(as_kind.items(), passed, strict=True):
        if count and count + (missing if kind in ("BIGINT", "DOUBLE") else 0) == there:
            return _with_whole_numbers(held.select(f"{sql} AS {column}").to_arrow_table())[name]
    return None


def _number(column: str, decimal: str) -> str:
    """SQL for a column of text as numbers; null where it holds none."""
    text = f"trim({column})" if decimal == "." else f"replace(trim({column}), ',', '.')"
    return f"CASE WHEN NOT ({_missing(column)}) THEN TRY_CAST({text} AS DOUBLE) END"


def _missing(column: str) -> str:
    return f"lower(trim({column})) IN ({', '.join(map(sql_text, _MISSING))})"


def _refuse_other_than_numbers(
    connection: "duckdb.DuckDBPyConnection", path: Path, table: pa.Table, name: str, decimal: str
) -> None:
    """
    Raises
    ------
    ValueError
        A value of the column is no number; the message names the first of them.
    """
    column = sql_name(name)
    is_other = f"{_number(column, decimal)} IS NULL AND NOT ({_missing(column)})"
    flags = connection.from_arrow(table).select(f"coalesce({is_other}, false) AS other").to_arrow_table()["other"]
    others = [index for index, other in enumerate(flags.to_pylist()) if other]
    if others:
        value = table[name][others[0]].as_py()
        more = f" ({len(others)} such rows)" if len(others) > 1 else ""
        how = f"; {dialect_of(path).words}" if path.suffix.lower() in DELIMITED else ""
        raise ValueError(
            f"{path}, row {line_number(path, others[0])}: column {name}: {value!r} is no number{more}{how}"
        )


@overload
def find_table(folder: Path, stem: str) -> Path: ...


@overload
def find_table(folder: Path, stem: str, *, optional: bool) -> Path | None: ...


def find_table(folder: Path, stem: str, *, optional: bool = False) -> Path | None:
    """The one file `stem`.csv or `stem`.parquet (…) of a folder; None where an optional one is not there.

    Raises
    ------
    ValueError
        It is missing, or there is more than one.
    """
    found = [folder / f"{stem}{suffix}" for suffix in _SUFFIXES if (folder / f"{stem}{suffix}").is_file()]
    if optional and not found:
        return None
    if len(found) != 1:
        what = "is missing" if not found else f"is there {len(found)} times ({', '.join(p.name for p in found)})"
        raise ValueError(f"{folder}: the table {stem!r} {what}; give one of {stem}.csv, {stem}.parquet")
    return found[0]


def select(table: pa.Table, predicate: str) -> pa.Table:
    """Rows of an in-memory table for which a DuckDB predicate holds; it cannot access files.

    Raises
    ------
    ValueError
        The predicate is not one that DuckDB can evaluate on this table.
    """
    with duckdb.connect(config={"enable_external_access": False, "lock_configuration": True}) as connection:
        try:
            return connection.from_arrow(table).filter(predicate).to_arrow_table()
        except duckdb.Error as error:
            columns, said = ", ".join(table.column_names), first_line(error) + _nearly_numbers(table)
            raise ValueError(f"group:{predicate}: no predicate over the columns {columns}: {said}") from error


def _nearly_numbers(table: pa.Table) -> str:
    """Which columns of text would be numbers, but for a few values."""
    found = []
    for name in table.column_names:
        if not pa.types.is_string(table[name].type):
            continue
        values = [value for value in table[name].to_pylist() if value is not None]
        others = [value for value in values if not _NUMBER.fullmatch(value.strip())]
        if 0 < len(others) <= len(values) / 4:
            found.append(f"; {name} is text because of {others[0]!r}")
    return "".join(found)
