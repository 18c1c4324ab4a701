"""The pages as tests read them: fenced blocks by language, commands, tables, links."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^(?P<run><!-- run -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"steer-(?:batch|predictor|study|live)\b")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block."""

    language: str
    text: str
    to_be_run: bool


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def text(self) -> str:
        return self.path.read_text("utf-8")

    def blocks(self, language: str) -> list[Block]:
        return [
            Block(language=found["language"], text=found["text"], to_be_run=found["run"] is not None)
            for found in _FENCE.finditer(self.text)
            if found["language"] == language
        ]

    @property
    def links(self) -> list[str]:
        """Targets of all links and pictures that are not on the web."""
        return [link for link in _LINK.findall(self.text) if not re.match(r"\w+:", link)]

    @property
    def anchors(self) -> set[str]:
        """What headings are called in links, by GitHub's rule."""
        words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(self.text))
        return {heading.strip().replace(" ", "-") for heading in words}

    def tables(self, first_header: str) -> dict[str, list[list[str]]]:
        """Cells of the tables whose first column has this header, by the heading that they stand under."""
        found: dict[str, list[list[str]]] = {}
        for section in re.split(r"^#+ ", self.text, flags=re.MULTILINE)[1:]:
            heading, _, body = section.partition("\n")
            rows = [
                [cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines() if line[:1] == "|"
            ]
            if rows and rows[0][0] == first_header:
                found[heading] = rows[2:]
        return found


def commands(block: Block) -> Iterator[list[str]]:
    """Every call of ours in a block of shell lines, as its words."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if (found := _COMMAND.search(line)) is None:
            continue
        call = line[found.start() :]
        if not line.startswith(("steer-", ".venv/bin/")):  # inside another command's quotes, or at its end
            call = call.partition("'")[0]
        words = shlex.split(call, comments=True)
        ends = (words.index(word) for word in (">", "|", "…") if word in words)
        yield words[: min(ends, default=len(words))]


def names(cell: str) -> list[str]:
    """The names in backticks of a cell."""
    return re.findall(r"`([^`]+)`", cell)


PAGES = [Page(path) for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))]
