"""Cohorts: the trajectories that search in step, so that each can score the images that the others rendered.

With `share: pool`, all users of one prompt, scorer and run are a cohort; runs stay independent passes, and scorers
stay apart. Otherwise every trajectory is a cohort of its own.

Who takes part in a round, and whose images are scored for whom, follows from the recorded histories alone, never from
the order in which images were rendered. A member that has stopped searching renders nothing more, but still scores the
others' images (`ScorePool`); where one of them is a new best, it searches again. A member that failed in an earlier
start of the run lags behind: it catches up alone, round by round, to the last round that the others have recorded.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from pipelines.search.guards import prompt_warnings
from pipelines.search.state_machine import Propose, RenderBase, Reseed, ScorePool, Step, Stop, next_step
from pipelines.search.trajectory import Candidate, History, Iteration, Trajectory
from pipelines.settings.search import SearchSettings, Share

Cohort = tuple[Trajectory, ...]
Histories = Mapping[str, History]
"""Of each member of a cohort, by its trajectory's id."""


def cohorts(trajectories: Sequence[Trajectory], share: Share) -> Iterator[Cohort]:
    """The trajectories in their order, cohort by cohort."""
    if share != "pool":
        yield from ((trajectory,) for trajectory in trajectories)
        return
    for _, members in groupby(trajectories, key=lambda t: (t.prompt_id, t.scorer, t.run)):
        yield tuple(members)


def next_round(members: Sequence[Trajectory], histories: Histories, protocol: SearchSettings) -> dict[str, Step]:
    """The step of each member that takes part in the next round, by trajectory id; empty where the cohort is done.

    Raises
    ------
    BasePromptFailedError
        As `next_step`.
    """
    steps = {member.id: next_step(histories[member.id], protocol) for member in members}
    recorded = max((i.number + 1 for history in histories.values() for i in history if i.reseeded is None), default=0)
    going_on = [
        name
        for name, step in steps.items()
        if isinstance(step, RenderBase | Propose) or len(histories[name]) < recorded
    ]
    if not going_on:
        return {name: step for name, step in steps.items() if isinstance(step, Reseed)}
    number = min(len(histories[name]) for name in going_on)
    taking_part: dict[str, Step] = {}
    for name, step in steps.items():
        if len(histories[name]) == number:
            taking_part[name] = ScorePool(number) if isinstance(step, Stop | Reseed) else step
    return taking_part


def pool_for(member: Trajectory, own: Iteration, rounds: Mapping[str, Iteration]) -> Iterator[Candidate]:
    """What the others rendered in a round, as candidates of this member that have no score yet.

    Each image comes once, and none that the member rendered itself. The result is the same whether or not the others'
    rounds have passed the guards yet.

    Parameters
    ----------
    own : Iteration
        The member's own round.
    rounds : mapping
        The same round of all members, by user, in the order of the cohort.
    """
    seen = {candidate.image for candidate in own.candidates}
    for user, iteration in rounds.items():
        if user == member.user:
            continue
        for place, candidate in enumerate(iteration.candidates):
            if candidate.image is not None and candidate.image not in seen:
                seen.add(candidate.image)
                warnings = prompt_warnings(candidate)  # the others depend on whose best it might be
                yield Candidate(prompt=candidate.prompt, image=candidate.image, warnings=warnings, origin=(user, place))


def resolve_pooled(pooled: Sequence[Candidate], rounds: Mapping[str, Iteration]) -> tuple[Candidate, ...]:
    """Pooled candidates as the journal holds them, with the prompt and image that their owner's line has.

    Raises
    ------
    KeyError, IndexError
        There is no such owner in this round, or it has no such candidate.
    """
    resolved = []
    for candidate in pooled:
        assert candidate.origin is not None
        user, place = candidate.origin
        original = rounds[user].candidates[place]
        resolved.append(replace(candidate, prompt=original.prompt, image=original.image))
    return tuple(resolved)
