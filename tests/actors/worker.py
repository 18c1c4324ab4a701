"""An actor class for tests of the pool: in a module of its own, so that Ray's workers can import it."""

import asyncio
import os
import sys
import time
from pathlib import Path


class Worker:
    """Does as it is told, and leaves a line in a file each time it runs."""

    def __init__(self, log: str = "/dev/null", comes_up: bool | str = True) -> None:
        self._log = Path(log)
        self._comes_up = comes_up

    def setup(self) -> None:
        if self._comes_up == "never":
            self._count()
            raise ValueError("no weights can be had")
        if not self._comes_up:
            raise RuntimeError("the weights are not there")

    def pid(self) -> int:
        return os.getpid()

    def gpu(self) -> str | None:
        return os.environ.get("CUDA_VISIBLE_DEVICES")

    def threads(self) -> str | None:
        return os.environ.get("OMP_NUM_THREADS")

    def environment(self) -> str:
        return sys.prefix

    def from_elsewhere(self) -> int:
        import only_in_the_other  # pyright: ignore[reportMissingImports]

        return only_in_the_other.ANSWER

    def nap(self, seconds: float) -> tuple[int, float, float]:
        began = time.time()
        time.sleep(seconds)
        return os.getpid(), began, time.time()

    def double(self, value: int) -> int:
        return 2 * value

    def err(self, times: int) -> str:
        """Raises the first `times` times that any worker is asked."""
        if self._count() <= times:
            raise ZeroDivisionError("asked to")
        return "done"

    def time_out(self) -> None:
        raise TimeoutError("a service of its own did not answer")

    def die(self, times: int) -> str:
        if self._count() <= times:
            os._exit(1)
        return "done"

    def hang(self, times: int) -> str:
        if self._count() <= times:
            time.sleep(3600)
        return "done"

    def _count(self) -> int:
        with self._log.open("a") as log:
            log.write(f"{os.getpid()}\n")
        return len(self._log.read_text().splitlines())


class AsyncWorker:
    """Works on all that it is asked at once."""

    def __init__(self, log: str = "/dev/null") -> None:
        """There is no log of it."""

    def setup(self) -> None:
        """Nothing to load."""

    async def nap(self, seconds: float) -> int:
        await asyncio.sleep(seconds)
        return os.getpid()

    async def double(self, value: int) -> int:
        await asyncio.sleep(0.02)
        return 2 * value

    async def die(self, times: int) -> None:
        os._exit(times)
