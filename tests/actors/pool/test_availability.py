"""Whether a role still answers, on a clock that the test sets."""

from actors.pool.availability import Availability

MINE, ANOTHER = object(), object()


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def troubled(clock: Clock) -> Availability:
    return Availability(give_up_after_s=60, clock=clock)


def test_a_role_is_overdue_when_nothing_was_answered_for_long_enough_after_a_failure() -> None:
    clock = Clock()
    availability = troubled(clock)
    clock.now += 1000
    assert not availability.overdue  # nobody has asked for anything
    availability.failed(MINE, "503 overloaded", disturbed=True)
    clock.now += 59
    assert not availability.overdue
    clock.now += 1
    assert availability.overdue
    assert availability.description.startswith("no call has been answered since ")
    assert availability.description.endswith(" (60 s): 503 overloaded")


def test_any_answer_ends_the_trouble() -> None:
    clock = Clock()
    availability = troubled(clock)
    availability.failed(MINE, "503 overloaded", disturbed=True)
    clock.now += 59
    availability.answered()
    availability.failed(MINE, "503 overloaded", disturbed=True)
    clock.now += 59
    assert availability.troubled and not availability.overdue


def test_one_call_that_breaks_whatever_it_is_on_makes_no_role_unavailable_but_two_do() -> None:
    clock = Clock()
    availability = troubled(clock)
    availability.failed(MINE, "no answer within 300 s", disturbed=False)
    clock.now += 1200
    availability.failed(MINE, "no answer within 300 s", disturbed=False)
    assert not availability.overdue
    availability.failed(ANOTHER, "no answer within 300 s", disturbed=False)
    assert availability.overdue
    availability.forget(ANOTHER)
    assert not availability.overdue
    availability.forget(MINE)
    assert not availability.troubled
