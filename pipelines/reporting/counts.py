"""The counts of a run, added up trajectory by trajectory, for run.json and the gallery."""

import hashlib
from array import array
from collections import Counter
from statistics import fmean
from typing import Any

from pipelines.records.tables import Outcome
from pipelines.search.previews import agreement, previews_help
from pipelines.search.state_machine import StopReason
from pipelines.settings.search import SearchSettings


class Counts:
    """Sums over outcomes. Of each image only eight bytes of a hash are kept, to count the distinct ones."""

    def __init__(self, protocol: SearchSettings) -> None:
        self._protocol = protocol
        self._counts = dict.fromkeys(("trajectories", "unfinished", "candidates", "pooled", "failed_candidates"), 0)
        self._refused: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()
        self._warned: Counter[str] = Counter()
        self._agreements: list[float] = []
        self._switched_off = 0
        self._images = array("Q")

    def add(self, outcome: Outcome) -> None:
        self._counts["trajectories"] += 1
        self._counts["unfinished"] += outcome.stop_reason is StopReason.UNFINISHED
        for check in {warning.check for warning in outcome.warnings}:
            self._warned[check] += 1
        if (measured := agreement(outcome.history)) is not None:
            self._agreements.append(measured)
            self._switched_off += not previews_help(outcome.history, self._protocol)
        for iteration in outcome.history:
            self._counts["candidates"] += len(iteration.candidates)
            self._counts["failed_candidates"] += sum(c.error is not None for c in iteration.candidates)
            self._counts["pooled"] += len(iteration.pooled)
            for candidate in (*iteration.candidates, *iteration.pooled):
                if candidate.rejected is not None:
                    self._rejected[candidate.rejected.check] += 1
            rendered = [*iteration.candidates]
            if (again := iteration.reseeded) is not None:
                rendered += [*again.initial, *again.final]
                if again.rejected is not None:
                    self._rejected[again.rejected.check] += 1
            self._refused.update(iteration.refused)
            images = [c.image for c in rendered if c.image]
            self._images.extend(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") for key in images)

    @property
    def images(self) -> int:
        """How many distinct images."""
        import numpy as np

        return len(np.unique(np.frombuffer(self._images, dtype=np.uint64))) if self._images else 0

    def as_dict(self) -> dict[str, Any]:
        return {
            **self._counts,
            "images": self.images,
            "refused_proposals": _sorted(self._refused),
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
