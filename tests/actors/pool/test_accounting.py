"""The account of actors' time, on a clock that the test sets."""

from hypothesis import given
from hypothesis import strategies as st

from actors.pool.accounting import Ledger


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_time_is_booked_as_work_or_as_what_the_run_waited_for() -> None:
    clock, waits = Clock(), ["proposals"]
    ledger = Ledger(places=2, clock=clock)
    ledger.why = lambda: waits[0]
    clock.now += 5
    ledger.change(up=2)
    clock.now += 1
    ledger.change(busy=1)
    clock.now += 10
    ledger.settle()
    waits[0] = "scores"
    clock.now += 3
    ledger.change(busy=-1)
    assert ledger.starting_s == 10
    assert ledger.busy_s == 13
    assert ledger.idle_s == {"proposals": 2 + 10, "scores": 3}
    assert ledger.utilisation == 13 / 28


def test_a_place_that_is_given_up_costs_nothing_from_then_on() -> None:
    clock = Clock()
    ledger = Ledger(places=2, clock=clock)
    ledger.change(up=1)
    clock.now += 2
    ledger.change(places=-1)
    clock.now += 7
    ledger.settle()
    assert (ledger.starting_s, ledger.total_s) == (2, 11)


def test_the_time_of_a_call_follows_the_recent_ones() -> None:
    ledger = Ledger(places=1)
    for seconds in [1.0] * 50 + [3.0] * 50:
        ledger.answered(seconds)
    assert ledger.calls == 100
    assert 2.9 < ledger.recent_call_s < 3


@given(st.lists(st.tuples(st.sampled_from(["up", "down", "begin", "end", "settle"]), st.floats(0, 100)), max_size=40))
def test_the_states_add_up_to_places_times_seconds(events: list[tuple[str, float]]) -> None:
    clock = Clock()
    ledger = Ledger(places=3, clock=clock)
    up = busy = 0
    for event, passes in events:
        clock.now += passes
        if event == "up" and up < 3:
            up += 1
            ledger.change(up=1)
        elif event == "down" and up > busy:
            up -= 1
            ledger.change(up=-1)
        elif event == "begin" and busy < up:
            busy += 1
            ledger.change(busy=1)
        elif event == "end" and busy:
            busy -= 1
            ledger.change(busy=-1)
        else:
            ledger.settle()
    ledger.settle()
    whole = 3 * (clock.now - Clock.now)
    assert abs(ledger.total_s - whole) < 1e-6 * max(1.0, whole)
    assert min(ledger.busy_s, ledger.starting_s, *ledger.idle_s.values(), 0.0) >= 0
