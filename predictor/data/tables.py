"""Tables that users give, read by DuckDB: CSV, Parquet or JSON lines, by the file's ending."""

import glob
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import overload

import duckdb
import pyarrow as pa

from predictor.data.delimited import DELIMITED, Dialect, dialect_of
from predictor.error_messages import first_line

_SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet", ".tsv")

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
    if path.suffix.lower() not in _SUFFIXES:
        raise ValueError(f"{path}: not a table that can be read; use one of {', '.join(_SUFFIXES)}")
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    dialect = dialect_of(path) if path.suffix.lower() in DELIMITED else None
    with duckdb.connect() as connection:
        try:
            table = _read(connection, path, dialect, {*_TEXT, *text})
        except duckdb.Error as error:
            hint = "; a field that holds the delimiter has to be quoted" if path.suffix.lower() in DELIMITED else ""
            raise ValueError(f"{path}: cannot be read as a table: {first_line(error)}{hint}") from error
    missing = [name for name in required if name not in table.column_names]
    if missing:
        raise ValueError(f"{path}: no column {', '.join(missing)}; the file has {', '.join(table.column_names)}")
    return table


# Its type is quoted: an annotation that held it would have DuckDB's binding report leaks when Python ends.
def _read(
    connection: "duckdb.DuckDBPyConnection", path: Path, dialect: Dialect | None, text: Collection[str]
) -> pa.Table:
    literal = {"path": glob.escape(str(path))}  # DuckDB would take * and ? in a name for a pattern
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        found = connection.sql("FROM read_parquet($path)", params=literal)
        casts = ", ".join(f"{sql_name(n)}::VARCHAR AS {sql_name(n)}" for n in found.columns if n in text)
        return (found.select(f"* REPLACE ({casts})") if casts else found).to_arrow_table()
    if dialect is not None:
        names = [name for name in dialect.names if name in text]
        typed = ", ".join(f"{sql_text(name)}: 'VARCHAR'" for name in names)
        sample = _ALL if len(names) < len(dialect.names) else _FEW  # nothing to find out where all is text
        reader = (
            f"read_csv($path, {dialect.options}, decimal_separator = '{dialect.decimal}', sample_size = {sample}"
            + (f", types = {{{typed}}})" if names else ")")
        )
        return connection.sql(f"FROM {reader}", params=literal).to_arrow_table()
    reader = "read_json($path, format = 'newline_delimited', sample_size = -1{})"
    found = connection.sql(f"FROM {reader.format('')}", params=literal)
    if any(name in text for name in found.columns):  # else an id that looks like a UUID or a time is written anew
        kinds = zip(found.columns, found.types, strict=True)
        columns = ", ".join(f"{sql_text(n)}: '{'VARCHAR' if n in text else kind}'" for n, kind in kinds)
        found = connection.sql(f"FROM {reader.format(f', columns = {{{columns}}}')}", params=literal)
    return found.to_arrow_table()


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
            columns = ", ".join(table.column_names)
            raise ValueError(
                f"group:{predicate}: no predicate over the columns {columns}: {first_line(error)}"
            ) from error


def sql_name(name: str) -> str:
    """A name as DuckDB reads it, whatever characters it holds."""
    return '"' + name.replace('"', '""') + '"'


def sql_text(text: str) -> str:
    """A text as DuckDB reads it."""
    return "'" + text.replace("'", "''") + "'"
