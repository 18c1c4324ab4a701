"""Where the time of a role's actors goes: at work, idle and why, or coming up.

Invariant: at every moment each place of a pool is in exactly one of these states, so that they add up to places x
seconds. Whoever changes what decides the state – a call that begins or ends, an actor that comes or goes, or what the
run is waiting for – settles first.
"""

import time
from collections.abc import Callable

_RECENT = 10


class Ledger:
    """The account of one role, in seconds summed over its actors.

    Parameters
    ----------
    places : int
        Actors that there should be.
    clock : callable
        Seconds, from any moment on.

    Example:

        ledger = Ledger(places=2)
        ledger.change(up=2)
        ledger.change(busy=1)
        ledger.settle()
    """

    def __init__(self, places: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.busy_s = 0.0
        """With at least one call on the actor."""
        self.idle_s: dict[str, float] = {}
        """What the run was waiting for -> seconds."""
        self.starting_s = 0.0
        """Until an actor, or its replacement, has loaded."""
        self.calls = 0
        """That were answered."""
        self.recent_call_s = 0.0
        """How long a call takes on an actor: a mean in which the last ten or so count."""
        self.why: Callable[[], str] = lambda: "start"
        """What the run waits for at the moment; until somebody knows better, that all have loaded."""
        self._clock = clock
        self._settled = clock()
        self._places, self._up, self._busy = places, 0, 0

    @property
    def total_s(self) -> float:
        return self.busy_s + self.starting_s + sum(self.idle_s.values())

    @property
    def utilisation(self) -> float:
        """Share of the time since they were up in which actors were at work."""
        ready_s = self.total_s - self.starting_s
        return self.busy_s / ready_s if ready_s else 0.0

    def settle(self) -> None:
        """Book the time since the last change."""
        now = self._clock()
        passed, self._settled = now - self._settled, now
        self.busy_s += passed * self._busy
        self.starting_s += passed * (self._places - self._up)
        if (idle := self._up - self._busy) and passed:
            why = self.why()
            self.idle_s[why] = self.idle_s.get(why, 0.0) + passed * idle

    def change(self, *, places: int = 0, up: int = 0, busy: int = 0) -> None:
        """So many more or fewer places, actors that are up, or actors at work."""
        self.settle()
        self._places += places
        self._up += up
        self._busy += busy
        assert 0 <= self._busy <= self._up <= self._places

    def answered(self, seconds: float) -> None:
        """A call took so long on its actor."""
        self.calls += 1
        self.recent_call_s += (seconds - self.recent_call_s) / min(self.calls, _RECENT)
