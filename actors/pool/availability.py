"""Whether a role still answers: for how long none of its calls has been answered although some were made.

Invariant: pure bookkeeping on a clock. An answer to any call ends all trouble; trouble begins with the first failure
after it. A call that breaks its actors does not make the role unavailable alone: it may be the call's own fault.
"""

import time
from collections.abc import Callable
from datetime import datetime


class Availability:
    """What has become of a role's calls lately.

    Parameters
    ----------
    give_up_after_s : float
        Of trouble, after which the role is unavailable.
    clock : callable
        Seconds since any fixed moment.

    Example:

        availability = Availability(give_up_after_s=600)
        availability.failed(call, "503 overloaded", disturbed=True)
        availability.answered()
    """

    def __init__(self, give_up_after_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._give_up_after_s = give_up_after_s
        self._clock = clock
        self._failing: set[object] = set()
        self._disturbed = False
        self._since: float | None = None
        self._since_when = ""
        self._reason = ""
        self.last_answer = clock()

    @property
    def troubled(self) -> bool:
        """Whether calls have failed since the last answer."""
        return self._since is not None

    @property
    def overdue(self) -> bool:
        """Whether the trouble has lasted so long that the role is unavailable."""
        lasted = self._since is not None and self._clock() - self._since >= self._give_up_after_s
        return lasted and (self._disturbed or len(self._failing) > 1)

    @property
    def description(self) -> str:
        """Since when no call has been answered, and why the last one was not."""
        lasted_s = 0.0 if self._since is None else self._clock() - self._since
        return f"no call has been answered since {self._since_when} ({lasted_s:.0f} s): {self._reason}"

    def answered(self) -> None:
        """A call was answered."""
        self.last_answer = self._clock()
        self._failing.clear()
        self._since, self._disturbed = None, False

    def failed(self, who: object, reason: str, *, disturbed: bool) -> None:
        """Somebody's attempt failed; `disturbed` if that cannot have been the call's doing."""
        if self._since is None:
            self._since = self._clock()
            self._since_when = f"{datetime.now().astimezone():%H:%M:%S}"
        self._failing.add(who)
        self._disturbed = self._disturbed or disturbed
        self._reason = reason

    def forget(self, who: object) -> None:
        """What failed so far was somebody's own doing, and he does not try again."""
        self._failing.discard(who)
        if not self._failing and not self._disturbed:
            self._since = None
