"""The run in numbers, added up trajectory by trajectory: what run.json and the gallery say."""

import hashlib
from array import array
from typing import Any

from pipelines.records import Outcome


class Counts:
    """Sums over outcomes; of each image only eight bytes of a hash are kept, to count the distinct ones."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(("trajectories", "unfinished", "candidates", "failed_candidates"), 0)
        self._refused: dict[str, int] = {}
        self._images = array("Q")

    def add(self, outcome: Outcome) -> None:
        self._counts["trajectories"] += 1
        self._counts["unfinished"] += outcome.stop_reason == "unfinished"
        for iteration in outcome.history:
            self._counts["candidates"] += len(iteration.candidates)
            self._counts["failed_candidates"] += sum(c.score is None for c in iteration.candidates)
            for reason, count in iteration.refused.items():
                self._refused[reason] = self._refused.get(reason, 0) + count
            images = [c.image for c in iteration.candidates if c.image]
            self._images.extend(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") for key in images)

    @property
    def images(self) -> int:
        """Distinct ones."""
        import numpy as np

        return len(np.unique(np.frombuffer(self._images, dtype=np.uint64))) if self._images else 0

    def as_dict(self) -> dict[str, Any]:
        return {**self._counts, "images": self.images, "refused_proposals": dict(sorted(self._refused.items()))}
