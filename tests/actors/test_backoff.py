"""Pauses before something is tried again."""

from actors.backoff import backoff_s


def test_pauses_double_up_to_a_limit_vary_and_are_never_shorter_than_asked_for() -> None:
    assert all(0.5 <= backoff_s(1, first_s=1, longest_s=60) <= 1 for _ in range(50))
    assert all(4 <= backoff_s(4, first_s=1, longest_s=60) <= 8 for _ in range(50))
    assert backoff_s(500, first_s=1, longest_s=60) <= 60
    assert all(30 <= backoff_s(1, first_s=1, longest_s=5, asked_s=30) <= 37.5 for _ in range(50))
    # A service that asks for no pause again and again is not asked without one.
    assert backoff_s(5, first_s=1, longest_s=60, asked_s=0) >= 8
    assert len({backoff_s(3, first_s=1, longest_s=60) for _ in range(9)}) > 1
