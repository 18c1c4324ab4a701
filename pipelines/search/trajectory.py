"""Trajectories, and the seeds of what is rendered and proposed for them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """One search: a user, a prompt, a scorer and a run.

    Example:

        Trajectory(user="u01", user_ids=("u01",), prompt_id="p1", base_prompt="a cat", scorer="pamela", run=1,
                   image_seed=41, seed=0)
    """

    user: str
    """User id, a `group:` predicate, or "*" for a scorer that knows no user."""
    user_ids: tuple[str, ...]
    """The ids behind `user`: one, those of a group, or none."""
    prompt_id: str
    base_prompt: str
    scorer: str
    run: int
    """1-based; runs of one user and prompt share the image seed and differ in their proposals."""
    image_seed: int
    seed: int
    """`--seed`, from which the seeds of the proposals are derived."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the prompts file says of the image beside its prompt."""

    @property
    def id(self) -> str:
        """Unique within a run folder: no part but the last may hold a slash."""
        return f"{self.prompt_id}/{self.scorer}/{self.run}/{self.user}"


def derive_seed(*parts: object) -> int:
    """A 63-bit seed that depends on every part and on nothing else (SHA-256 of their JSON)."""
    digest = hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def image_seed(seed: int, base_prompt: str) -> int:
    """The one seed of all images of a prompt: the same for every user, run and scorer."""
    return derive_seed("image", seed, base_prompt)


def fresh_seeds(prompt_seed: int, count: int) -> list[int]:
    """Further image seeds of a prompt, beside its one, `prompt_seed`: again the same for every user, run and scorer."""
    return [derive_seed("fresh image", prompt_seed, number) for number in range(count)]


def proposal_seed(trajectory: Trajectory, iteration: int, attempt: int) -> int:
    """The proposer's seed of one attempt. All differ, so that users and runs explore independently."""
    return derive_seed("proposals", trajectory.seed, trajectory.id, iteration, attempt)


def shared_proposal_seed(trajectory: Trajectory, attempt: int) -> int:
    """The proposer's seed in a first round that all users and scorers of a prompt share, in one run."""
    return derive_seed("shared proposals", trajectory.seed, trajectory.prompt_id, trajectory.run, attempt)
