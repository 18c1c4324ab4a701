"""The difference of two prompts, word by word: what a rewritten prompt adds, and what it lacks."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby
from typing import Literal

_TOKEN = re.compile(r"(\s*)([\w'’-]+|[^\w\s])")


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of words that two prompts have in common, or that one of them lacks.

    `gap` comes before it: white space, and the commas that join added words to the rest.
    """

    kind: Literal["same", "added", "removed"]
    gap: str
    text: str


def word_diff(before: str, after: str) -> list[Piece]:
    """`after` with the words it adds, and those of `before` that it lacks, in reading order.

    Words are compared casefolded. Punctuation is compared as words of its own, so that a word with a comma behind it
    is still the same word; but punctuation alone does not split a changed stretch.
    """
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    matcher = SequenceMatcher(None, [w.casefold() for _, w in old], [w.casefold() for _, w in new], autojunk=False)
    codes = matcher.get_opcodes()

    def changed(code: tuple[str, int, int, int, int]) -> bool:
        bare = not any(re.search(r"\w", word) for _, word in old[code[1] : code[2]])
        return code[0] != "equal" or (bare and code not in (codes[0], codes[-1]))

    pieces = []
    for differs, group in groupby(codes, changed):
        stretch = list(group)
        was, now = old[stretch[0][1] : stretch[-1][2]], new[stretch[0][3] : stretch[-1][4]]
        pieces += [_piece("removed", was), _piece("added", now)] if differs else [_piece("same", now)]
    return [piece for piece in pieces if piece.text]


def _piece(kind: Literal["same", "added", "removed"], tokens: Sequence[tuple[str, str]]) -> Piece:
    whole = "".join(gap + word for gap, word in tokens)
    text = whole.lstrip(" ,;") if kind == "added" else whole.lstrip()
    return Piece(kind, whole.removesuffix(text), text) if text else Piece(kind, "", whole)
