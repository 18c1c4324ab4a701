"""Wait accounting: why idle actors are idle.

Every trajectory under way waits for proposals, or, for each of its candidates, for a render, a score or the disk. The
idle time of an actor is booked under the first of these, in that order, that somebody waits for and that is not the
actor's own work. Once all trajectories have begun, too few are under way, and idle time is booked under that.

Invariant: before the reason changes, all ledgers are settled, so that no time is booked under a later reason. It
changes when the first begins to wait for something, and when the last no longer does.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Literal

from actors.pool.accounting import TimeAccounting

Wait = Literal["proposals", "renders", "scores", "disk"]
ORDER: tuple[Wait, ...] = ("proposals", "renders", "scores", "disk")
LAST = "the last trajectories"
_OWN: Mapping[str, Wait] = {"proposer": "proposals", "renderer": "renders", "text_encoder": "renders"}


class WaitAccounting:
    """Counts what trajectories wait for, and gives the ledgers the reason of idle time.

    Parameters
    ----------
    ledgers
        By role name. A name that is not in `_OWN` is a scorer's.
    """

    def __init__(self, ledgers: Mapping[str, TimeAccounting]) -> None:
        self._ledgers = ledgers
        self._counts = dict.fromkeys(ORDER, 0)
        self._all_begun = False
        for name, ledger in ledgers.items():
            ledger.settle()
            ledger.idle_reason = partial(self.why, _OWN.get(name, "scores"))

    @contextmanager
    def during(self, wait: Wait) -> Iterator[None]:
        """While the block runs, one more trajectory or candidate waits for this."""
        if not self._counts[wait]:
            self._settle()
        self._counts[wait] += 1
        try:
            yield
        finally:
            if self._counts[wait] == 1:
                self._settle()
            self._counts[wait] -= 1

    def all_begun(self) -> None:
        """All trajectories have begun."""
        self._settle()
        self._all_begun = True

    def why(self, own: Wait) -> str:
        """The reason why actors are idle whose own work is `own`."""
        if self._all_begun:
            return LAST
        return next((wait for wait in ORDER if wait != own and self._counts[wait]), "work")

    def _settle(self) -> None:
        for ledger in self._ledgers.values():
            ledger.settle()
