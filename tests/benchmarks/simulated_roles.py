"""Roles that take a known time and do nothing, and the search that they are given: for benchmarks of the driver."""

import asyncio
import hashlib
import json
import random
import time
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from actors.messages import ProposalRequest, Proposals, Rendering, RenderRequest, ScoreRequest
from pipelines.search.cohort import Cohort
from pipelines.search.history import History
from pipelines.search.rounds import Round
from pipelines.search.trajectory import Trajectory, image_seed

SPREAD = 0.1
"""Calls take up to so much longer or shorter than said, by what is asked."""

_WORDS = [f"word{number}" for number in range(300)]


def seconds_of(mean_s: float, *asked: object) -> float:
    """The same for the same question, wherever it is answered."""
    return mean_s * (1 + SPREAD * random.Random(repr(asked)).uniform(-1, 1))


def scores_of(request: ScoreRequest, rendering: Rendering) -> list[float]:
    image = np.uint64(int.from_bytes(hashlib.sha256(rendering.png).digest()[:8], "big"))
    mixed = (_numbers(request.audiences) ^ image) * np.uint64(0x9E3779B97F4A7C15)  # wraps: multiplicative hashing
    return (mixed / 2.0**64).tolist()


@lru_cache
def _numbers(audiences: tuple[tuple[str, ...], ...]) -> NDArray[np.uint64]:
    digests = (hashlib.sha256(repr(users).encode()).digest() for users in audiences)
    return np.array([int.from_bytes(digest[:8], "big") for digest in digests], np.uint64)


def proposals_of(request: ProposalRequest) -> Proposals:
    """Each a dozen words out of three hundred, as the screen ranks prompts by the words that they share."""
    chance = random.Random(request.seed)
    return Proposals(prompts=tuple(" ".join(chance.choices(_WORDS, k=12)) for _ in range(request.count)))


class Renderer:
    """Draws nothing, in so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def setup(self) -> None:
        """Nothing to load."""

    def render(self, request: RenderRequest) -> Rendering:
        time.sleep(seconds_of(self._seconds, request.prompt, request.seed))
        return Rendering(png=request.prompt.encode())


class Proposer:
    """Writes many answers at a time, each in so many seconds, as vLLM does."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def setup(self) -> None:
        """Nothing to load."""

    async def propose(self, request: ProposalRequest) -> Proposals:
        await asyncio.sleep(seconds_of(self._seconds, request.seed))
        return proposals_of(request)


class Scorer:
    """A number from 0 to 1 that depends on user and image."""

    def setup(self) -> None:
        """Nothing to load."""

    def score_each(self, request: ScoreRequest, rendering: Rendering) -> list[float]:
        return scores_of(request, rendering)


def trajectories(users: int, prompts: int, runs: int = 1) -> list[Trajectory]:
    """In the order of a real plan."""
    return [
        Trajectory(
            user=f"u{user:03}",
            user_ids=(f"u{user:03}",),
            prompt_id=f"p{prompt:03}",
            base_prompt=f"prompt {prompt}",
            scorer="pamela",
            run=run,
            image_seed=image_seed(0, f"prompt {prompt}"),
            seed=0,
        )
        for prompt in range(prompts)
        for run in range(1, runs + 1)
        for user in range(users)
    ]


class Watcher:
    """An observer that remembers when renders were ready and trajectories ended."""

    def __init__(self) -> None:
        self.rendered_at: list[float] = []
        self.ended: list[str] = []

    def begun(self, cohort: Cohort, rounds: int) -> None:
        """Nothing to remember."""

    def round_done(self, history: History, searching: int) -> None:
        """Nothing to remember."""

    def over(self, cohort: Cohort) -> None:
        """Nothing to remember."""

    def rendered(self, key: str) -> None:
        self.rendered_at.append(asyncio.get_running_loop().time())

    def finished(self, trajectory: Trajectory, gain: float) -> None:
        self.ended.append(trajectory.user)

    def failed(self, trajectory: Trajectory, reason: str) -> None:
        raise RuntimeError(f"{trajectory.id}: {reason}")

    def warned(self, warning: str) -> None:
        raise RuntimeError(warning)


class Memory:
    """Journal and images that are kept nowhere but here."""

    def __init__(self) -> None:
        self._images: dict[str, bytes] = {}

    def read(self, key: str) -> bytes | None:
        return self._images.get(key)

    def write(self, key: str, png: bytes) -> None:
        self._images[key] = png

    def append(self, cohort_id: str, finished: Round) -> None:
        """The history is the driver's own."""


def report(name: str, results: dict[str, object]) -> None:
    """One JSON object on a line of its own, for tables to be made of."""
    print(json.dumps({"benchmark": name, **results}), flush=True)  # noqa: T201
