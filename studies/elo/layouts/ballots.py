"""Answers about several images at once, broken into pairs: rankings, and the best of several.

A ranking becomes all of its pairs, and the best of K becomes K − 1 pairs, in which it won. Where people choose and rank
by Plackett and Luce's model, i is ahead of j with odds exp(θᵢ − θⱼ) in these pairs, so that Bradley–Terry estimates the
same θ from them (Azari Soufiani, Chen, Parkes and Xia 2013, NeurIPS 26; Khetan and Oh 2016, JMLR 17). What was not
ranked comes after all that was, in no order of its own, and makes no pairs with each other.

The pairs of one answer are anything but independent. They keep its number, the *ballot*: errors are clustered by
participant and prompt, which hold all of it, or where neither is known by the ballot itself.
"""

import ast
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from studies.elo.layouts.known import holds_lists

_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".avif", ".bmp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """One answer: what was shown, and the place of each; infinite where it got none."""

    row: int
    """Of the table."""
    shown: tuple[str, ...]
    places: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Ballots as pairs, in their order; lists of equal lengths."""

    row: list[int]
    left: list[str]
    right: list[str]
    winner: list[str]
    same: int
    """Pairs that are left out, because both are the same condition."""


def pairs_of(ballots: Sequence[Ballot]) -> Pairs:
    """Every pair that a ballot says something about; the one that was listed first is on the left."""
    every = [(ballot.row, *pair) for ballot in ballots for pair in _decided(ballot)]
    told = [one for one in every if one[1] != one[2]]
    return Pairs(
        row=[row for row, *_ in told],
        left=[left for _, left, _, _ in told],
        right=[right for *_, right, _ in told],
        winner=[winner for *_, winner in told],
        same=len(every) - len(told),
    )


def listed(column: pa.ChunkedArray) -> list[list[Any] | None]:
    """A column of lists as Python's: lists, JSON or Python's text of them, or words joined by spaces; None for none."""
    spaced = not holds_lists(column)
    return [_list_of(value, spaced=spaced) for value in column.to_pylist()]


def as_name(value: Any) -> str:
    """What something that was shown is called; a record is called by its name, model, id or path."""
    if isinstance(value, dict):
        known = next((value[key] for key in ("name", "model", "id", "path", "src") if value.get(key)), value)
        return str(known).strip()
    return str(value).strip()


def numbers_from(positions: Sequence[Sequence[int]], sizes: Sequence[int]) -> int:
    """Whether positions (one list a ballot) count from 0 or from 1, where `sizes` were shown.

    Raises
    ------
    ValueError
        Positions lie outside.
    """
    every = [(position, size) for own, size in zip(positions, sizes, strict=True) for position in own]
    base = int(any(p == size for p, size in every) and not any(p == 0 for p, _ in every))
    for position, size in every:
        if not base <= position < size + base:
            raise ValueError(
                f"position {position} of {size} that were shown: must lie between {base} and {size + base - 1}"
            )
    return base


def folders_of(shown: Sequence[Sequence[str]]) -> list[tuple[tuple[str, ...], str | None]] | None:
    """Conditions and prompt of each ballot, where all that was shown are pictures in folders named by condition.

    None unless every folder of a ballot is another one; the prompt is the file's name, where that is the same in all.
    """
    found = []
    for names in shown:
        paths = [PurePosixPath(name.replace("\\", "/")) for name in names]
        folders = tuple(path.parent.name for path in paths)
        if any(path.suffix.lower() not in _PICTURES for path in paths) or "" in folders:
            return None
        if len(set(folders)) < len(folders):
            return None
        stems = {path.stem for path in paths}
        found.append((folders, stems.pop() if len(stems) == 1 else None))
    return found or None


def _decided(ballot: Ballot) -> Iterator[tuple[str, str, str]]:
    count = len(ballot.shown)
    for i in range(count):
        for j in range(i + 1, count):
            left, right = ballot.places[i], ballot.places[j]
            if math.isinf(left) and math.isinf(right):
                continue
            winner = "left" if left < right else "right" if right < left else "tie"
            yield ballot.shown[i], ballot.shown[j], winner


def _list_of(value: Any, *, spaced: bool) -> list[Any] | None:
    if value is None or isinstance(value, list):
        return value
    text = str(value).strip()
    if not text or text.lower() in ("null", "none", "nan"):
        return None
    if not text.startswith("["):
        return text.split() if spaced else None
    for read in (json.loads, ast.literal_eval, _numpys):
        try:
            found = read(text)
        except (ValueError, SyntaxError):
            continue
        return list(found) if isinstance(found, list) else None
    return None


def _numpys(text: str) -> list[int]:
    """[2 0 1], as NumPy prints an array."""
    return [int(part) for part in text.strip("[]").split()]
