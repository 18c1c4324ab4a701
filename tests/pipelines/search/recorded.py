"""Cohorts and what is recorded of them: made up by hand, or by Hypothesis as the driver would record it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from pipelines.search.cohort import Cohort
from pipelines.search.history import History
from pipelines.search.notices import Check, Notice
from pipelines.search.rounds import Candidate, FreshImage, Proposed, Reseeded, Round, Scores, Verdict, new_images
from pipelines.search.state_machine import Propose, RenderBase, Reseed, Stop, next_step
from pipelines.search.trajectory import Trajectory
from pipelines.settings.search import GuardSettings, SearchSettings

NO = Notice(Check.DRIFT, 60.0, 56.0, "saturation rises from 20 to 60")
BETTER_BY_CHANCE = Notice(Check.RESEED, 0.4, 0.5, "with 1 fresh seeds its mean score is 0.400, the base prompt's 0.500")


def trajectory(
    user: str = "u1", run: int = 1, scorer: str = "pamela", prompt_id: str = "p1", seed: int = 0, image_seed: int = 1
) -> Trajectory:
    return Trajectory(
        user=user,
        members=(user,),
        prompt_id=prompt_id,
        base_prompt="a cat",
        scorer=scorer,
        run=run,
        image_seed=image_seed,
        seed=seed,
    )


def cohort_of(*users: str, prompt_id: str = "p1", run: int = 1, image_seed: int = 1) -> Cohort:
    members = tuple(trajectory(user, run=run, prompt_id=prompt_id, image_seed=image_seed) for user in users)
    return Cohort(f"{prompt_id}/pamela/{run}", members)


def base_round(cohort: Cohort, *scores: float, **parts: Any) -> Round:
    """Round 0, with each user's score of the base prompt's image."""
    return Round(
        number=0,
        proposed=(Proposed(users=cohort.users, candidates=(Candidate(prompt="a cat", image="base"),)),),
        scores=np.array(scores, np.float32)[:, None],
        **parts,
    )


def searched(number: int, proposals: Mapping[Any, Mapping[str, Sequence[float] | None]], **parts: Any) -> Round:
    """A round: for whom (a user, or several) -> image -> the scores of all users; None where a round before has them.

    Example:

        searched(1, {"a": {"x": (0.1, 0.9)}, "b": {}})
    """
    columns = [scores for images in proposals.values() for scores in images.values() if scores is not None]
    return Round(
        number=number,
        proposed=tuple(
            Proposed(users=(users,) if isinstance(users, str) else users, candidates=tuple(map(drawn, images)))
            for users, images in proposals.items()
        ),
        **({"scores": np.array(columns, np.float32).T} if columns else {}),
        **parts,
    )


def drawn(image: str) -> Candidate:
    """A candidate with an image."""
    return Candidate(prompt=f"a cat, {image}", image=image)


def reseeded(number: int, rejected: Mapping[str, str] = {}, kept: Mapping[str, str] = {}) -> Round:
    """A round of fresh seeds: user -> the winner's image."""
    return Round(
        number=number,
        reseeded={user: again(f"a cat, {image}", BETTER_BY_CHANCE) for user, image in rejected.items()}
        | {user: again(f"a cat, {image}") for user, image in kept.items()},
    )


def again(winner: str, rejected: Notice | None = None, before: float = 0.4, after: float = 0.5) -> Reseeded:
    return Reseeded(
        prompt=winner,
        seeds=(3,),
        initial=(FreshImage(image="fresh base", score=before),),
        final=(FreshImage(image="fresh winner", score=after),),
        rejected=rejected,
    )


def as_text(finished: Round) -> tuple[str, tuple[int, ...], bytes]:
    """All of a round, its scores and other floats bit for bit; nan is equal to itself."""
    rest = (finished.number, finished.proposed, dict(finished.verdicts), dict(finished.reseeded))
    return repr(rest), finished.scores.shape, finished.scores.tobytes()


some_scores = st.sampled_from([math.nan, -0.0, 0.0, 0.25, 0.5, 1.0]) | st.floats(
    width=32, allow_nan=False, allow_infinity=False
)
some_verdicts = st.sampled_from(
    [Verdict(), Verdict(measured={"saturation": 3.5}, warnings=(NO,)), Verdict(rejected=NO), Verdict(error="it died")]
)
some_settings = st.builds(
    SearchSettings,
    iterations=st.integers(0, 4),
    patience=st.integers(1, 3),
    share=st.just("pool"),
    guards=st.builds(GuardSettings, reseed=st.sampled_from(["off", "warn", "reject"])),
)


@st.composite
def recordings(draw: st.DrawFn, cohort: Cohort, settings: SearchSettings) -> list[Round]:
    """A whole search of a cohort, as the driver would record it."""
    history = History(cohort)
    while not isinstance(step := next_step(history, settings), Stop):
        history.append(draw(rounds_after(history, step, settings)))
    return history.rounds


@st.composite
def rounds_after(
    draw: st.DrawFn, history: History, step: RenderBase | Propose | Reseed, settings: SearchSettings
) -> Round:
    number, users = len(history.rounds), history.cohort.users
    if isinstance(step, Reseed):
        winners = {user: history.images[history.best[history.cohort.places[user]]].prompt for user in step.users}
        notices = st.sampled_from([None, BETTER_BY_CHANCE] if settings.guards.reseed == "reject" else [None])
        return Round(number=number, reseeded={user: again(prompt, draw(notices)) for user, prompt in winners.items()})
    if isinstance(step, RenderBase):
        base = Candidate(prompt="a cat", image=f"{history.cohort.id}:base")
        level = draw(st.floats(0, 1, width=32))
        scores = np.array([level, *(draw(some_scores) for _ in users[1:])], np.float32)[:, None]
        return Round(number=0, proposed=(Proposed(users=users, candidates=(base,)),), scores=scores)
    shared = number == 1 and settings.shares_first_round
    proposed = tuple(
        Proposed(
            users=whom,
            candidates=tuple(draw(st.lists(candidates_of(history.cohort), max_size=4))),
            seeds=tuple(draw(st.lists(st.integers(0, 2**63 - 1), max_size=2))),
            refused=draw(st.dictionaries(st.sampled_from(["empty", "duplicate"]), st.integers(1, 9), max_size=2)),
        )
        for whom in ([users] if shared else [(user,) for user in step.users])
    )
    return with_scores(draw, history, number, proposed)


def candidates_of(cohort: Cohort) -> st.SearchStrategy[Candidate]:
    """Of few images, so that some are proposed again."""
    keys = st.sampled_from([f"{cohort.id}:{letter}" for letter in "abcdefgh"]).map(drawn)
    prompts = st.sampled_from(["a cat, lost", "a cat, “dim\n☃”"])
    return st.one_of(
        keys,
        keys,
        keys.map(lambda candidate: Candidate(prompt=candidate.prompt, image=candidate.image, error="no scores")),
        st.builds(Candidate, prompt=prompts, error=st.just("the renderer died")),
        st.builds(Candidate, prompt=prompts, rejected=st.just(NO), warnings=st.just((NO,))),
    )


def with_scores(draw: st.DrawFn, history: History, number: int, proposed: tuple[Proposed, ...]) -> Round:
    keys = [str(candidate.image) for candidate, _ in new_images(proposed, history.place.keys())]
    shape = (len(history.cohort), len(keys))
    count = shape[0] * shape[1]
    flat = draw(st.lists(some_scores, min_size=count, max_size=count))
    verdicts = draw(st.dictionaries(st.sampled_from(keys), some_verdicts, max_size=3)) if keys else {}
    scores: Scores = np.array(flat, np.float32).reshape(shape)
    return Round(number=number, proposed=proposed, scores=scores, verdicts=verdicts)
