"""Cohorts: the users whose searches go in step, so that each can score the images that the others rendered.

With `share: pool`, all users of one prompt, scorer and run are a cohort; runs stay independent passes, and scorers
stay apart. Otherwise every trajectory is a cohort of its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from pipelines.search.trajectory import Trajectory
from pipelines.settings.search import ShareMode


@dataclass(frozen=True)
class Cohort:
    """The trajectories of one cohort, in the order in which every array of scores has its users."""

    id: str
    trajectories: tuple[Trajectory, ...]

    @cached_property
    def users(self) -> tuple[str, ...]:
        return tuple(trajectory.user for trajectory in self.trajectories)

    @cached_property
    def row_of_user(self) -> Mapping[str, int]:
        """The row of each user in every array of scores."""
        return {user: row for row, user in enumerate(self.users)}

    @property
    def prompt_id(self) -> str:
        return self.trajectories[0].prompt_id

    @property
    def base_prompt(self) -> str:
        return self.trajectories[0].base_prompt

    @property
    def scorer(self) -> str:
        return self.trajectories[0].scorer

    @property
    def run(self) -> int:
        return self.trajectories[0].run

    @property
    def image_seed(self) -> int:
        return self.trajectories[0].image_seed

    @property
    def metadata(self) -> Mapping[str, str]:
        return self.trajectories[0].metadata

    def __len__(self) -> int:
        return len(self.trajectories)


def cohorts(trajectories: Sequence[Trajectory], share: ShareMode) -> Iterator[Cohort]:
    """The trajectories in their order, cohort by cohort."""
    if share != "pool":
        yield from (Cohort(trajectory.id, (trajectory,)) for trajectory in trajectories)
        return
    for (prompt_id, scorer, run), group in groupby(trajectories, key=lambda t: (t.prompt_id, t.scorer, t.run)):
        yield Cohort(f"{prompt_id}/{scorer}/{run}", tuple(group))
