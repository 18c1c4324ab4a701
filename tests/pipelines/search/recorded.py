"""Cohorts and what is recorded of them: made up by hand, or by Hypothesis as the driver would record it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
from hypothesis import strategies as st

from pipelines.search.cohort import Cohort
from pipelines.search.history import History
from pipelines.search.notices import Check, Notice
from pipelines.search.rounds import Candidate, FreshImage, GuardVerdict, Proposed, Reseeded, Round, new_images
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
        user_ids=(user,),
        prompt_id=prompt_id,
        base_prompt="a cat",
        scorer=scorer,
        run=run,
        image_seed=image_seed,
        seed=seed,
    )


def cohort_of(*users: str, prompt_id: str = "p1", run: int = 1, image_seed: int = 1) -> Cohort:
    trajectories = tuple(trajectory(user, run=run, prompt_id=prompt_id, image_seed=image_seed) for user in users)
    return Cohort(f"{prompt_id}/pamela/{run}", trajectories)


def base_round(cohort: Cohort, *scores: float, **parts: Any) -> Round:
    """Round 0, with each user's score of the base prompt's image."""
    return Round(
        number=0,
        proposed=(Proposed(users=cohort.users, candidates=(Candidate(prompt="a cat", image="base"),), shared=True),),
        scores=np.array(scores, np.float32)[:, None],
        **parts,
    )


def searched(number: int, proposals: Mapping[Any, Mapping[str, Sequence[float] | None]], **parts: Any) -> Round:
    """A round: for whom (a user, or several) -> image -> the scores of all users; None where a round before has them.

    Example:

        searched(1, {"a": {"x": (0.1, 0.9)}, "b": {}})
    """
    columns = [scores for images in proposals.values() for scores in images.values() if scores is not None]
    if columns:
        parts["scores"] = np.array(columns, np.float32).T
    return Round(
        number=number,
        proposed=tuple(
            Proposed(
                users=(users,) if isinstance(users, str) else users,
                candidates=tuple(map(drawn, images)),
                shared=not isinstance(users, str),
            )
            for users, images in proposals.items()
        ),
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


some_settings = st.builds(
    SearchSettings,
    iterations=st.sampled_from([3, 2, 4, 1, 0]),
    patience=st.sampled_from([2, 1, 3]),
    share=st.just("pool"),
    guards=st.builds(GuardSettings, reseed=st.sampled_from(["reject", "off", "warn"])),
)

_LEVELS = [0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0, -1.5, 0.0, -0.0, math.nan]
"""Few, so that many scores are equal."""
_VERDICTS = [
    *[GuardVerdict(), GuardVerdict(measured={"saturation": 3.5}, warnings=(NO,))],
    *[GuardVerdict(measured={"saturation": 60.0}, rejected=NO), GuardVerdict(error="it could not be guarded: it died")],
]


def recordings(cohort: Cohort, settings: SearchSettings) -> st.SearchStrategy[list[Round]]:
    """Whole searches of a cohort, as the driver would record them.

    Of a random generator and not choice by choice, which is slow and gives searches that hardly ever find a new best.
    """
    return st.randoms(use_true_random=True).map(lambda random: record(random, cohort, settings))


def record(random: Random, cohort: Cohort, settings: SearchSettings) -> list[Round]:
    history = History(cohort)
    while not isinstance(step := next_step(history, settings), Stop):
        history.append(_next_round(random, history, step, settings))
    return history.rounds


def _next_round(
    random: Random, history: History, step: RenderBase | Propose | Reseed, settings: SearchSettings
) -> Round:
    cohort, number = history.cohort, len(history.rounds)
    if isinstance(step, Reseed):
        bests = {user: history.images[history.best[cohort.row_of_user[user]]].prompt for user in step.users}
        notices = [BETTER_BY_CHANCE, None] if settings.guards.reseed == "reject" else [None]
        return Round(
            number=number, reseeded={user: again(best, random.choice(notices)) for user, best in bests.items()}
        )
    if isinstance(step, RenderBase):
        base = Candidate(prompt=cohort.base_prompt, image=f"{cohort.id}:base")
        scores = [random.choice(_LEVELS[:3]), *random.choices([0.25, 0.5, math.nan], (4, 4, 1), k=len(cohort) - 1)]
        proposed = (Proposed(users=cohort.users, candidates=(base,), shared=True),)
        return Round(number=0, proposed=proposed, scores=np.array(scores, np.float32)[:, None])
    shared = number == 1 and settings.shares_first_round
    proposed = tuple(
        Proposed(
            users=users,
            candidates=tuple(_candidate(random, cohort) for _ in range(random.randint(0, 4))),
            seeds=tuple(random.getrandbits(63) for _ in range(random.randint(1, 3))),
            refused={"empty": 1} if random.random() < 0.3 else {},
        )
        for users in ([cohort.users] if shared else [(user,) for user in step.users])
    )
    keys = [str(candidate.image) for candidate, _ in new_images(proposed, history.column_of_image.keys())]
    scores = np.array(random.choices(_LEVELS, k=len(cohort) * len(keys)), np.float32).reshape(len(cohort), len(keys))
    verdicts = {key: random.choice(_VERDICTS) for key in keys if random.random() < 0.3}
    return Round(number=number, proposed=proposed, scores=scores, verdicts=verdicts)


def _candidate(random: Random, cohort: Cohort) -> Candidate:
    """Of few images, so that some are proposed again."""
    image = drawn(f"{cohort.id}:{random.choice('abcdefghijkl')}")
    kinds = [
        image,
        replace(image, error="no scores"),
        Candidate(prompt="a cat, “lost\n☃”", error="the renderer died"),
        Candidate(prompt="a dog", rejected=NO, warnings=(NO,)),
    ]
    return random.choices(kinds, (7, 1, 1, 1))[0]
