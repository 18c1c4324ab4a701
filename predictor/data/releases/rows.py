"""Records of a released file, one by one, each with its place: JSON lists, CSV, JSON lines, Parquet.

A broken row is refused with its line, and the rows after it are still read. DuckDB, which reads all other tables, can
do neither for CSV.
"""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from predictor.data.delimited import UTF16, delimiter_of, named_delimiter, names_of_columns, undecodable
from predictor.data.releases.release import Place, Reason, Release
from predictor.data.tables import read_table

Records = Iterator[tuple[Place, dict[str, Any] | None]]


def rows_of(release: Release, path: Path, name: str) -> Records:
    """The rows of a table in any format, told by the file's ending; `name` is the file's name in the report.

    A broken row is refused and yields None. If the file is damaged, the rest is refused and yields nothing.
    """
    match path.suffix.lower():
        case ".csv" | ".tsv":
            yield from _delimited(release, path, name)
        case ".jsonl" | ".ndjson":
            yield from _json_lines(release, path, name)
        case _:
            for number, row in enumerate(read_table(path).to_pylist(), start=1):
                yield Place(file=name, record=number), row


def records_of(release: Release, path: Path, name: str) -> Records:
    """The records of a file that holds one JSON list; if it is damaged, the rest is refused."""
    text, _ = text_of(path, fallback=None)
    decoder, at, line, number = json.JSONDecoder(), _skip(text, 0), 1, 0
    line += text.count("\n", 0, at)
    try:
        if text[at : at + 1] != "[":
            raise json.JSONDecodeError("a list was expected", text, at)
        after = _skip(text, at + 1)
        while text[after : after + 1] != "]":
            line, at = line + text.count("\n", at, after), after
            record, after = decoder.raw_decode(text, at)
            number += 1
            place = Place(file=name, line=line, record=number)
            if isinstance(record, dict):
                yield place, record
            else:
                release.refuse(place, Reason.NOT_A_RECORD, f"expected an object, got {str(record)[:60]!r}")
                yield place, None
            after = _skip(text, after)
            if text[after : after + 1] == ",":
                after = _skip(text, after + 1)
            elif text[after : after + 1] != "]":
                raise json.JSONDecodeError("the list does not go on or end", text, after)
        if (follows := _skip(text, after + 1)) < len(text):
            raise json.JSONDecodeError("something follows the list", text, follows)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
        where = error.lineno if isinstance(error, json.JSONDecodeError) else line
        what = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        detail = f"malformed JSON: {what}; {number} records came before, any that follow are not read"
        release.refuse(Place(file=name, line=where, record=number + 1), Reason.FILE_UNREADABLE, detail)


def text_of(path: Path, *, fallback: str | None = "latin-1") -> tuple[str, str]:
    """A file's text and its encoding: UTF-16, UTF-8 or the fallback.

    Without a fallback, bytes that are no UTF-8 become U+FFFD.

    Raises
    ------
    ValueError
        The file begins as UTF-16 does, and goes on otherwise.
    """
    content = path.read_bytes()
    if content.startswith(UTF16):
        try:
            return content.decode("utf-16"), "utf-16"
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: {undecodable(path)}; save it as UTF-8") from error
    try:
        return content.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError:
        if fallback is None:
            return content.decode("utf-8-sig", "replace"), "utf-8"
        return content.decode(fallback), fallback


def _delimited(release: Release, path: Path, name: str) -> Records:
    """Raise ValueError where a column is named twice: nothing says which one counts."""
    text, encoding = text_of(path)
    if encoding != "utf-8":
        release.notes.append(
            f"{name}: is no UTF-8, read as {encoding.upper() if 'utf' in encoding else encoding.title()}"
        )
    lines = io.StringIO(text, newline="")
    named = named_delimiter(lines.readline())
    before = 0 if named is None else 1
    if named is None:
        lines.seek(0)
    line, number = 1 + before, 0
    try:
        reader = csv.reader(lines, delimiter=named or delimiter_of(text), strict=True)
        header = names_of_columns(next(reader, []), path)
        line = before + reader.line_num + 1
        for fields in reader:
            if fields:  # a blank line is no row
                number += 1
                place = Place(file=name, line=line, record=number)
                if len(fields) == len(header):
                    yield place, dict(zip(header, fields, strict=True))
                else:
                    release.refuse(
                        place, Reason.NOT_A_RECORD, f"{len(fields)} fields where the header has {len(header)}"
                    )
                    yield place, None
            line = before + reader.line_num + 1
    except csv.Error as error:
        detail = f"malformed CSV: {error}; {number} rows came before, any that follow are not read"
        release.refuse(Place(file=name, line=line, record=number + 1), Reason.FILE_UNREADABLE, detail)


def _json_lines(release: Release, path: Path, name: str) -> Records:
    text, _ = text_of(path, fallback=None)
    number = 0
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        number += 1
        place = Place(file=name, line=line, record=number)
        try:
            row = json.loads(content)
        except (ValueError, RecursionError) as error:
            row, detail = None, f"malformed JSON: {error}"
        else:
            detail = f"expected an object, got {content[:60]!r}"
        if isinstance(row, dict):
            yield place, row
        else:
            release.refuse(place, Reason.NOT_A_RECORD, detail)
            yield place, None


def _skip(text: str, at: int) -> int:
    """The first position from `at` on that is no white space."""
    while text[at : at + 1] in (" ", "\t", "\r", "\n"):
        at += 1
    return at
