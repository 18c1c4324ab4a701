"""Why actors are idle, on a clock that the test sets."""

from actors.pool.accounting import TimeAccounting
from pipelines.execution.wait_accounting import WaitAccounting


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_idle_actor_waits_for_what_the_run_waits_for_and_never_for_its_own_work() -> None:
    clock = Clock()
    ledgers = {name: TimeAccounting(1, clock) for name in ("renderer", "proposer", "scorer q-align")}
    waits = WaitAccounting(ledgers)
    for ledger in ledgers.values():
        ledger.change(up=1)
    with waits.during("proposals"):
        clock.now += 2
    with waits.during("renders"):
        clock.now += 3
        with waits.during("scores"):
            clock.now += 4
    waits.all_begun()
    clock.now += 5
    for ledger in ledgers.values():
        ledger.settle()
    assert ledgers["renderer"].idle_s == {"proposals": 2, "work": 3, "scores": 4, "the last trajectories": 5}
    assert ledgers["proposer"].idle_s == {"work": 2, "renders": 7, "the last trajectories": 5}
    assert ledgers["scorer q-align"].idle_s == {"proposals": 2, "renders": 7, "the last trajectories": 5}
