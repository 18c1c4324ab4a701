"""Small releases in the layouts of the real ones, with real images."""

import csv
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

WritePictures = Callable[[Path, Iterable[str]], None]
WriteCsv = Callable[..., Path]
Rows = Callable[[Path], list[tuple[str, int | None, str]]]

OF_NO_RATING = (
    "^(users|images)\\.|UserInfo|unreadable|image (missing|corrupt|is there twice)|path leaves|user is there twice"
)
"""Of a file, a user or an image; every other refusal is of one rating."""


@pytest.fixture
def write_pictures() -> WritePictures:
    """Write images of 12 pixels, each of a colour of its own, in the format that the ending names."""

    def write(folder: Path, names: Iterable[str]) -> None:
        for number, name in enumerate(names):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (12, 12), (9 * number % 256, 40, 90)).save(folder / name)

    return write


@pytest.fixture
def write_csv() -> WriteCsv:
    """Write records as a CSV file with a header, as pandas would."""

    def write(path: Path, records: list[Mapping[str, Any]], encoding: str = "utf-8") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding=encoding, newline="") as file:
            writer = csv.DictWriter(file, list(records[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(records)
        return path

    return write


@pytest.fixture
def refused() -> Rows:
    """File, line and reason of each row of a dataset's import report."""

    def rows(out: Path) -> list[tuple[str, int | None, str]]:
        report = json.loads((out / "import-report.json").read_text("utf-8"))
        assert sum(report["refused"].values()) == len(report["rows"])
        ratings = [row for row in report["rows"] if not re.search(OF_NO_RATING, f"{row['file']}: {row['reason']}")]
        assert report["ratings"]["read"] == report["ratings"]["kept"] + len(ratings)
        return [(row["file"], row["line"], row["reason"]) for row in report["rows"]]

    return rows
