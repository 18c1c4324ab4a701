"""Vote files of any origin: CSV, TSV, Parquet or JSON lines, with columns under any names."""

import csv
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from predictor.data.tables import read_table
from studies.elo.votes import COLUMNS, NAMES, OPTIONAL_NAMES, Votes

_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def read_votes(path: Path, columns: Mapping[str, str] | None = None) -> Votes:
    """Votes from a file.

    Parameters
    ----------
    columns
        Which column of the file stands for which of ours, where the names differ:
        {"left": "model_x", "right": "model_y"}.

    Raises
    ------
    ValueError
        The file can't be read, lacks a column, or has rows that are no votes; the message has their lines.
    """
    columns = dict(columns or {})
    sources = {name: columns.get(name, name) for name in COLUMNS}
    names = [sources[name] for name in (*NAMES, *OPTIONAL_NAMES)]
    table = read_table(path, text=names)
    absent = [f"{name}={source}" for name, source in columns.items() if source not in table.column_names]
    if absent:
        raise ValueError(f"{path}: --columns {','.join(absent)}: the file has {', '.join(table.column_names)}")
    found = {name: table.column(source) for name, source in sources.items() if source in table.column_names}
    missing = [name for name in NAMES if name not in found]
    if missing:
        raise ValueError(
            f"{path}: no column {', '.join(missing)}; the file has {', '.join(table.column_names)}; "
            f"say which stands for it: --columns {missing[0]}=…"
        )
    try:
        return Votes.from_table(pa.table(found), place=lambda row: _place(path, row))
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix('votes: ')}") from error


def column_mapping(text: str) -> dict[str, str]:
    """The mapping behind --columns left=model_x,right=model_y.

    Raises
    ------
    ValueError
        A part is no NAME=COLUMN, or names no column of votes.
    """
    mapping: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, source = (piece.strip() for piece in part.partition("="))
        if not (name and equals and source):
            raise ValueError(f"--columns {part!r}: write NAME=COLUMN, such as left=model_x")
        if name not in COLUMNS:
            raise ValueError(f"--columns {part!r}: no column of votes is called {name!r}; use {', '.join(COLUMNS)}")
        mapping[name] = source
    return mapping


def _place(path: Path, row: int) -> str:
    """Where a row stands in its file, as an editor counts; a quoted field may run over several lines."""
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        return f"line {row + 1}"
    if suffix not in _DELIMITERS:
        return f"row {row + 1}"
    with path.open(encoding="utf-8", newline="", errors="replace") as file:
        lines = csv.reader(file, delimiter=_DELIMITERS[suffix])
        seen, first = -1, 1
        for record in lines:
            if record and seen == row:
                return f"line {first}"
            seen += bool(record)
            first = lines.line_num + 1
    return f"row {row + 1}"
