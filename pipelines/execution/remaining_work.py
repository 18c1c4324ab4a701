"""How much of a run is left, in images to render, from the rounds that its cohorts have had so far.

How many users still search in a round is known for the cohorts that have come so far, and taken to be the same for the
others. Of rounds that no cohort has come to, each is taken to have `_CONTINUE` times the users of the one before.
"""

from collections import Counter
from collections.abc import Sequence

from pipelines.search.cohort import Cohort
from pipelines.settings.search import SearchSettings

_CONTINUE = 0.7


class RemainingWork:
    """The images that the cohorts of a run have still to render, as far as can be told."""

    def __init__(self, cohorts: Sequence[Cohort], settings: SearchSettings) -> None:
        self._settings = settings
        self._sizes = {cohort.id: len(cohort) for cohort in cohorts}
        self._where = {cohort.id: (0, len(cohort)) for cohort in cohorts}
        """Of each cohort, the rounds that are done, and the users who search in the next."""
        self._cohorts = Counter(self._where.values())
        """How many cohorts are there; few numbers for many cohorts."""
        self._came = [0] * (settings.iterations + 2)
        self._went_on = [0] * (settings.iterations + 2)
        """By round: users of the cohorts that have come to it, and those of them who search in it."""

    def round_done(self, cohort_id: str, rounds: int, searching: int) -> None:
        """So many rounds of a cohort are done, and so many of its users search in the next."""
        self._move(cohort_id, rounds, searching)
        if rounds < len(self._came):
            self._came[rounds] += self._sizes[cohort_id]
            self._went_on[rounds] += searching

    def over(self, cohort_id: str) -> None:
        """A cohort has come to its end, or failed."""
        self._move(cohort_id, self._where[cohort_id][0], 0)

    @property
    def images(self) -> float:
        """Images left."""
        rates = self._rates()
        return sum(
            count * self._left(done, searching, rates)
            for (done, searching), count in self._cohorts.items()
            if searching and count
        )

    def _move(self, cohort_id: str, rounds: int, searching: int) -> None:
        self._cohorts[self._where[cohort_id]] -= 1
        self._where[cohort_id] = rounds, searching
        self._cohorts[rounds, searching] += 1

    def _rates(self) -> list[float]:
        """The part of all users who search, by round."""
        rates = [1.0]
        for came, went_on in zip(self._came[1:], self._went_on[1:], strict=True):
            guess = rates[-1] if len(rates) <= self._settings.patience else _CONTINUE * rates[-1]
            rates.append(went_on / came if came else guess)
        return rates

    def _left(self, done: int, searching: int, rates: Sequence[float]) -> float:
        """Of a cohort of whose users so many search in the round after those that are done."""
        images = self._settings.images_of_round(done, searching)
        for number in range(done + 1, self._settings.iterations + 1):
            part = min(1.0, rates[number] / max(rates[done], 1e-9))
            images += self._settings.images_of_round(number, searching * part)
        return images
