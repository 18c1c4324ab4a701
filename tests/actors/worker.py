"""An actor class for tests of the pool: in a module of its own, so that Ray's workers can import it."""

import asyncio
import os
import sys
import time
from pathlib import Path

from actors.messages import DeniedError, DisturbedError


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

    def place(self) -> str | None:
        """The placement group that it runs in."""
        from ray.util import get_current_placement_group

        group = get_current_placement_group()
        return None if group is None else group.id.hex()

    def node(self) -> str:
        import ray

        return ray.get_runtime_context().get_node_id()

    def threads(self) -> str | None:
        return os.environ.get("OMP_NUM_THREADS")

    def environment(self) -> str:
        return sys.prefix

    def from_elsewhere(self) -> int:
        import only_in_the_other

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

    def time_out(self, times: int) -> str:
        if self._count() <= times:
            raise TimeoutError("a service of its own did not answer")
        return "done"

    def disturb(self, times: int, retry_after_s: float | None = None) -> str:
        if self._count() <= times:
            raise DisturbedError("503 overloaded", retry_after_s=retry_after_s)
        return "done"

    def deny(self) -> None:
        raise DeniedError("refuses the key in A_KEY; check it")

    def run_out_of_memory(self, times: int) -> str:
        if self._count() <= times:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return "done"

    def err_and_say_where(self, times: int) -> list[str]:
        """Raises the first `times` times; else the processes that were asked."""
        if self._count() <= times:
            raise ZeroDivisionError("asked to")
        return self._log.read_text().splitlines()

    def die(self, times: int) -> str:
        if self._count() <= times:
            os._exit(1)
        return "done"

    def die_if_sick(self) -> None:
        if self._log.with_suffix(".sick").exists():
            os._exit(1)

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
