"""Progress of a command's stages on standard error: bars on a terminal, plain lines in a log.

Rich is imported where it draws: whoever only reports progress imports `Progress` and does without it.
"""

import re
import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Of C0 and C1 all but tab and line feed, and those that turn the direction of writing."""


class StageProgress:
    """Progress of named stages of known length. A call reports how much of a stage is done."""

    def __init__(self, console: "Console") -> None:
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        self._console = console
        self._bar = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._stages: dict[str, TaskID] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self._stages:
            self._stages[what] = self._bar.add_task(what, total=total)
            self._bar.start()
        self._bar.update(self._stages[what], completed=done)
        if done == total and not self._console.is_terminal:
            self._console.print(f"{what}: {done}/{total}")

    def __enter__(self) -> "StageProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def stderr_console() -> "Console":
    """Standard error, for everything but results; without line breaks in a log."""
    from rich.console import Console

    class PlainConsole(Console):
        """Shows control characters of prompts, file names and services as codes: none reaches the terminal."""

        def print(self, *objects: Any, **options: Any) -> None:
            super().print(*(_visible(what) if isinstance(what, str) else what for what in objects), **options)

    return PlainConsole(file=sys.stderr, soft_wrap=True, highlight=False, emoji=False)


def _visible(text: str) -> str:
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
