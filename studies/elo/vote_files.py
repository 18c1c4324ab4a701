"""Vote files of any origin: CSV, TSV, Parquet or JSON lines, with columns under any names."""

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from predictor.data.tables import read_table
from studies.elo.vote_layouts import COUNTS, OUT, TEXT, bring, layout_of
from studies.elo.votes import COLUMNS, NAMES, NEEDED, OPTIONAL_NAMES, OUTCOMES, Votes

_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def read_votes(
    path: Path, columns: Mapping[str, str] | None = None, *, values: Mapping[str, str] | None = None
) -> Votes:
    """Votes from a file: one a row, or counts of them.

    Parameters
    ----------
    columns
        Which column of the file stands for which of ours, where the names differ:
        {"left": "model_x", "right": "model_y"}.
    values
        What stands for left, right and tie in the column winner, and what is to be left out:
        {"model_a": "left", "model_b": "right", "tie (bothbad)": "out"}.

    Raises
    ------
    ValueError
        The file can't be read, lacks a column, or has rows that are no votes; the message has their lines.
    """
    columns = dict(columns or {})
    every = (*COLUMNS, *COUNTS, "kind")
    names = [columns.get(name, name) for name in (*NAMES, *OPTIONAL_NAMES)]
    table = read_table(path, text=[*names, *TEXT])
    absent = [f"{name}={source}" for name, source in columns.items() if source not in table.column_names]
    if absent:
        raise ValueError(f"{path}: --columns {','.join(absent)}: the file has {', '.join(table.column_names)}")
    layout = None if {"left", "right"} & columns.keys() else layout_of(table.column_names)
    sources = {name: columns.get(name, (layout.columns if layout else {}).get(name, name)) for name in every}
    found = {name: table.column(source) for name, source in sources.items() if source in table.column_names}
    counted = set(COUNTS[:2]) <= found.keys()
    missing = [name for name in NEEDED if name not in found and not (name == "winner" and counted)]
    if missing:
        raise ValueError(
            f"{path}: no column {', '.join(missing)}; the file has {', '.join(table.column_names)}; "
            f"say which stands for it: --columns {missing[0]}=…"
        )
    try:
        brought = bring(pa.table(found), values or {}, layout)
        votes = Votes.from_table(brought.table, place=lambda row: _place(path, int(brought.row[row])))
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix('votes: ')}") from error
    return replace(votes, notes=brought.notes)


def value_mapping(text: str) -> dict[str, str]:
    """The mapping behind --values model_a=left,'tie (bothbad)'=tie; quotes may hold a comma.

    Raises
    ------
    ValueError
        A part is no VALUE=WORD, or the word is none of left, right, tie and out.
    """
    mapping: dict[str, str] = {}
    for part in filter(None, next(csv.reader([text.replace("'", '"')], skipinitialspace=True), [])):
        value, equals, word = (piece.strip() for piece in part.replace('"', "").rpartition("="))
        if not (value and equals) or word not in (*OUTCOMES, OUT):
            raise ValueError(f"--values {part!r}: write VALUE=WORD with one of {', '.join((*OUTCOMES, OUT))}")
        mapping[value] = word
    return mapping


def participants_named_in(path: Path) -> tuple[str, ...]:
    """Participants to leave out: a name a line, blank lines and such that begin with # skipped.

    Raises
    ------
    ValueError
        The file cannot be read, or names nobody.
    """
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--leave-out {path}: cannot be read as text: {error}") from error
    names = tuple(line for line in lines if line and not line.startswith("#"))
    if not names:
        raise ValueError(f"--leave-out {path}: names nobody; write one participant a line")
    return names


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
        if name not in (*COLUMNS, *COUNTS):
            known = ", ".join((*COLUMNS, *COUNTS))
            raise ValueError(f"--columns {part!r}: no column of votes is called {name!r}; use {known}")
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
