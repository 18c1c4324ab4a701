"""How a delimited text file is written, by its first line: what spreadsheets of all countries save as CSV."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DELIMITED = (".csv", ".tsv", ".txt")
_DELIMITERS = ",;\t|"
UTF16 = (b"\xff\xfe", b"\xfe\xff")
_DECIMAL_COMMA = re.compile(r"(?:^|;)\s*-?\d+,\d+\s*(?:;|$)", re.MULTILINE)
_SAMPLE = 65_536


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
    with path.open("rb") as file:
        encoding = "utf-16" if file.read(2) in UTF16 else "utf-8-sig"
    try:
        with path.open(encoding=encoding, newline="") as file:
            first = file.readline()
            said = first.strip().strip('"').lower()
            skip = int(said.startswith("sep=") and len(said) == 5)
            delimiter = said[-1] if skip else delimiter_of(first)
            if not skip:
                file.seek(0)
            names = next(csv.reader(file, delimiter=delimiter), [])
            sample = file.read(_SAMPLE) if delimiter == ";" else ""
    except UnicodeError as error:
        raise ValueError(
            f"{path}: cannot be read as a table: neither UTF-8 nor UTF-16 ({error}); save it as CSV UTF-8"
        ) from error
    except csv.Error as error:
        raise ValueError(f"{path}: cannot be read as a table: {error}") from error
    if not names:
        raise ValueError(f"{path}: is empty; the first line has to name the columns")
    trimmed = names_of_columns(names, path)
    decimal = "," if _DECIMAL_COMMA.search(sample) else "."
    return Dialect(names=tuple(trimmed), delimiter=delimiter, encoding=encoding, decimal=decimal, skip=skip)


def delimiter_of(text: str) -> str:
    """The mark that stands most often between the fields of the first line."""
    first = text.partition("\n")[0]
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
