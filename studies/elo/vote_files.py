"""Votes out of files and tables of any origin, with columns and words under any names."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from studies.elo.layouts.known import refuse_unknown_name
from studies.elo.layouts.raw_tables import place_in, raw_table
from studies.elo.layouts.shapes import bring
from studies.elo.layouts.winners import OUT
from studies.elo.votes import OUTCOMES, Votes

_WORDS = (*OUTCOMES, OUT)
"""What a winner of a table may be mapped to."""


def read_votes(
    path: Path,
    columns: Mapping[str, str] | None = None,
    *,
    values: Mapping[str, str] | None = None,
    controls: Sequence[str] = (),
) -> Votes:
    """Votes from a file, in any layout that `studies.elo.layouts` knows; the parameters are those of `votes_of`.

    Raises
    ------
    ValueError
        The file can't be read, lacks a column, or has rows that are no votes; the message has their lines.
    """
    table = raw_table(path)
    try:
        return votes_of(table, columns, values=values, controls=controls, place=lambda row: place_in(path, row))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def votes_of(
    table: pa.Table,
    columns: Mapping[str, str] | None = None,
    *,
    values: Mapping[str, str] | None = None,
    controls: Sequence[str] = (),
    place: Callable[[int], str] | None = None,
) -> Votes:
    """Votes of a table, in any layout that `studies.elo.layouts` knows.

    Parameters
    ----------
    columns
        Which column stands for which of ours, where the names differ and are not known:
        {"left": "model_x", "right": "model_y"}.
    values
        What stands for left, right, tie and both_bad in the column winner, and what is to be left out:
        {"model_a": "left", "model_b": "right", "tie (bothbad)": "out"}.
    controls
        Covariates, of which the table has a column for each side, such as length_left and length_right.
    place
        Says where a row (from 0) of the table stands, for messages.

    Raises
    ------
    ValueError
        A column is missing, rows are no votes, or none is left of them.
    """
    at = place or (lambda row: f"row {row + 1}")
    try:
        if unknown := [word for word in (values or {}).values() if word not in _WORDS]:
            raise ValueError(f"--values …={unknown[0]}: must be one of {', '.join(_WORDS)}")
        brought = bring(table, columns or {}, values or {}, controls)
        if len(table) and not len(brought.table):
            raise ValueError(f"none of {len(table):,} rows is a vote: {' '.join(brought.notes)}")
        votes = Votes.from_table(brought.table, controls=controls, place=lambda row: at(int(brought.row[row])))
    except ValueError as error:
        raise ValueError(str(error).removeprefix("votes: ")) from error
    return replace(votes, notes=brought.notes, sides_known=brought.sides_known)


def value_mapping(text: str) -> dict[str, str]:
    """The mapping behind --values model_a=left,'tie (bothbad)'=tie; quotes may hold a comma.

    Raises
    ------
    ValueError
        A part is no VALUE=WORD, or the word is none of left, right, tie, both_bad and out.
    """
    mapping: dict[str, str] = {}
    for part in filter(None, next(csv.reader([text.replace("'", '"')], skipinitialspace=True), [])):
        value, equals, word = (piece.strip() for piece in part.replace('"', "").rpartition("="))
        if not (value and equals) or word not in _WORDS:
            raise ValueError(f"--values {part!r}: write VALUE=WORD with one of {', '.join(_WORDS)}")
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
        raise ValueError(f"--leave-out {path}: names nobody; write one participant per line")
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
        refuse_unknown_name(name)
        mapping[name] = source
    return mapping
