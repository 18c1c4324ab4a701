"""Tables of votes in other people's layouts, brought into ours, with what was done to them in plain words.

Nothing is guessed in silence: a known layout and rows that are left out are told in notes, which end up among the
caveats of the report.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from studies.elo.votes import OUTCOMES

pc: Any = pyarrow.compute  # its functions are made when it is imported, so type checkers don't know them

COUNTS = ("left_wins", "right_wins", "ties")
"""Columns of a table that has one row a comparison, not a vote."""
OUT = "out"
"""What `--values` maps a winner to whose votes are to be left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How others call our columns, and what they write for a winner."""

    name: str
    columns: Mapping[str, str]
    values: Mapping[str, str]


LAYOUTS = (
    Layout(
        name="an arena's table",
        columns={"left": "model_a", "right": "model_b", "participant": "judge", "prompt_id": "question_id"},
        values={"model_a": "left", "model_b": "right", "tie (bothbad)": "tie"},
    ),
    Layout(
        name="a table of counted preferences",
        columns={
            "left": "model1",
            "right": "model2",
            "left_wins": "votes_image1",
            "right_wins": "votes_image2",
            "prompt_id": "prompt",
        },
        values={},
    ),
)
TEXT = tuple(dict.fromkeys(source for layout in LAYOUTS for source in layout.columns.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """A table in our columns."""

    table: pa.Table
    row: NDArray[np.int64]
    """For each of its rows, the row of the table that was given."""
    notes: tuple[str, ...]


def layout_of(names: list[str]) -> Layout | None:
    """The known layout that these columns have, if they do not have ours."""
    if "left" in names or "right" in names:
        return None
    found = [one for one in LAYOUTS if one.columns["left"] in names and one.columns["right"] in names]
    return found[0] if found else None


def bring(table: pa.Table, values: Mapping[str, str], layout: Layout | None) -> Brought:
    """Rows that are votes, in our words.

    Parameters
    ----------
    table
        With our names for its columns.
    values
        What stands for `left`, `right` and `tie`, or is to be left `out`.

    Raises
    ------
    ValueError
        A count is no number of votes, or `values` names a winner that no row has.
    """
    notes = [f"Read as {layout.name}: {_told(layout.columns, table.column_names)}."] if layout else []
    row = np.arange(len(table))
    if "kind" in table.column_names:
        trial = pc.fill_null(pc.equal(_text(table.column("kind")), pa.scalar("trial")), False)
        row = row[trial.to_numpy()]
        if len(row) < len(table):
            notes.append(f"{len(table) - len(row):,} rows are practice or attention checks, and are left out.")
    for name in ("left", "right", "winner"):
        if name in table.column_names:
            trimmed = pc.utf8_trim_whitespace(_text(table.column(name)))
            table = table.set_column(table.column_names.index(name), name, trimmed)
    if "winner" not in table.column_names and set(COUNTS[:2]) <= set(table.column_names):
        table, row = _one_row_a_vote(table, row)
    else:
        table = table if len(row) == len(table) else table.take(pa.array(row))
        if "winner" in table.column_names:
            table, row = _winners(table, row, {**(layout.values if layout else {}), **values}, values, notes)
    notes += _near_equal(table)
    return Brought(table=table, row=row, notes=tuple(notes))


def _told(columns: Mapping[str, str], names: list[str]) -> str:
    return ", ".join(f"{ours} is {theirs}" for ours, theirs in columns.items() if ours in names)


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.large_string())


def _winners(
    table: pa.Table, row: NDArray[np.int64], values: Mapping[str, str], asked: Mapping[str, str], notes: list[str]
) -> tuple[pa.Table, NDArray[np.int64]]:
    """The winner as left, right or tie; a condition's name is the side where it stood."""
    words = table.column("winner").unique().to_pylist()
    if not asked and set(words) <= {*OUTCOMES, None}:
        return table, row
    said = table.column("winner").to_pylist()
    unknown = [name for name in asked if name not in words]
    if unknown:
        there = ", ".join(sorted({repr(value) for value in words if value is not None})[:8])
        raise ValueError(f"--values {unknown[0]}=…: no row has this winner; there are {there}")
    left, right = (table.column(side).to_pylist() if side in table.column_names else said for side in ("left", "right"))
    found, tied = [], 0
    for value, one, two in zip(said, left, right, strict=True):
        mapped = values.get(value or "", value)
        tied += mapped == "tie" and value not in ("tie", *asked)
        if mapped not in (*OUTCOMES, OUT):
            mapped = "left" if mapped == one else "right" if mapped == two else value
        found.append(mapped)
    keep = np.flatnonzero(np.array([value != OUT for value in found], bool))
    if len(keep) < len(found):
        notes.append(f"{len(found) - len(keep):,} votes are left out, as --values says.")
    if tied:
        notes.append(f"{tied:,} votes that found both bad count as ties; --values 'tie (bothbad)'=out leaves them out.")
    table = table.set_column(table.column_names.index("winner"), "winner", pa.array(found, pa.string()))
    return table.take(pa.array(keep)), row[keep]


def _one_row_a_vote(table: pa.Table, row: NDArray[np.int64]) -> tuple[pa.Table, NDArray[np.int64]]:
    """A row a vote out of a row a comparison with its counts."""
    columns = [name for name in COUNTS if name in table.column_names]
    counts = np.zeros((len(row), len(columns)), np.int64)
    for at, name in enumerate(columns):
        try:
            values = table.column(name).cast(pa.float64()).to_numpy()[row]
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ValueError(f"votes: {name} must be a number of votes: {error}") from error
        bad = ~(np.isfinite(values) & (values >= 0) & (values == np.round(values)))
        if bad.any():
            raise ValueError(f"votes: {name} must be a number of votes, 0 or more, got {values[bad][0]:g}")
        counts[:, at] = values
    origin = np.repeat(np.repeat(row, len(columns)), counts.ravel())
    winner = np.repeat(np.tile(np.array(OUTCOMES)[: len(columns)], len(row)), counts.ravel())
    return table.take(pa.array(origin)).append_column("winner", pa.array(winner.tolist(), pa.string())), origin


def _near_equal(table: pa.Table) -> list[str]:
    """Names of conditions that differ by case, accent or inner spaces only."""
    alike = defaultdict(set)
    for side in ("left", "right"):
        for name in table.column(side).unique().to_pylist() if side in table.column_names else ():
            plain = unicodedata.normalize("NFKD", name or "")
            alike["".join(c for c in plain if c.isalnum() and not unicodedata.combining(c)).casefold()].add(name)
    twice = [sorted(names) for names in alike.values() if len(names) > 1 and None not in names]
    return [f"Nearly equal names are taken for different conditions: {', '.join(map(repr, n))}." for n in twice]
