"""The counts of a run, added up cohort by cohort, for run.json and the gallery."""

import hashlib
from array import array
from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from pipelines.records.outcomes import Outcome
from pipelines.search.history import History
from pipelines.search.previews import agreement, previews_help
from pipelines.search.rounds import Proposed, Refusals, Round
from pipelines.search.state_machine import StopReason
from pipelines.settings.search import SearchSettings


class Counts:
    """Sums over cohorts. Of each image only eight bytes of a hash are kept, to count the distinct ones."""

    def __init__(self, settings: SearchSettings, refusals: Refusals | None = None) -> None:
        """`refusals` of rounds that failed, which no history holds."""
        self._settings = settings
        self.refusals = refusals or Refusals()
        self._counts = dict.fromkeys(
            ("trajectories", "unfinished", "failed", "candidates", "scores", "failed_candidates"), 0
        )
        self._rejected: Counter[str] = Counter()
        self._warned: Counter[str] = Counter()
        self._agreements: list[float] = []
        self._switched_off = 0
        self._images = array("Q")
        self._shared: set[tuple[str, int, str, int]] = set()
        """The rounds, by prompt id, run, scorer and number, whose shared proposals are counted."""

    def add(self, history: History, outcomes: Sequence[Outcome]) -> None:
        """Add a cohort. A proposal that several users share counts once."""
        self._counts["trajectories"] += len(outcomes)
        self._counts["unfinished"] += sum(o.stop_reason is StopReason.UNFINISHED for o in outcomes)
        self._counts["failed"] += sum(o.stop_reason is StopReason.FAILED for o in outcomes)
        self._counts["scores"] += history.scores.size
        for outcome in outcomes:
            self._warned.update({warning.check for warning in outcome.warnings})
            if (measured := agreement(history, outcome.trajectory.user)) is not None:
                self._agreements.append(measured)
                self._switched_off += not previews_help(history, outcome.trajectory.user, self._settings)
        self._rejected.update(v.rejected.check for v in history.verdicts.values() if v.rejected is not None)
        for finished in history.rounds:
            proposed = self._not_counted(history, finished)
            self.refusals += Refusals.of(proposed)
            images = []
            for proposals in proposed:
                self._counts["candidates"] += len(proposals.candidates)
                self._counts["failed_candidates"] += sum(c.error is not None for c in proposals.candidates)
                self._rejected.update(c.rejected.check for c in proposals.candidates if c.rejected is not None)
                images += [c.image for c in proposals.candidates]
            for again in finished.reseeded.values():
                self._rejected.update([again.rejected.check] if again.rejected is not None else [])
                images += [image.image for image in (*again.initial, *again.final)]
            digests = (hashlib.sha256(key.encode()).digest() for key in images if key is not None)
            self._images.extend(int.from_bytes(digest[:8], "big") for digest in digests)

    def _not_counted(self, history: History, finished: Round) -> list[Proposed]:
        """The proposals of a round, without those that another cohort shares and had counted."""
        cohort = history.cohort
        place = (cohort.prompt_id, cohort.run, cohort.scorer, finished.number)
        proposed = [each for each in finished.proposed if not (each.shared and place in self._shared)]
        self._shared.update([place] if any(each.shared for each in finished.proposed) else [])
        return proposed

    @property
    def images(self) -> int:
        """How many distinct images."""
        import numpy as np

        return len(np.unique(np.frombuffer(self._images, dtype=np.uint64))) if self._images else 0

    def as_dict(self) -> dict[str, Any]:
        return {
            **self._counts,
            "images": self.images,
            "refused_proposals": _sorted(self.refusals.proposals),
            "refused_images": _sorted(self.refusals.images),
            "rejected_candidates": _sorted(self._rejected),
            "warned_winners": _sorted(self._warned),
            "previews": self._previews(),
        }

    def _previews(self) -> dict[str, Any] | None:
        if not self._agreements:
            return None
        return {
            "mean_agreement": round(fmean(self._agreements), 4),
            "trajectories": len(self._agreements),
            "switched_off": self._switched_off,
        }


def _sorted(counter: Counter[str]) -> dict[str, int]:
    return {str(name): counter[name] for name in sorted(counter)}
