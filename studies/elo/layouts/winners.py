"""What a table writes for a winner, as left, right, tie or both_bad; and names that are nearly equal."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute

from studies.elo.votes import OUTCOMES

pc: Any = pyarrow.compute  # its functions are made when it is imported, so type checkers don't know them

OUT = "out"
"""What `--values` maps a winner to whose votes are to be left out."""

_LEFT = "a, first, model_a, model a, model1, model_1, image_a, image a, image1, image_1, image 1, option a, response a"
_RIGHT = (
    "b, second, model_b, model b, model2, model_2, image_b, image b, image2, image_2, image 2, option b, response b"
)
_TIE = "draw, equal, same, no preference, both good, tie (bothgood), bothgood"
_BOTH_BAD = "tie (bothbad), tie(bothbad), bothbad, both bad, both are bad"
WORDS: Mapping[str, str] = {
    **{word: word for word in OUTCOMES},
    **dict.fromkeys(_LEFT.split(", "), "left"),
    **dict.fromkeys(_RIGHT.split(", "), "right"),
    **dict.fromkeys(_TIE.split(", "), "tie"),
    **dict.fromkeys(_BOTH_BAD.split(", "), "both_bad"),
}
"""What known layouts write, in lower case."""
SIDES = (("0", "1"), ("1", "2"), ("f", "j"), ("arrowleft", "arrowright"))
"""Numbers and keys that are left and right where a known layout has both, and no other word."""


def with_outcomes(table: pa.Table, asked: Mapping[str, str], *, known: bool) -> tuple[pa.Table, list[str]]:
    """The table with `winner` as one of `OUTCOMES`, `OUT`, or as it was, where that is none of them.

    Parameters
    ----------
    table
        With text in `left`, `right` and `winner`.
    asked
        What `--values` says.
    known
        Whether the layout is a known one, whose words may be those of `WORDS` and `SIDES`.

    Raises
    ------
    ValueError
        `asked` has a word that no row has.
    """
    left, right = (pc.cast(table.column(side), pa.large_string()) for side in ("left", "right"))
    coded = pc.cast(table.column("winner"), pa.large_string()).combine_chunks().dictionary_encode()
    words = coded.dictionary.to_pylist()
    unknown = [word for word in asked if word not in words]
    if unknown:
        raise ValueError(f"--values {unknown[0]}=…: no row has this winner; there are {_told(words)}")
    if not asked and set(words) <= set(OUTCOMES):
        return table, []
    meaning = _meanings(words, {*pc.unique(left).to_pylist(), *pc.unique(right).to_pylist()}, asked, known=known)
    mapped = pa.array([meaning.get(word) for word in words], pa.large_string()).take(coded.indices)
    said = coded.cast(pa.large_string())
    left, right = left.combine_chunks(), right.combine_chunks()
    by_name = pc.case_when(
        pc.make_struct(pc.fill_null(pc.equal(said, left), False), pc.fill_null(pc.equal(said, right), False)),
        pa.scalar("left", pa.large_string()), pa.scalar("right", pa.large_string()), said,
    )  # fmt: skip
    found, notes = _by_near_names(pc.coalesce(mapped, by_name), left, right)
    others = {word: told for word, told in meaning.items() if word != told and word not in asked}
    if others:
        notes.insert(0, f"Winners: {', '.join(f'{word!r} is {told}' for word, told in sorted(others.items()))}.")
    return table.set_column(table.column_names.index("winner"), "winner", found), notes


def nearly_equal(names: Iterable[str | None]) -> list[list[str]]:
    """Names that differ only by case, accents, spaces and marks, together."""
    alike = defaultdict(set)
    for name in names:
        if name is not None:
            alike[_plain(name)].add(name)
    return [sorted(own) for own in alike.values() if len(own) > 1]


def _meanings(words: list[str | None], names: set[str], asked: Mapping[str, str], *, known: bool) -> dict[str, str]:
    """The outcome of each word that is one; names of conditions are none, but where `--values` says so."""
    meaning = dict(asked)
    rest = [word for word in words if word is not None and word not in asked and word not in names]
    for word in rest:
        told = WORDS.get(" ".join(word.lower().split())) if known else word if word in OUTCOMES else None
        if told is not None:
            meaning[word] = told
    keys = {word.lower().removesuffix(".0"): word for word in rest if word not in meaning and word != ""}
    fitting = [side for side in SIDES if keys and keys.keys() <= {*side}] if known else []
    if len(fitting) == 1:
        meaning |= {keys[key]: told for key, told in zip(fitting[0], ("left", "right"), strict=True) if key in keys}
    return meaning


def _by_near_names(found: pa.Array, left: pa.Array, right: pa.Array) -> tuple[pa.Array, list[str]]:
    """Winners that are nearly the name of one side, and not of the other."""
    open_ = pc.invert(pc.is_in(found, pa.array([*OUTCOMES, OUT, "", None], pa.large_string())))
    rows = pc.indices_nonzero(open_).to_pylist()
    if not rows:
        return found, []
    outcome, taken = found.to_pylist(), {}
    for row in rows:
        name, sides = outcome[row], (left[row].as_py(), right[row].as_py())
        near = [side is not None and _plain(side) == _plain(name) != "" for side in sides]
        if sum(near) == 1:
            outcome[row] = "left" if near[0] else "right"
            taken[name] = sides[0] if near[0] else sides[1]
    told = ", ".join(f"{name!r} for {side!r}" for name, side in sorted(taken.items())[:3])
    more = f" and {len(taken) - 3:,} more" if len(taken) > 3 else ""
    notes = [f"Winners that are nearly the name of one side are taken for it: {told}{more}."] if taken else []
    return pa.array(outcome, pa.large_string()), notes


def _plain(name: str) -> str:
    split = unicodedata.normalize("NFKD", name)
    return "".join(c for c in split if c.isalnum() and not unicodedata.combining(c)).casefold()


def _told(words: list[str | None]) -> str:
    return ", ".join(sorted({repr(word) for word in words if word is not None})[:8])
