"""How the actors of a role spend their time: busy, idle and why, or starting.

Invariant: at every moment each replica of a pool is in exactly one of these states, so that they add up to replicas x
seconds. Whatever is about to change a state calls `settle` first: a call that begins or ends, an actor that starts or
dies, or the run when it waits for something else.
"""

import time
from collections.abc import Callable

_RECENT = 10


class TimeAccounting:
    """Seconds in each state, summed over the replicas of one role.

    Parameters
    ----------
    replicas : int
        Actors that the pool is to keep running.
    clock : callable
        Seconds since any fixed moment.

    Example:

        accounting = TimeAccounting(replicas=2)
        accounting.change(up=2)
        accounting.change(busy=1)
        accounting.settle()
        accounting.utilisation
    """

    def __init__(self, replicas: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.busy_s = 0.0
        """With at least one call on the actor."""
        self.idle_s: dict[str, float] = {}
        """What the run was waiting for -> seconds."""
        self.starting_s = 0.0
        """Until an actor, or the one that replaces it, has loaded its weights."""
        self.calls = 0
        """Calls that were answered."""
        self.recent_call_s = 0.0
        """Duration of a call on its actor: the mean, in which older calls than about the last ten fade."""
        self.idle_reason: Callable[[], str] = lambda: "start"
        """What the run waits for now; the run sets it, and before that the pool waits for its actors to start."""
        self._clock = clock
        self._settled = clock()
        self._replicas, self._up, self._busy = replicas, 0, 0

    @property
    def total_s(self) -> float:
        return self.busy_s + self.starting_s + sum(self.idle_s.values())

    @property
    def utilisation(self) -> float:
        """Busy time as a fraction of the time in which actors were up."""
        up_s = self.total_s - self.starting_s
        return self.busy_s / up_s if up_s else 0.0

    def settle(self) -> None:
        """Book the time since the last change under the states that held since then."""
        now = self._clock()
        passed, self._settled = now - self._settled, now
        self.busy_s += passed * self._busy
        self.starting_s += passed * (self._replicas - self._up)
        if (idle := self._up - self._busy) and passed:
            reason = self.idle_reason()
            self.idle_s[reason] = self.idle_s.get(reason, 0.0) + passed * idle

    def change(self, *, replicas: int = 0, up: int = 0, busy: int = 0) -> None:
        """Add to the number of replicas, of actors that are up, and of those that are busy."""
        self.settle()
        self._replicas += replicas
        self._up += up
        self._busy += busy
        assert 0 <= self._busy <= self._up <= self._replicas

    def record_call(self, seconds: float) -> None:
        """A call was answered after so long on its actor."""
        self.calls += 1
        self.recent_call_s += (seconds - self.recent_call_s) / min(self.calls, _RECENT)
