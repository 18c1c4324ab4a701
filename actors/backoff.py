"""The pause before something that failed is tried again, in actor pools as in the HTTP client."""

import random


def backoff_s(failures: int, *, first_s: float, longest_s: float, asked_s: float | None = None) -> float:
    """Seconds to wait after so many failures in a row: twice as long each time, not the same for all.

    Parameters
    ----------
    failures
        From 1.
    first_s, longest_s
        Longest pauses after the first failure, and after any.
    asked_s
        The least that a service asks for, `longest_s` or not; None: it asks for nothing.

    Example:

        2.0 <= backoff_s(3, first_s=1.0, longest_s=60.0) <= 4.0
    """
    pause = min(first_s * 2 ** min(failures - 1, 30), longest_s) * random.uniform(0.5, 1)
    return pause if asked_s is None else max(pause, asked_s * random.uniform(1, 1.25))
