"""Typed columns for the users' and images' tables, from cells of CSV (text), JSON and Parquet (any type)."""

import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

_TEXT = frozenset({"prompt", "prompt_id", "caption"})
"""Columns that are always text; ids are not written by this module."""

_WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})")
_DECIMAL = re.compile(r"-?(0|[1-9]\d{0,17})\.\d+")


def column(name: str, cells: Sequence[Any]) -> pa.Array:
    """A column of the narrowest type that fits every cell: Boolean, whole number, decimal, text. 007 is text."""
    present = [cell for cell in cells if cell is not None]
    if present and name not in _TEXT:
        if all(isinstance(cell, bool) for cell in present):
            return pa.array(cells, pa.bool_())
        numbers = [None if cell is None else _number(cell) for cell in cells]
        if numbers.count(None) == len(cells) - len(present):
            whole = all(number is None or float(number).is_integer() for number in numbers)
            make, kind = (int, pa.int64()) if whole else (float, pa.float64())
            return pa.array([None if number is None else make(number) for number in numbers], kind)
    return pa.array([None if cell is None else str(cell) for cell in cells], pa.string())


def _number(cell: object) -> int | float | None:
    if isinstance(cell, str):
        if _WHOLE.fullmatch(cell):
            return int(cell)
        return float(cell) if _DECIMAL.fullmatch(cell) else None
    number = cell if isinstance(cell, int | float) and not isinstance(cell, bool) else None
    return number if number is None or abs(number) < 2**63 else None
