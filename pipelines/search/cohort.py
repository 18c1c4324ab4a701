"""Who shares what: a cohort is the trajectories whose rounds go side by side, so that each may see the others' images.

Where images are pooled, all users of one prompt, scorer and run are a cohort; runs stay independent passes, and scorers
stay rivals. Else every trajectory is a cohort of its own.

A round is the same for whatever order its images were drawn in: who takes part, and whose images are scored for whom,
follows from the recorded histories. A member that has stopped watches: it draws nothing, but has the others' images
scored, and goes on where one of them is a new best. One that failed in an earlier start of the run is behind, and
catches up alone with what the others have recorded, to the last of their rounds, whether it searches or watches.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from pipelines.search.guards import of_the_prompt
from pipelines.search.steps import Propose, RenderBase, Reseed, Step, Stop, Watch, next_step
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
    """What each member that takes part in the next round does, by trajectory id; nothing where the cohort is done.

    Raises
    ------
    BasePromptFailedError
        As `next_step`.
    """
    steps = {member.id: next_step(histories[member.id], protocol) for member in members}
    front = max((i.number + 1 for history in histories.values() for i in history if i.reseeded is None), default=0)
    going_on = [
        name
        for name, step in steps.items()
        if isinstance(step, RenderBase | Propose) or len(histories[name]) < front  # of what others drew, to be watched
    ]
    if not going_on:
        return {name: step for name, step in steps.items() if isinstance(step, Reseed)}
    number = min(len(histories[name]) for name in going_on)
    taking_part: dict[str, Step] = {}
    for name, step in steps.items():
        if len(histories[name]) == number:
            taking_part[name] = Watch(number) if isinstance(step, Stop | Reseed) else step
    return taking_part


def others_images(member: Trajectory, own: Iteration, rounds: Mapping[str, Iteration]) -> Iterator[Candidate]:
    """What the others drew in a round, as candidates of this member that have no score yet.

    Each image once, and none that the member drew itself; the same whether the others' rounds have been guarded yet or
    are long recorded.

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
                warnings = of_the_prompt(candidate)  # the others are about what might be somebody's best
                yield Candidate(prompt=candidate.prompt, image=candidate.image, warnings=warnings, origin=(user, place))


def pooled(verdicts: Sequence[Candidate], rounds: Mapping[str, Iteration]) -> tuple[Candidate, ...]:
    """What a journal's line says of others' images, with the prompts and images that their owners' lines hold.

    Raises
    ------
    KeyError, IndexError
        There is no such owner in this round, or it has no such candidate.
    """
    resolved = []
    for verdict in verdicts:
        assert verdict.origin is not None
        user, place = verdict.origin
        theirs = rounds[user].candidates[place]
        resolved.append(replace(verdict, prompt=theirs.prompt, image=theirs.image))
    return tuple(resolved)
