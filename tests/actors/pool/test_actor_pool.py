"""The pool on a real Ray: who gets the work, what happens when an actor errs, hangs or dies."""

import asyncio
import re
import sysconfig
import time
import venv
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from actors.pool.accounting import TimeAccounting
from actors.pool.actor_pool import ActorPool, CallFailedError, CallRefusedError, PoolBrokenError, RoleUnavailableError
from actors.pool.cluster import put
from actors.pool.role import Role
from tests.actors.worker import AsyncWorker, Worker

T = TypeVar("T")

pytestmark = pytest.mark.usefixtures("ray")


def role(log: Path | None = None, **settings: Any) -> Role:
    worker: dict[str, Any] = {"name": "worker", "make": Worker, "arguments": {"log": str(log)} if log else {}}
    return Role(**worker | {"first_pause_s": 0.1} | settings)


def with_pool(pool_role: Role, use: Callable[[ActorPool], Awaitable[T]]) -> T:
    """Start a pool, use it, end it."""

    async def main() -> T:
        pool = ActorPool(pool_role)
        try:
            await pool.start()
            return await use(pool)
        finally:
            pool.stop()

    return asyncio.run(main())


def test_calls_are_spread_over_all_actors() -> None:
    async def use(pool: ActorPool) -> set[int]:
        naps = await asyncio.gather(*(pool.call("nap", 0.05) for _ in range(8)))
        return {answer[0] for _, answer in naps}

    assert len(with_pool(role(actors=2), use)) == 2


def test_a_busy_actor_gets_less_work() -> None:
    async def use(pool: ActorPool) -> list[int]:
        slow = asyncio.create_task(pool.call("nap", 3))
        await asyncio.sleep(0.2)
        naps = [await pool.call("nap", 0.01) for _ in range(6)]
        busy = (await slow)[1][0]
        return [answer[0] for _, answer in naps if answer[0] == busy]

    assert with_pool(role(actors=2), use) == []


def test_no_more_calls_are_on_an_actor_than_its_limit() -> None:
    async def use(pool: ActorPool) -> int:
        calls = [asyncio.create_task(pool.call("nap", 0.1)) for _ in range(9)]
        most = 0
        while not all(call.done() for call in calls):
            most = max(most, *(len(actor.calls) for actor in pool._dispatch.workers))
            await asyncio.sleep(0.005)
        return most

    assert with_pool(role(actors=1, in_flight=2), use) == 2


def test_calls_are_served_in_the_order_in_which_they_came() -> None:
    async def use(pool: ActorPool) -> list[float]:
        naps = await asyncio.gather(*(pool.call("nap", 0.01) for _ in range(12)))
        return [answer[1] for _, answer in naps]

    began = with_pool(role(actors=1, in_flight=1), use)
    assert began == sorted(began)


def test_an_answer_is_handed_on_as_a_reference() -> None:
    async def use(pool: ActorPool) -> int:
        reference, answer = await pool.call("double", 4)
        assert answer == 8
        return (await pool.call("double", reference))[1] + (await pool.call("double", put(1)))[1]

    assert with_pool(role(), use) == 18


def test_a_call_that_errs_once_is_made_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert with_pool(role(log), lambda pool: pool.call("err", 1))[1] == "done"


def test_a_call_that_errs_in_the_same_way_again_is_refused_with_its_reason_and_the_pool_goes_on(tmp_path: Path) -> None:
    async def use(pool: ActorPool) -> int:
        with pytest.raises(CallRefusedError, match=r"worker.err: ZeroDivisionError: asked to; again: ZeroDivisionErr"):
            await pool.call("err", 5)
        assert pool.replaced == 0
        return (await pool.call("double", 3))[1]

    assert with_pool(role(tmp_path / "log"), use) == 6


def test_an_actor_that_dies_is_replaced_and_its_call_made_again(tmp_path: Path) -> None:
    async def use(pool: ActorPool) -> tuple[str, int]:
        answer = (await pool.call("die", 1))[1]
        return answer, pool.replaced

    assert with_pool(role(tmp_path / "log"), use) == ("done", 1)


def test_an_actor_that_hangs_is_replaced_after_its_time(tmp_path: Path) -> None:
    async def use(pool: ActorPool) -> tuple[str, int, float]:
        began = time.monotonic()
        answer = (await pool.call("hang", 1))[1]
        return answer, pool.replaced, time.monotonic() - began

    answer, replaced, seconds = with_pool(role(tmp_path / "log", timeout_s=1), use)
    assert (answer, replaced) == ("done", 1)
    assert seconds < 20


def test_a_call_that_errs_is_made_again_on_another_actor(tmp_path: Path) -> None:
    async def use(pool: ActorPool) -> list[str]:
        return (await pool.call("err_and_say_where", 1))[1]

    assert len(set(with_pool(role(tmp_path / "log", actors=2), use))) == 2


def test_a_disturbed_call_is_made_again_however_often_and_the_others_go_on(tmp_path: Path) -> None:
    async def use(pool: ActorPool) -> tuple[str, int]:
        disturbed = asyncio.create_task(pool.call("disturb", 5))
        meanwhile = 0
        while not disturbed.done():
            await pool.call("double", 1)
            meanwhile += 1
        return disturbed.result()[1], meanwhile

    said, meanwhile = with_pool(role(tmp_path / "log", in_flight=1), use)
    assert said == "done"
    assert meanwhile > 20  # the pauses are 1.6 s at least


def test_a_pause_that_a_service_asks_for_is_kept_and_holds_up_nobody_else(tmp_path: Path) -> None:
    async def use(pool: ActorPool) -> tuple[float, float]:
        began = time.monotonic()
        disturbed = asyncio.create_task(pool.call("disturb", 1, 2.0))
        await asyncio.sleep(0.3)
        await pool.call("double", 1)
        other = time.monotonic() - began
        await disturbed
        return other, time.monotonic() - began

    other, disturbed = with_pool(role(tmp_path / "log", in_flight=1), use)
    assert other < 2 <= disturbed


def test_a_role_that_answers_nobody_for_too_long_is_unavailable_since_its_first_failure(tmp_path: Path) -> None:
    async def use(pool: ActorPool) -> list[object]:
        began = time.monotonic()
        calls = (pool.call("disturb", 10**6), pool.call("disturb", 10**6, 3600))
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert 1 <= time.monotonic() - began < 20
        with pytest.raises(RoleUnavailableError):
            await pool.call("double", 1)
        return list(errors)

    errors = with_pool(role(tmp_path / "log", give_up_after_s=1), use)
    assert all(isinstance(error, RoleUnavailableError) for error in errors)
    said = r"worker: no call has been answered since \d\d:\d\d:\d\d \(\d+ s\): DisturbedError: 503 overloaded"
    assert re.fullmatch(said, str(errors[0]))


def test_a_role_that_is_denied_is_unavailable_at_once() -> None:
    async def use(pool: ActorPool) -> None:
        with pytest.raises(RoleUnavailableError, match=r"worker: .*DeniedError: refuses the key in A_KEY; check it"):
            await pool.call("deny")

    with_pool(role(), use)


def test_an_actor_without_memory_is_replaced_and_its_call_made_again(tmp_path: Path) -> None:
    async def use(pool: ActorPool) -> tuple[str, int]:
        return (await pool.call("run_out_of_memory", 2))[1], pool.replaced

    assert with_pool(role(tmp_path / "log"), use) == ("done", 2)


def test_a_call_that_needs_more_memory_than_a_fresh_actor_has_is_refused(tmp_path: Path) -> None:
    async def use(pool: ActorPool) -> None:
        reason = "the actor ran out of memory, 3 times, alone on another actor each time"
        with pytest.raises(CallRefusedError, match=reason):
            await pool.call("run_out_of_memory", 99)

    with_pool(role(tmp_path / "log"), use)


def test_a_call_is_not_refused_by_a_role_that_breaks_whatever_it_is_asked(tmp_path: Path) -> None:
    """What was answered before kills the actors too, once the worker is sick: so the calls are not to blame."""

    async def use(pool: ActorPool) -> None:
        await pool.call("die_if_sick")
        (tmp_path / "log").with_suffix(".sick").touch()
        with pytest.raises(RoleUnavailableError, match="no call has been answered since"):
            await pool.call("die", 99)

    with_pool(role(tmp_path / "log", give_up_after_s=1), use)


def test_a_call_that_kills_each_actor_that_it_is_alone_on_is_refused_and_others_are_answered(tmp_path: Path) -> None:
    async def use(pool: ActorPool) -> list[int]:
        with pytest.raises(CallRefusedError, match="the actor died, 3 times, alone on another actor each time"):
            await pool.call("die", 99)
        return [(await pool.call("double", n))[1] for n in range(3)]

    assert with_pool(role(tmp_path / "log", actors=2), use) == [0, 2, 4]


def test_a_waiting_call_that_is_cancelled_does_not_hold_up_the_next() -> None:
    async def use(pool: ActorPool) -> int:
        running = asyncio.create_task(pool.call("nap", 0.3))
        await asyncio.sleep(0.05)
        waiting = asyncio.create_task(pool.call("nap", 0.01))
        third = asyncio.create_task(pool.call("double", 21))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await running
        return (await asyncio.wait_for(third, 10))[1]

    assert with_pool(role(in_flight=1), use) == 42


def test_a_thousand_calls_can_be_cancelled_at_once() -> None:
    async def use(pool: ActorPool) -> int:
        calls = asyncio.gather(*(pool.call("double", number) for number in range(1000)))
        await asyncio.sleep(0)
        calls.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calls
        return (await pool.call("double", 21))[1]

    assert with_pool(role(actors=1), use) == 42


def test_a_pool_whose_actors_do_not_come_up_says_why() -> None:
    async def use(pool: ActorPool) -> None:
        pytest.fail("it came up")

    broken = role(arguments={"comes_up": False})
    with pytest.raises(PoolBrokenError, match=r"worker: no actor comes up: RuntimeError: the weights are not there"):
        with_pool(broken, use)


def test_each_actor_sees_the_gpu_that_it_reserved() -> None:
    async def use(pool: ActorPool) -> list[str]:
        return [gpu for _, gpu in await asyncio.gather(pool.call("gpu"), pool.call("gpu"))]

    assert sorted(with_pool(role(actors=2, num_gpus=1), use)) == ["0", "1"]


def test_actors_use_one_thread_each() -> None:
    assert with_pool(role(), lambda pool: pool.call("threads"))[1] == "1"


@pytest.mark.slow
@pytest.mark.parametrize("make", [Worker, AsyncWorker])
def test_which_calls_fail_does_not_depend_on_the_number_of_actors(tmp_path: Path, make: type) -> None:
    async def use(pool: ActorPool) -> list[object]:
        calls = [pool.call("die", 99) if n == 3 else pool.call("double", n) for n in range(12)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        return [str(answer) if isinstance(answer, BaseException) else answer[1] for answer in answers]

    few, many = (with_pool(role(tmp_path / f"log{n}", make=make, actors=n, in_flight=4), use) for n in (1, 3))
    assert few == many
    assert few[3] == "worker.die: the actor died, 3 times, alone on another actor each time"
    assert [answer for n, answer in enumerate(few) if n != 3] == [2 * n for n in range(12) if n != 3]


@pytest.mark.slow
def test_calls_that_share_an_actor_with_one_that_kills_it_are_made_again_however_often_it_dies(tmp_path: Path) -> None:
    async def use(pool: ActorPool) -> list[object]:
        calls = [pool.call("die", 99) if n % 3 == 0 else pool.call("nap", 0.01) for n in range(6)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        return [n for n, answer in enumerate(answers) if isinstance(answer, CallFailedError)]

    assert with_pool(role(tmp_path / "log", in_flight=6), use) == [0, 3]


@pytest.mark.slow
def test_of_calls_that_run_at_once_only_the_one_that_hangs_is_out_of_time() -> None:
    async def use(pool: ActorPool) -> tuple[list[object], int]:
        hangs = asyncio.create_task(pool.call("nap", 3600))
        naps = []
        for _ in range(8):
            naps.append(asyncio.create_task(pool.call("nap", 0.6)))
            await asyncio.sleep(0.3)
        answers = await asyncio.gather(hangs, *naps, return_exceptions=True)
        return [n for n, answer in enumerate(answers) if isinstance(answer, CallFailedError)], pool.replaced

    assert with_pool(role(make=AsyncWorker, in_flight=8, timeout_s=2), use) == ([0], 4)


def test_waiting_in_line_does_not_count_towards_the_time_limit() -> None:
    async def use(pool: ActorPool) -> int:
        await asyncio.gather(*(pool.call("nap", 0.7) for _ in range(3)))
        return pool.replaced

    assert with_pool(role(actors=1, in_flight=3, timeout_s=1), use) == 0


def test_an_error_that_is_called_a_timeout_is_a_disturbance_and_does_not_cost_the_actor(tmp_path: Path) -> None:
    async def use(pool: ActorPool) -> tuple[str, int]:
        return (await pool.call("time_out", 3))[1], pool.replaced

    assert with_pool(role(tmp_path / "log"), use) == ("done", 0)


def test_a_role_runs_in_the_environment_that_it_names(tmp_path: Path) -> None:
    """Another environment with the same Python and Ray, and with a module that only it has."""
    other = tmp_path / "other"
    venv.create(other, with_pip=False)
    (site,) = other.glob("lib/python*/site-packages")
    (site / "this_project.pth").write_text(f"{sysconfig.get_path('purelib')}\n{Path(__file__).parents[3]}\n", "utf-8")
    (site / "only_in_the_other.py").write_text("ANSWER = 42\n", "utf-8")

    async def use(pool: ActorPool) -> tuple[int, Path]:
        return (await pool.call("from_elsewhere"))[1], Path((await pool.call("environment"))[1])

    answer, prefix = with_pool(role(python=str(other / "bin" / "python")), use)
    assert (answer, prefix) == (42, other)
    with pytest.raises(CallFailedError, match="No module named 'only_in_the_other'"):
        with_pool(role(), lambda pool: pool.call("from_elsewhere"))


def test_the_time_of_actors_is_accounted_for(tmp_path: Path) -> None:
    async def use(pool: ActorPool) -> TimeAccounting:
        await asyncio.gather(pool.call("nap", 0.5), pool.call("nap", 0.5))
        await pool.call("nap", 0.5)
        await pool.call("die", 1)
        pool.accounting.settle()
        return pool.accounting

    accounting = with_pool(role(tmp_path / "log", actors=2), use)
    assert accounting.calls == 4
    assert 1.5 <= accounting.busy_s < accounting.total_s
    assert accounting.idle_s["start"] >= 0.5
    assert accounting.starting_s > 0
