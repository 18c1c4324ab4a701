"""The table of choices: which images a person was shown, which one they chose, and maybe which was the worst.

One image shown is a like where it was chosen, and a dislike where it was not. Two are a pair, and a tie where nothing
was chosen. Of more, the chosen one is the best; where nothing was chosen there has to be a worst one. In CSV the images
shown are joined by spaces, or a list such as ["a", "b"]; Parquet and JSON lines have lists. All faults of a table are
told together.
"""

import ast
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from predictor.data.delimited import DELIMITED
from predictor.data.tables import line_number, read_table

_FAULTS_TOLD = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceRow:
    """One row: the images shown, the chosen one and the worst, by what the table calls them."""

    row: int
    """Its line in a CSV file, its number otherwise."""
    user: str
    shown: tuple[str, ...]
    chosen: str | None
    worst: str | None
    split: str | None


def read_choices(file: Path, *, user: str | None = None) -> list[ChoiceRow]:
    """Read a table with the columns shown and chosen, and optionally worst and split.

    Parameters
    ----------
    user
        Whose choices they are; None where the table has a column user_id.

    Raises
    ------
    ValueError
        A column is missing, or rows are faulty.
    """
    required = ["shown", "chosen"] if user is not None else ["user_id", "shown", "chosen"]
    table = read_table(file, required=required, text=() if _has_lists(file) else ("shown", "chosen", "worst"))
    rows: list[ChoiceRow] = []
    faults: list[str] = []
    for index, row in enumerate(table.to_pylist()):
        number = line_number(file, index)
        shown = _names(row["shown"])
        chosen, worst = _name(row["chosen"]), _name(row.get("worst"))
        if fault := _fault(shown, chosen, worst):
            faults.append(f"row {number}: {fault}")
        owner = user if user is not None else _name(row["user_id"])
        if owner is None:
            faults.append(f"row {number}: user_id is empty")
        rows.append(
            ChoiceRow(
                row=number, user=owner or "", shown=shown, chosen=chosen, worst=worst, split=_name(row.get("split"))
            )
        )
    if not rows:
        raise ValueError(f"{file}: has no choice; give at least one row of shown,chosen")
    raise_faults(file, faults)
    return rows


def raise_faults(file: Path, faults: Iterable[str]) -> None:
    """One error for all faults of a table, the first few of them in full.

    Raises
    ------
    ValueError
        There is a fault.
    """
    found = list(faults)
    if found:
        more = f"; and {len(found) - _FAULTS_TOLD} more" if len(found) > _FAULTS_TOLD else ""
        raise ValueError(f"{file}: {'; '.join(found[:_FAULTS_TOLD])}{more}")


def resolve_images(
    file: Path, rows: Iterable[ChoiceRow], index_of: Callable[[str], int | None], *, remedy: str
) -> list[tuple]:
    """Each row as (row, shown, chosen, worst), with the images' indices in place of their names.

    Parameters
    ----------
    index_of
        The index of the image of a name; None: there is no such image.
    remedy
        What to do about such a name; it ends the error.

    Raises
    ------
    ValueError
        There is no image of some of the names.
    """
    found, faults = [], []
    for row in rows:
        indices = {name: index_of(name) for name in row.shown}
        faults += [f"row {row.row}: no such image {name!r} ({remedy})" for name, at in indices.items() if at is None]
        ends = (None if name is None else indices[name] for name in (row.chosen, row.worst))
        found.append((row, tuple(indices.values()), *ends))
    raise_faults(file, faults)
    return found


def _has_lists(file: Path) -> bool:
    return file.suffix.lower() not in DELIMITED


def _names(cell: Any) -> tuple[str, ...]:
    if cell is None:
        return ()
    return tuple(map(str, cell if isinstance(cell, list) else _listed(str(cell).strip())))


def _listed(text: str) -> Sequence[object]:
    """The names in a cell of a CSV: joined by spaces, or the list as JSON or Python write it."""
    if text.startswith("[") and text.endswith("]"):
        with suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # all that it may raise
            return ast.literal_eval(text)
    return text.split()


def _name(cell: Any) -> str | None:
    text = None if cell is None else str(cell).strip()
    return text or None


def _fault(shown: tuple[str, ...], chosen: str | None, worst: str | None) -> str | None:
    if not shown:
        return "no image was shown"
    if len(set(shown)) < len(shown):
        return "an image is shown twice"
    for what, name in (("chosen", chosen), ("worst", worst)):
        if name is not None and name not in shown:
            return f"{what} is {name!r}, which was not shown"
    if chosen is not None and chosen == worst:
        return f"{chosen!r} is both chosen and the worst"
    if len(shown) == 1 and worst is not None:
        return "the worst of a single image; leave chosen and worst empty for a dislike"
    if len(shown) > 2 and chosen is None and worst is None:
        return f"nothing was chosen of {len(shown)} images; name the chosen one or the worst, or drop the row"
    return None
