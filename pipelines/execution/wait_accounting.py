"""What a run is waiting for, so that idle actors can say why they are.

Every trajectory under way waits for proposals, or, for each of its candidates, for a render, for a score, or for the
disk. An actor is idle for the sake of the first of these, in that order, that is not its own role's work. Once there is
no trajectory left to begin, too few are under way, and that is why.

Invariant: whatever changes the answer settles the ledgers first, so that no second is booked under what came later.
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
    """Counts what is waited for, and answers the ledgers' question why.

    Parameters
    ----------
    ledgers
        Of each role by its name; those of scorers may have any.
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
        """One more waits for this."""
        self._settle()
        self._counts[wait] += 1
        try:
            yield
        finally:
            self._settle()
            self._counts[wait] -= 1

    def all_begun(self) -> None:
        """There is no trajectory left to begin."""
        self._settle()
        self._all_begun = True

    def why(self, own: Wait) -> str:
        if self._all_begun:
            return LAST
        return next((wait for wait in ORDER if wait != own and self._counts[wait]), "work")

    def _settle(self) -> None:
        for ledger in self._ledgers.values():
            ledger.settle()
