"""Forms in which models answer instead of with the numbered list that they were asked for.

    JSON        a list of texts, or of objects that hold one each, alone, in an object, or an object a line; a list that
                was cut off gives its whole texts
    a table     in markdown; its column that is named for prompts, or else the widest one
    a list      with bullets, or with letters that count on; two items at least

Each function answers None where the reply has not this form, and else the raw texts, in order, and how many lines are
none of them.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_FIELDS = ("prompt", "text", "description", "variation", "version", "content", "caption")
"""Keys and headings under which models put the text of a proposal, the likeliest first."""

_FENCE = re.compile(r"^\s*(?:```|~~~)[\w-]*\s*$")
_ROW = re.compile(r"^\s*\|(.*)\|\s*$")
_RULER = re.compile(r"^\s*\|(?:\s*:?-+:?\s*\|)+\s*$")
_BULLET = re.compile(r"^(?P<indent>\s*)(?P<mark>[-*+•·‣▪◦●○–—])\s+(?P<rest>\S.*)$")
_LETTER = re.compile(r"^(?P<indent>\s*)\(?(?P<mark>[A-Za-z])[.)]\s+(?P<rest>\S.*)$")
_FEWEST_ITEMS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The raw texts of a reply, in order; a text may have several lines."""

    texts: list[list[str]]
    other_lines: int
    cut_off: bool = False
    """The last one lacks its end, and is not among the texts."""


def in_json(text: str) -> Found | None:
    """The texts of a reply that is JSON, in a fence or between other lines."""
    lines = text.splitlines()
    begin = next((n for n, line in enumerate(lines) if line.lstrip()[:1] in ("[", "{")), None)
    if begin is None:
        return None
    body = "\n".join(lines[begin:])
    values, end, whole = _values(body)
    texts = [[found] for value in values for found in _texts_of(value)]
    if not texts:
        return None
    others = [*lines[:begin], *body[end:].splitlines()]
    surplus = sum(bool(line.strip()) and not _FENCE.match(line) for line in others) if whole else 0
    return Found(texts=texts, other_lines=surplus, cut_off=not whole)


def in_table(text: str) -> Found | None:
    """The texts of a reply that is a markdown table."""
    lines = text.splitlines()
    ruler = next((n for n, line in enumerate(lines) if n and _RULER.match(line) and _ROW.match(lines[n - 1])), None)
    if ruler is None:
        return None
    heads = [cell.lower() for cell in _cells(lines[ruler - 1])]
    rows: list[list[str]] = []
    for line in lines[ruler + 1 :]:
        if not _ROW.match(line):
            break
        rows.append([*_cells(line), *[""] * len(heads)][: len(heads)])
    named = (n for field in _FIELDS for n, head in enumerate(heads) if field in head)
    column = next(named, max(range(len(heads)), key=lambda n: sum(len(row[n]) for row in rows)))
    others = sum(bool(line.strip()) for line in lines) - len(rows)
    return Found(texts=[[row[column]] for row in rows], other_lines=others) if rows else None


def in_list(text: str) -> Found | None:
    """The texts of a reply that is a list with bullets or letters; a line without one joins its item."""
    lines = text.splitlines()
    for form in (_BULLET, _LETTER):
        found = _listed(lines, form)
        if found is not None and len(found.texts) >= _FEWEST_ITEMS:
            return found
    return None


def _listed(lines: list[str], form: re.Pattern[str]) -> Found | None:
    first = next((match for line in lines if (match := form.match(line))), None)
    if first is None:
        return None
    texts: list[list[str]] = []
    others, joins = 0, False
    for line in lines:
        match = form.match(line)
        if match and match["indent"] == first["indent"] and _continues(match["mark"], first["mark"], len(texts)):
            texts.append([match["rest"]])
            joins = True
        elif not line.strip():
            joins = False
        elif joins:
            texts[-1].append(line.strip())
        else:
            others += 1
    return Found(texts=texts, other_lines=others)


def _continues(mark: str, first: str, before: int) -> bool:
    """The same bullet again, or the letter that comes next."""
    return ord(mark) - ord(first) == before if first.isalpha() else mark == first


def _cells(line: str) -> list[str]:
    row = _ROW.match(line)
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row[1])] if row else []


def _values(body: str) -> tuple[list[Any], int, bool]:
    """The JSON values one after the other, where they end, and whether the last one was whole."""
    decoder = json.JSONDecoder(strict=False)
    values: list[Any] = []
    end = 0
    while True:
        begin = _skip(body, end, ",")
        if body[begin : begin + 1] not in ("[", "{"):
            return values, end, True
        try:
            value, end = decoder.raw_decode(body, begin)
        except ValueError:
            cut = list(_elements(decoder, body, body.find("[", begin) + 1)) if not values else []
            return values + cut, len(body) if cut else end, not cut
        values.append(value)


def _elements(decoder: json.JSONDecoder, body: str, at: int) -> Iterator[Any]:
    """The whole elements of a list that was cut off."""
    while at > 0:
        try:
            value, at = decoder.raw_decode(body, _skip(body, at, ","))
        except ValueError:
            return
        yield value


def _skip(body: str, at: int, also: str) -> int:
    while at < len(body) and (body[at].isspace() or body[at] in also):
        at += 1
    return at


def _texts_of(value: Any) -> Iterator[str]:
    """The proposals in a JSON value, however deep."""
    match value:
        case str():
            yield value
        case list():
            for element in value:
                yield from _texts_of(element)
        case dict():
            folded = {str(key).lower(): field for key, field in value.items()}
            text = next((folded[name] for name in _FIELDS if isinstance(folded.get(name), str)), None)
            if text is not None:
                yield text
            elif any(isinstance(field, list | dict) for field in value.values()):
                for field in value.values():
                    if isinstance(field, list | dict):
                        yield from _texts_of(field)
            elif all(re.search(r"\d", str(key)) for key in value):  # {"1": "…", "prompt 2": "…"}
                yield from (field for field in value.values() if isinstance(field, str))
        case _:
            return
