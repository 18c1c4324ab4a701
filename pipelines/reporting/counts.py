"""The run in numbers, added up trajectory by trajectory: what run.json and the gallery say."""

import hashlib
from array import array
from statistics import fmean
from typing import Any

from pipelines.records.tables import Outcome
from pipelines.search.previews import agreement, previews_help
from pipelines.search.trajectory import Candidate
from pipelines.settings.search import SearchSettings


class Counts:
    """Sums over outcomes; of each image only eight bytes of a hash are kept, to count the distinct ones."""

    def __init__(self, protocol: SearchSettings) -> None:
        self._protocol = protocol
        self._counts = dict.fromkeys(("trajectories", "unfinished", "candidates", "pooled", "failed_candidates"), 0)
        self._refused: dict[str, int] = {}
        self._rejected: dict[str, int] = {}
        self._warned: dict[str, int] = {}
        self._agreements: list[float] = []
        self._switched_off = 0
        self._images = array("Q")

    def add(self, outcome: Outcome) -> None:
        self._counts["trajectories"] += 1
        self._counts["unfinished"] += outcome.stop_reason == "unfinished"
        for guard in {line.partition(":")[0] for line in outcome.warnings}:
            self._warned[guard] = self._warned.get(guard, 0) + 1
        if (measured := agreement(outcome.history)) is not None:
            self._agreements.append(measured)
            self._switched_off += not previews_help(outcome.history, self._protocol)
        for iteration in outcome.history:
            self._counts["candidates"] += len(iteration.candidates)
            self._counts["failed_candidates"] += sum(c.error is not None for c in iteration.candidates)
            self._counts["pooled"] += len(iteration.pooled)
            for candidate in (*iteration.candidates, *iteration.pooled):
                self._noticed(candidate)
            if (looked := iteration.reseeded) is not None and looked.rejected is not None:
                self._rejected["reseed"] = self._rejected.get("reseed", 0) + 1
            for reason, count in iteration.refused.items():
                self._refused[reason] = self._refused.get(reason, 0) + count
            again = (*looked.initial, *looked.final) if looked is not None else ()
            images = [c.image for c in (*iteration.candidates, *again) if c.image]
            self._images.extend(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") for key in images)

    @property
    def images(self) -> int:
        """Distinct ones."""
        import numpy as np

        return len(np.unique(np.frombuffer(self._images, dtype=np.uint64))) if self._images else 0

    def as_dict(self) -> dict[str, Any]:
        return {
            **self._counts,
            "images": self.images,
            "refused_proposals": dict(sorted(self._refused.items())),
            "rejected_candidates": dict(sorted(self._rejected.items())),
            "warned_winners": dict(sorted(self._warned.items())),
            "previews": self._previews(),
        }

    def _noticed(self, candidate: Candidate) -> None:
        """By the first word of the reason, which names the guard."""
        if candidate.rejected is not None:
            guard = candidate.rejected.partition(":")[0]
            self._rejected[guard] = self._rejected.get(guard, 0) + 1

    def _previews(self) -> dict[str, Any] | None:
        if not self._agreements:
            return None
        return {
            "mean_agreement": round(fmean(self._agreements), 4),
            "trajectories": len(self._agreements),
            "switched_off": self._switched_off,
        }
