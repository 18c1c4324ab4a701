"""Progress of a command's stages on standard error: bars on a terminal, plain lines in a log."""

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class StageProgress:
    """Progress of named stages of known length. A call reports how much of a stage is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
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


def stderr_console() -> Console:
    """Standard error, for everything but results; without line breaks in a log."""
    return Console(file=sys.stderr, soft_wrap=True, highlight=False)
