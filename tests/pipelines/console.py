"""steer-batch in a process of its own, and what becomes of its processes."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def command(*arguments: object) -> list[str]:
    """The installed console script, as a user would type it."""
    return [str(Path(sys.executable).parent / "steer-batch"), *map(str, arguments)]


def small(checkpoint: Path, prompts: Path, out: Path, users: str = "all") -> tuple[object, ...]:
    """A run of a few seconds: 4 users x 2 prompts, at most 2 iterations of 4 candidates."""
    size = ("--candidates", 4, "--iterations", 2, "--set", "renderer.size=64")
    actors = ("--set", "renderer.actors=1", "--set", "scorer.actors=1")
    return ("--users", users, "--prompts", prompts, "--predictor", checkpoint, "--out", out, *size, *actors)


def environment() -> dict[str, str]:
    """Without what would change the run: a cluster's address, colours, the width of a terminal."""
    return {**{k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}, "NO_COLOR": "1", "TERM": "dumb"}


def core_seconds(*arguments: object) -> float:
    """User and system time of a command that has to succeed: the same on a machine that has more to do."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(list(map(str, arguments)), check=True, capture_output=True, env=environment())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def journal_lines(run: Path) -> int:
    journal = run / "journal.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else -1


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes], timeout_s: float = 300) -> None:
    """Wait until the condition holds, while the process is still at work; the limit is for one that never will."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.stderr.read().decode() if process.stderr else "ended"
        assert time.monotonic() < deadline, "the run did not come that far in time"
        time.sleep(0.02)


def descendants(pid: int) -> list[tuple[int, str]]:
    """Process id and title of all processes that a process has started, and theirs."""
    parents: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(status.parent.name))
    found, todo = [], [pid]
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return [(child, Path(f"/proc/{child}/cmdline").read_text()) for child in found if alive(child)]


def peak_mb(pid: int | str = "self") -> float:
    """Of the memory that a process has held (VmHWM); 0 of one that has just ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
    except OSError:
        return 0.0
    kilobytes = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")]
    return kilobytes[0] / 1024 if kilobytes else 0.0


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
