"""What a table writes for a winner, as left, right, tie or both_bad; and names that are nearly equal."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa

from studies.elo.text_columns import Codes, coded, positions
from studies.elo.votes import OUTCOMES

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
        With `left`, `right` and `winner` as `text_columns.encoded` makes them.
    asked
        What `--values` says.
    known
        Whether the layout is a known one, whose words may be those of `WORDS` and `SIDES`.

    Raises
    ------
    ValueError
        `asked` has a word that no row has.
    """
    left, right, winner = (table.column(name).chunk(0) for name in ("left", "right", "winner"))
    words, at = winner.dictionary.to_pylist(), positions(winner)
    used = [words[n] for n in np.flatnonzero(np.bincount(at + 1, minlength=1)[1:])]
    unknown = [word for word in asked if word not in used]
    if unknown:
        raise ValueError(f"--values {unknown[0]}=…: no row has this winner; there are {_told(used)}")
    if not asked and set(used) <= set(OUTCOMES):
        return table, []
    names, sides = coded(left, right)
    meaning = _meanings(used, {*names}, asked, known=known)
    said = [*OUTCOMES, OUT, *words]
    mapped = np.array([*(said.index(meaning[word]) if word in meaning else -1 for word in words), -1])[at]
    place = {name: n for n, name in enumerate(names)}
    named = np.array([*(place.get(word, -2) for word in words), -3])[at]
    by_name = np.where(named == sides[0], 0, np.where(named == sides[1], 1, len(OUTCOMES) + 1 + at))
    found = np.where(mapped >= 0, mapped, by_name)
    notes = _by_near_names(found, said, names, sides)
    others = {word: told for word, told in meaning.items() if word != told and word not in asked}
    if others:
        notes.insert(0, f"Winners: {', '.join(f'{word!r} is {told}' for word, told in sorted(others.items()))}.")
    made = pa.DictionaryArray.from_arrays(pa.array(found, mask=at < 0), pa.array(said, pa.large_string()))
    return table.set_column(table.column_names.index("winner"), "winner", made), notes


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


def _by_near_names(found: Codes, said: list[str], names: tuple[str, ...], sides: list[Codes]) -> list[str]:
    """Take winners that are nearly the name of one side, and not of the other, for it; changes `found`."""
    taken: dict[str, str] = {}
    for row in np.flatnonzero(found > len(OUTCOMES)):
        word, own = said[found[row]], [names[side[row]] if side[row] >= 0 else "" for side in sides]
        near = [_plain(name) == _plain(word) != "" for name in own]
        if sum(near) == 1:
            found[row] = near.index(True)
            taken[word] = own[near.index(True)]
    told = ", ".join(f"{word!r} for {name!r}" for word, name in sorted(taken.items())[:3])
    more = f" and {len(taken) - 3:,} more" if len(taken) > 3 else ""
    return [f"Winners that are nearly the name of one side are taken for it: {told}{more}."] if taken else []


def _plain(name: str) -> str:
    split = unicodedata.normalize("NFKD", name)
    return "".join(c for c in split if c.isalnum() and not unicodedata.combining(c)).casefold()


def _told(words: list[str | None]) -> str:
    return ", ".join(sorted({repr(word) for word in words if word is not None})[:8])
