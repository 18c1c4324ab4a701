"""Files that a setting of a renderer names: read where the run is planned, and checked before any actor starts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml


def read_setting_file(
    file: Path, *, setting: str, parse: Callable[[str], Any], check: Callable[[Any], object]
) -> dict[str, Any]:
    """The content of a file, as plain values that are accepted on any machine.

    Parameters
    ----------
    setting
        That names the file.
    parse
        Makes values of its text.
    check
        Raises a ValueError where they cannot be used.

    Raises
    ------
    ValueError
        The file is missing, cannot be parsed, or cannot be used; the message says what to change.
    """
    try:
        content = parse(file.read_text("utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{setting} {file}: cannot be read: {' '.join(str(error).split())}") from error
    try:
        check(content)
    except ValueError as error:
        raise ValueError(f"{setting} {file}: {error}") from error
    return content
