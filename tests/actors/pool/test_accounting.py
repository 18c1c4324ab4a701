"""The account of actors' time, on a clock that the test sets."""

from hypothesis import given
from hypothesis import strategies as st

from actors.pool.accounting import TimeAccounting


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_time_is_booked_as_work_or_as_what_the_run_waited_for() -> None:
    clock, waits = Clock(), ["proposals"]
    accounting = TimeAccounting(replicas=2, clock=clock)
    accounting.idle_reason = lambda: waits[0]
    clock.now += 5
    accounting.change(up=2)
    clock.now += 1
    accounting.change(busy=1)
    clock.now += 10
    accounting.settle()
    waits[0] = "scores"
    clock.now += 3
    accounting.change(busy=-1)
    assert accounting.starting_s == 10
    assert accounting.busy_s == 13
    assert accounting.idle_s == {"proposals": 2 + 10, "scores": 3}
    assert accounting.utilisation == 13 / 28


def test_a_replica_that_is_given_up_costs_nothing_from_then_on() -> None:
    clock = Clock()
    accounting = TimeAccounting(replicas=2, clock=clock)
    accounting.change(up=1)
    clock.now += 2
    accounting.change(replicas=-1)
    clock.now += 7
    accounting.settle()
    assert (accounting.starting_s, accounting.total_s) == (2, 11)


def test_the_time_of_a_call_follows_the_recent_ones() -> None:
    accounting = TimeAccounting(replicas=1)
    for seconds in [1.0] * 50 + [3.0] * 50:
        accounting.record_call(seconds)
    assert accounting.calls == 100
    assert 2.9 < accounting.recent_call_s < 3


@given(st.lists(st.tuples(st.sampled_from(["up", "down", "begin", "end", "settle"]), st.floats(0, 100)), max_size=40))
def test_the_states_add_up_to_replicas_times_seconds(events: list[tuple[str, float]]) -> None:
    clock = Clock()
    accounting = TimeAccounting(replicas=3, clock=clock)
    up = busy = 0
    for event, passes in events:
        clock.now += passes
        if event == "up" and up < 3:
            up += 1
            accounting.change(up=1)
        elif event == "down" and up > busy:
            up -= 1
            accounting.change(up=-1)
        elif event == "begin" and busy < up:
            busy += 1
            accounting.change(busy=1)
        elif event == "end" and busy:
            busy -= 1
            accounting.change(busy=-1)
        else:
            accounting.settle()
    accounting.settle()
    whole = 3 * (clock.now - Clock.now)
    assert abs(accounting.total_s - whole) < 1e-6 * max(1.0, whole)
    assert min(accounting.busy_s, accounting.starting_s, *accounting.idle_s.values(), 0.0) >= 0
