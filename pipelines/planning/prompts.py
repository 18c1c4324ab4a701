"""Prompts files: text with one prompt per line, or a table with ids and metadata."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from predictor.data.delimited import encoding_of, undecodable
from predictor.data.profiles import as_text
from predictor.data.tables import read_table

_NAME_A_FILE = "name a text file with one prompt per line, or a table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One base prompt. `metadata` are further columns of its table, such as content or style."""

    id: str
    text: str
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_prompts(path: Path) -> list[Prompt]:
    """Read a prompts file: text (blank lines and lines starting with # are skipped), CSV, Parquet or JSON lines.

    Raises
    ------
    ValueError
        The file is missing, empty, or neither UTF-8 nor UTF-16, or an id is there twice, empty or holds a slash.
    """
    try:
        is_there = path.is_file()
    except OSError as error:  # a long prompt, where a file should be named
        raise ValueError(f"{str(path)[:60]}…: {error.strerror}; {_NAME_A_FILE}") from error
    if not is_there:
        raise ValueError(f"{path}: no such prompts file; {_NAME_A_FILE}")
    is_text = path.suffix.lower() in ("", ".txt", ".md", ".prompts")
    prompts = _from_text(path) if is_text else _from_table(path)
    if not prompts:
        raise ValueError(f"{path}: holds no prompt; write one a line (blank lines and # comments do not count)")
    seen: set[str] = set()
    for prompt in prompts:
        if not prompt.id or "/" in prompt.id:
            raise ValueError(f"{path}: prompt_id must be a name without slashes, got {prompt.id!r}")
        if prompt.id in seen:
            raise ValueError(f"{path}: prompt_id {prompt.id!r} is there twice; ids must be unique")
        if not prompt.text:
            raise ValueError(f"{path}: prompt {prompt.id!r} is empty; write what to draw or drop the row")
        seen.add(prompt.id)
    return prompts


def numbered(texts: Sequence[str]) -> list[Prompt]:
    """Prompts with the ids p01, p02, …, in the order of their texts."""
    return [Prompt(id=f"p{number:02d}", text=text) for number, text in enumerate(texts, start=1)]


def prompts_of(texts: Sequence[str]) -> list[Prompt]:
    """Prompts that are given as texts instead of in a file.

    Raises
    ------
    ValueError
        There is none, or one is empty.
    """
    folded = [" ".join(text.split()) if isinstance(text, str) else "" for text in texts]
    if not folded or not all(folded):
        raise ValueError(f"prompts must be texts that say what to draw, got {list(texts)!r}")
    return numbered(folded)


def _from_text(path: Path) -> list[Prompt]:
    try:
        lines = path.read_text(encoding_of(path)).split("\n")
    except UnicodeError as error:
        raise ValueError(f"{path}: {undecodable(path)}; save it as UTF-8 text") from error
    texts = [" ".join(line.split()) for line in lines]
    return numbered([text for text in texts if text and not text.startswith("#")])


def _from_table(path: Path) -> list[Prompt]:
    prompts = []
    for number, row in enumerate(read_table(path, required=["prompt"]).to_pylist(), start=1):
        text, prompt_id = row.pop("prompt"), row.pop("prompt_id", f"p{number:02d}")
        told = {name: as_text(value) for name, value in row.items() if value is not None}
        metadata = {name: value for name, value in told.items() if value}
        text = " ".join((text or "").split())
        prompts.append(Prompt(id=str(prompt_id if prompt_id is not None else ""), text=text, metadata=metadata))
    return prompts
