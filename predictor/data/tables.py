"""Tables that users give, read by DuckDB: CSV, Parquet or JSON lines, by the file's ending."""

import glob
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import overload

import duckdb
import pyarrow as pa

from predictor.error_messages import first_line

_READERS = {
    ".csv": "read_csv($path, header = true, delim = ',', quote = '\"', skip = 0, sample_size = {sample}{types})",
    ".tsv": "read_csv($path, header = true, delim = '\t', quote = '\"', skip = 0, sample_size = {sample}{types})",
    ".parquet": "read_parquet($path)",
    ".jsonl": "read_json($path, format = 'newline_delimited')",
    ".ndjson": "read_json($path, format = 'newline_delimited')",
}

_FEW, _ALL = 1000, -1
"""Rows from which DuckDB infers the columns' types."""

_TEXT = frozenset({"user_id", "image_id", "prompt_id", "prompt", "file", "caption", "split"})
"""Columns that are always text: 007 is a name."""


def read_table(path: Path, *, required: Sequence[str] = (), text: Collection[str] = ()) -> pa.Table:
    """Read one table, in the order of its rows.

    Parameters
    ----------
    text
        Further columns that are always text, so that 007 stays 007.

    Raises
    ------
    ValueError
        The file is missing, cannot be read as a table, or lacks a required column.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path}: not a table that can be read; use one of {', '.join(sorted(_READERS))}")
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    literal = {"path": glob.escape(str(path))}  # DuckDB would take * and ? in a name for a pattern
    with duckdb.connect() as connection:
        try:
            columns = connection.sql(f"FROM {reader.format(sample=_FEW, types='')}", params=literal).columns
            names = [name for name in columns if name in _TEXT or name in text]
            types = ", ".join(_quoted(name, "'") + ": 'VARCHAR'" for name in names)
            sample = _ALL if len(names) < len(columns) else _FEW  # nothing to find out where all is text
            query = f"FROM {reader.format(sample=sample, types=f', types = {{{types}}}' if names else '')}"
            if names:  # Parquet and JSON lines have types of their own
                casts = ", ".join(f"{_quoted(name)}::VARCHAR AS {_quoted(name)}" for name in names)
                query = f"SELECT * REPLACE ({casts}) {query}"
            table = connection.sql(query, params=literal).to_arrow_table()
        except duckdb.Error as error:
            hint = "; a field that holds a comma has to be quoted" if path.suffix.lower() == ".csv" else ""
            raise ValueError(f"{path}: cannot be read as a table: {first_line(error)}{hint}") from error
    missing = [name for name in required if name not in table.column_names]
    if missing:
        raise ValueError(f"{path}: no column {', '.join(missing)}; the file has {', '.join(table.column_names)}")
    return table


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
    found = [folder / f"{stem}{suffix}" for suffix in _READERS if (folder / f"{stem}{suffix}").is_file()]
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
            columns = ", ".join(table.column_names)
            raise ValueError(
                f"group:{predicate}: no predicate over the columns {columns}: {first_line(error)}"
            ) from error


def _quoted(name: str, mark: str = '"') -> str:
    return mark + name.replace(mark, 2 * mark) + mark
