"""Delimited text files as tables of text, in whatever way the spreadsheets of all countries save CSV.

How a file is written is found in its first line and its first bytes, so that nothing is guessed from values. A file
whose lines end in different ways is read as if all ended alike. What is wrong with a row is said of that row, with the
encoding and the delimiter by which it was read.
"""

import csv
import glob
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

DELIMITED = (".csv", ".tsv", ".txt")
_DELIMITERS = ",;\t|"
UTF16 = (b"\xff\xfe", b"\xfe\xff")
_DECIMAL_COMMA = re.compile(r"(?:^|;)\s*-?\d+,\d+\s*(?:;|$)", re.MULTILINE)
_SAMPLE = 65_536
_CHUNK = 2**24


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a delimited file is written."""

    names: tuple[str, ...]
    """Of its columns, without the spaces around them."""
    delimiter: str
    encoding: str
    """Python's name."""
    decimal: str
    """What stands before the decimals of a number: a comma only where a semicolon stands between fields."""
    skip: int
    """Lines before the names of the columns: `sep=;` is one."""

    @property
    def words(self) -> str:
        """How the file was read, for messages."""
        encoding = self.encoding.removesuffix("-sig").upper()
        mark = "tabs" if self.delimiter == "\t" else repr(self.delimiter)
        return f"read as {encoding} with {mark} between fields"

    @property
    def options(self) -> str:
        """For DuckDB's `read_csv`."""
        encoding = self.encoding.removesuffix("-sig")
        return f"header = true, quote = '\"', delim = '{self.delimiter}', encoding = '{encoding}', skip = {self.skip}"


def dialect_of(path: Path) -> Dialect:
    """The dialect of a file.

    Raises
    ------
    ValueError
        It is neither UTF-8 nor UTF-16, is empty, or names a column twice.
    """
    encoding = encoding_of(path)
    try:
        with path.open(encoding=encoding, newline="") as file:
            first = file.readline()
            named = named_delimiter(first)
            delimiter = named or delimiter_of(first)
            if named is None:
                file.seek(0)
            names = next(csv.reader(file, delimiter=delimiter), [])
            sample = file.read(_SAMPLE) if delimiter == ";" else ""
    except UnicodeError as error:
        raise ValueError(f"{path}: cannot be read as a table: {undecodable(path)}; save it as CSV UTF-8") from error
    except csv.Error as error:
        raise ValueError(f"{path}: cannot be read as a table: {error}") from error
    if not names:
        raise ValueError(f"{path}: is empty; the first line has to name the columns")
    trimmed = names_of_columns(names, path)
    decimal = "," if _DECIMAL_COMMA.search(sample) else "."
    return Dialect(
        names=tuple(trimmed), delimiter=delimiter, encoding=encoding, decimal=decimal, skip=int(named is not None)
    )


def text_table(connection: "duckdb.DuckDBPyConnection", path: Path, dialect: Dialect) -> pa.Table:
    """Every field of a file as text, in the order of its rows; an empty one is null.

    Raises
    ------
    ValueError
        A row has more or fewer fields than the header, an open quote, or bytes that are no text.
    """
    columns = ", ".join(f"{sql_text(name)}: 'VARCHAR'" for name in dialect.names)
    reader = f"read_csv($path, auto_detect = false, columns = {{{columns}}}, escape = '\"', "
    try:
        with _with_uniform_ends(path, dialect) as file:
            found = connection.sql(f"FROM {reader}{dialect.options})", params={"path": glob.escape(str(file))})
            return found.to_arrow_table()
    except (duckdb.FatalException, duckdb.InternalException):  # the database's own: for whoever opened it
        raise
    except duckdb.Error as error:
        raise ValueError(f"{path}: cannot be read as a table: {_fault(path, str(error), dialect)}") from error


def encoding_of(path: Path) -> str:
    """Python's name of a text file's encoding: UTF-16 where it begins with the mark for that, or else UTF-8."""
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in UTF16 else "utf-8-sig"


def undecodable(path: Path) -> str:
    """What is wrong with a text file that has bytes which are no text, and in which line they are."""
    encoding = encoding_of(path)
    content = path.read_bytes()
    try:
        content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].decode(encoding, "replace").count("\n") + 1
        wrong = content[error.start : error.end].hex(" ")
        return f"not {encoding.removesuffix('-sig').upper()} in line {line} (byte {error.start}: {wrong})"
    return "its bytes are no text"


@contextmanager
def _with_uniform_ends(path: Path, dialect: Dialect) -> Iterator[Path]:
    """The file, or a copy of it whose lines all end alike."""
    if dialect.encoding == "utf-16" or _kinds_of_ends(path) < 2:
        yield path
        return
    with tempfile.NamedTemporaryFile(suffix=path.suffix) as copy:
        for chunk in _chunks(path):
            copy.write(chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))
        copy.flush()
        yield Path(copy.name)


def _kinds_of_ends(path: Path) -> int:
    """In how many of the three ways lines end."""
    windows = unix = mac = 0
    for chunk in _chunks(path):
        both = chunk.count(b"\r\n")
        windows, unix, mac = windows + both, unix + chunk.count(b"\n") - both, mac + chunk.count(b"\r") - both
    return sum(map(bool, (windows, unix, mac)))


def _chunks(path: Path) -> Iterator[bytes]:
    """A file piece by piece, none of which ends within a line's end."""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk + file.read(1) if chunk.endswith(b"\r") else chunk


_FAULT = re.compile(r"CSV Error on Line: (\d+)\nOriginal Line: (.*?)\n\s*(\S.*)")
_FIELDS = re.compile(r"Expected Number of Columns: (\d+) Found: (\d+)")


def _fault(path: Path, said: str, dialect: Dialect) -> str:
    """DuckDB's error in one line, with the row that it is about."""
    found = _FAULT.search(said)
    if found is None:
        return f"{said.strip().splitlines()[0]} ({dialect.words}); save it as CSV UTF-8"
    line, content, reason = found.groups()
    where = f"row {line} ({content[:60]!r}, {dialect.words})"
    if fields := _FIELDS.search(said):
        wanted, there = fields.groups()
        return (
            f"{where} has {there} fields where the header has {wanted}; "
            "a field that holds the delimiter has to be quoted"
        )
    problem = said.partition(content)[2].partition("Possible ")[0].lower()
    if "unicode" in problem:
        return f"{undecodable(path)}; save it as CSV UTF-8"
    if "quote" in problem:
        return f"{where} opens a quote that is not closed, or closes one within a field; write quotes in a field twice"
    return f"{where}: {reason}"


def named_delimiter(line: str) -> str | None:
    """The delimiter that a spreadsheet names in a line before the header, such as `sep=;`; None in any other line."""
    said = line.strip('\r\n "').lower()
    return said[-1] if said.startswith("sep=") and len(said) == 5 else None


def delimiter_of(text: str) -> str:
    """The mark that stands most often between the fields of the first line.

    Raises
    ------
    csv.Error
        The line has a field that is longer than a field can be.
    """
    first = re.split(r"[\r\n]", text, maxsplit=1)[0]
    return max(_DELIMITERS, key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))


def names_of_columns(header: Sequence[str], path: Path) -> list[str]:
    """The names in a header, without the spaces around them.

    Raises
    ------
    ValueError
        Two are the same but for case.
    """
    trimmed = [name.strip() or f"column {number}" for number, name in enumerate(header, 1)]
    folded = [name.lower() for name in trimmed]
    twice = sorted({name for name in trimmed if folded.count(name.lower()) > 1})
    if twice:
        raise ValueError(f"{path}: two columns are called {twice[0]!r}; which one counts? Rename or leave out one")
    return trimmed


def sql_name(name: str) -> str:
    """A name as DuckDB reads it, whatever characters it holds."""
    return '"' + name.replace('"', '""') + '"'


def sql_text(text: str) -> str:
    """A text as DuckDB reads it."""
    return "'" + text.replace("'", "''") + "'"
