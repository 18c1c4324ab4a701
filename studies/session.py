"""The session of a study: which page each participant sees next (consent, demographics, trials, breaks, the end).

Invariant: everything is decided from what the study folder holds and nothing is kept in memory, so that after a reload,
on another day, or after the server was killed, a participant continues at the first trial without an answer.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Literal

from studies.sequence import AssignedTrial, order_block
from studies.store.store import Participant, Store
from studies.study import Study, Trial

ABANDONED_AFTER = timedelta(minutes=30)
"""Trials assigned to a participant who has done nothing for so long are assigned to others as well."""

Stage = Literal["consent", "about", "trial", "break", "done", "full", "waiting"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A trial as a participant is to see it. Images are names of assets."""

    position: int
    trial: Trial
    left: str | None
    right: str | None
    image: str | None
    done: int
    total: int
    ahead: tuple[str, ...]
    """Images that come next, for the browser to fetch in the meantime."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticipantState:
    """The stage that a participant has reached; `question` is set in the stage `trial`."""

    stage: Stage
    question: Question | None = None
    block: int = 0
    blocks: int = 0
    """In the stage break: how many of how many blocks are done."""


class StudySession:
    """A study that is running, with any number of participants at once."""

    def __init__(self, study: Study, store: Store, *, approve_all: bool = False) -> None:
        self.study = study
        self.store = store
        self._approve_all = approve_all
        self._assignment_lock = threading.Lock()
        self._reviews = store.reviews()

    @property
    def unreviewed(self) -> list[str]:
        """Items that somebody has to approve or reject before the study opens."""
        return [] if self._approve_all else [item for item in self.study.items if item not in self._reviews]

    @property
    def rejected(self) -> set[str]:
        return {item for item, approved in self._reviews.items() if not approved}

    def review(self, item_ids: Sequence[str], *, approved: bool) -> None:
        """Approve or reject images; trials with a rejected one are not asked any more.

        Raises
        ------
        ValueError
            An item is not in the study.
        """
        unknown = [item for item in item_ids if item not in self.study.items]
        if unknown:
            raise ValueError(f"no such image in this study: {unknown[0]!r}")
        self.store.review(item_ids, approved=approved)
        self._reviews = self.store.reviews()
        rejected, touched = self.rejected, set(item_ids)
        trials = [trial for trial in self.study.trials.values() if not touched.isdisjoint(trial.items)]
        if approved:
            self.store.restore(trial.trial_id for trial in trials if rejected.isdisjoint(trial.items))
        else:
            self.store.drop(trial.trial_id for trial in trials)

    def state(self, participant: Participant) -> ParticipantState:
        """The participant's state; assigns the first block once they have given their demographics."""
        if self.unreviewed:
            return ParticipantState(stage="waiting")
        if not participant.consented:
            begun = self.store.blocks(participant.participant)
            return ParticipantState(stage="consent" if self._blocks_ahead(participant, begun) else "full")
        if participant.about is None:
            return ParticipantState(stage="about")
        place = self.store.place(participant.participant)
        if place is None:
            begun = [block for block in self.store.blocks(participant.participant) if block]
            ahead = self._blocks_ahead(participant, begun)
            if begun:
                stage: Stage = "break" if ahead else "done"
                return ParticipantState(stage=stage, block=len(begun), blocks=len(begun) + len(ahead))
            if not self.next_block(participant):
                return ParticipantState(stage="full")
            place = self.store.place(participant.participant)
            if place is None:  # withdrawn meanwhile, by another of their devices
                return ParticipantState(stage="full")
        trial = self.study.trials[place.assigned.trial_id]
        left, right = self._sides(place.assigned)
        return ParticipantState(
            stage="trial",
            question=Question(
                position=place.position,
                trial=trial,
                left=left,
                right=right,
                image=trial.image,
                done=place.answered,
                total=place.total,
                ahead=tuple(item for a in place.ahead for item in self._shown_by(a)),
            ),
        )

    def next_block(self, participant: Participant) -> bool:
        """Assign the participant's next block; False where none is left for them."""
        name = participant.participant
        with self._assignment_lock:
            if self.store.place(name) is not None:
                return True
            begun = [block for block in self.store.blocks(name) if block]
            ahead = self._blocks_ahead(participant, begun)
            if not ahead:
                return False
            practice = [] if begun else [AssignedTrial(trial_id=t.trial_id, block=0) for t in self._shown("practice")]
            sequence = (
                self._images(participant)
                if self.study.settings.kind == "rating"
                else self._pairs(participant, ahead[0])
            )
            if sequence:
                self.store.assign(name, [*practice, *sequence])
            return bool(sequence)

    def vote(
        self, participant: str, position: int, winner: str, response_ms: int | None, layout: str | None = None
    ) -> None:
        """Record who won at a position; what was answered there before stands.

        Raises
        ------
        ValueError
            The position was not asked, or the winner is none that this study knows.
        """
        assigned = self._asked(participant, position)
        allowed = ("left", "right", "tie") if self.study.settings.tie else ("left", "right")
        if winner not in allowed:
            raise ValueError(f"the answer must be one of {', '.join(allowed)}, got {winner!r}")
        left, right = self._sides(assigned)
        if left is None or right is None:
            raise ValueError(f"trial {position} is none with two images")
        self.store.vote(
            participant,
            position,
            trial_id=assigned.trial_id,
            left=left,
            right=right,
            winner=winner,
            response_ms=response_ms,
            layout=layout,
        )

    def rate(self, participant: str, position: int, rating: float, response_ms: int | None) -> None:
        """Record a rating, 0 to 100, at a position; what was answered there before stands.

        Raises
        ------
        ValueError
            The position was not asked, or the rating is out of scale.
        """
        assigned = self._asked(participant, position)
        image = self.study.trials[assigned.trial_id].image
        if not 0 <= rating <= 100:
            raise ValueError(f"the rating must be from 0 to 100, got {rating}")
        if image is None:
            raise ValueError(f"trial {position} is none with one image")
        self.store.rate(
            participant, position, trial_id=assigned.trial_id, image=image, rating=rating, response_ms=response_ms
        )

    def _asked(self, participant: str, position: int) -> AssignedTrial:
        """What was asked there, provided that all before it is answered."""
        assigned = self.store.assigned(participant, position)
        place = self.store.place(participant, ahead=0)
        if assigned is None or (place is not None and position > place.position):
            raise ValueError(f"trial {position} was not asked yet")
        return assigned

    def _shown_by(self, assigned: AssignedTrial) -> list[str]:
        """Images in the order in which they will stand on the page."""
        image = self.study.trials[assigned.trial_id].image
        return [item for item in (*self._sides(assigned), image) if item is not None]

    def _sides(self, assigned: AssignedTrial) -> tuple[str | None, str | None]:
        trial = self.study.trials[assigned.trial_id]
        return (trial.right, trial.left) if assigned.swapped else (trial.left, trial.right)

    def _shown(self, kind: str) -> list[Trial]:
        rejected = self.rejected
        return [trial for trial in self.study.of_kind(kind) if rejected.isdisjoint(trial.items)]

    def _blocks_ahead(self, participant: Participant, begun: list[int]) -> list[int]:
        """Blocks that the participant has not begun, the next first."""
        settings = self.study.settings
        if settings.kind == "rating":
            expected = self.study.blocks_expected(None)
            return list(range(len(begun) + 1, expected + 1)) if self._images_lacking_ratings(participant) else []
        own = participant.user in self.study.users
        shown = {trial.block for trial in self._shown("trial")}
        free = [b for b in self.study.blocks_of(participant.user if own else None) if b in shown and b not in begun]
        if own:
            return free
        counts = self.store.block_counts()
        left = max(0, self.study.blocks_expected(None) - len(begun))
        return sorted(free, key=lambda block: (counts.get(block, 0), block))[:left]

    def _pairs(self, participant: Participant, block: int) -> list[AssignedTrial]:
        settings = self.study.settings
        shown = {trial.trial_id for trial in self._shown("trial")}
        trials = [trial for trial in self.study.blocks[block] if trial.trial_id in shown]
        met_before = self.store.block_counts().get(block, 0)
        return self._ordered(participant, trials, block, swapped=met_before % 2 == 1, repeats=settings.repeats)

    def _images(self, participant: Participant) -> list[AssignedTrial]:
        settings = self.study.settings
        lacking = self._images_lacking_ratings(participant)
        begun = [block for block in self.store.blocks(participant.participant) if block]
        each = settings.images_each or len(lacking)
        size = min(settings.block, each - settings.block * len(begun))
        return self._ordered(participant, lacking[:size], len(begun) + 1, swapped=False, repeats=settings.repeats)

    def _images_lacking_ratings(self, participant: Participant) -> list[Trial]:
        """Images that lack ratings and that the participant has not seen, those that lack most first."""
        wanted = self.study.settings.ratings_per_image
        since = (datetime.now(UTC) - ABANDONED_AFTER).isoformat(timespec="milliseconds")
        counts = self.store.trial_counts(since=since)
        met = self.store.met(participant.participant)
        lacking = [
            trial
            for trial in self._shown("trial")
            if trial.trial_id not in met and (wanted is None or counts.get(trial.trial_id, 0) < wanted)
        ]
        Random(f"{self.study.settings.seed}/{participant.number}").shuffle(lacking)
        return sorted(lacking, key=lambda trial: counts.get(trial.trial_id, 0))

    def _ordered(
        self, participant: Participant, trials: list[Trial], block: int, *, swapped: bool, repeats: float
    ) -> list[AssignedTrial]:
        if not trials:
            return []
        settings = self.study.settings
        seed = f"{settings.seed}/{participant.number}/{block}"
        checks = self._shown("attention")
        Random(f"{settings.seed}/{participant.number}/checks").shuffle(checks)
        met = len([b for b in self.store.blocks(participant.participant) if b]) * settings.attention
        checks = checks[met : met + settings.attention]
        return order_block(trials, checks, block=block, repeats=repeats, swapped=swapped, seed=seed)
