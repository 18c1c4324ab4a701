"""The session of a study: which page each participant sees next (consent, demographics, trials, breaks, the end).

Invariant: everything is decided from what the study folder holds, so that after a reload, on another day, or after the
server was killed, a participant continues at the first trial without an answer. What is kept in memory is what the
images' reviews leave to be shown, and changes with them alone.
"""

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Literal

from studies.adaptive import FILE, next_in_block, outline_block
from studies.sequence import AssignedTrial, order_block, repeats_of
from studies.store.store import Invitation, Participant, Store
from studies.study import Study, Trial

if TYPE_CHECKING:  # PyTorch takes seconds to import, and most studies have no need of it
    from predictor.people.interview import Interview

ABANDONED_AFTER = timedelta(minutes=30)
"""Trials assigned to a participant who has done nothing for so long are assigned to others as well."""

UNDO_WITHIN = timedelta(seconds=5)
"""How long the last answer can be taken back."""
_ON_THE_WAY = timedelta(seconds=2)
"""What a slow connection may add to it."""

Stage = Literal["consent", "about", "trial", "break", "done", "full", "waiting", "closed"]


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
    """Answers, of the whole study as far as it is known."""
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
    undo: int | None = None
    """The position of the last answer, for as long as it can be taken back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VisibleTrials:
    """What may be shown, as the reviews of images stand."""

    unreviewed: tuple[str, ...]
    """Items that somebody has to approve or reject before the study opens."""
    rejected: frozenset[str]
    trials: Mapping[str, Sequence[Trial]]
    """By kind, without those that have a rejected image."""
    blocks: Mapping[int, Sequence[Trial]]
    """The trials of each block, in the order of the study; blocks of which none is left are not there."""


def visible_trials(study: Study, reviews: Mapping[str, bool], *, approve_all: bool) -> VisibleTrials:
    rejected = frozenset(item for item, approved in reviews.items() if not approved)
    trials: dict[str, list[Trial]] = defaultdict(list)
    blocks: dict[int, list[Trial]] = defaultdict(list)
    for trial in study.trials.values():
        if rejected.isdisjoint(trial.items):
            trials[trial.kind].append(trial)
            if trial.kind == "trial":
                blocks[trial.block].append(trial)
    unreviewed = () if approve_all else tuple(item for item in study.items if item not in reviews)
    return VisibleTrials(unreviewed=unreviewed, rejected=rejected, trials=trials, blocks=blocks)


class StudySession:
    """A study that is running, with any number of participants at once.

    Raises
    ------
    ValueError
        The study is adaptive, and what it chooses by cannot be read.
    """

    def __init__(self, study: Study, store: Store, *, approve_all: bool = False) -> None:
        self.study = study
        self.store = store
        self._approve_all = approve_all
        self._assignment_lock = threading.Lock()
        self._visible = visible_trials(study, store.reviews(), approve_all=approve_all)
        self._interview = _interview_of(study)

    @property
    def unreviewed(self) -> Sequence[str]:
        """Items that somebody has to approve or reject before the study opens."""
        return self._visible.unreviewed

    @property
    def rejected(self) -> frozenset[str]:
        return self._visible.rejected

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
        self._visible = visible_trials(self.study, self.store.reviews(), approve_all=self._approve_all)
        touched = set(item_ids)
        trials = [trial for trial in self.study.trials.values() if not touched.isdisjoint(trial.items)]
        if approved:
            self.store.restore(trial.trial_id for trial in trials if self.rejected.isdisjoint(trial.items))
        else:
            self.store.drop(trial.trial_id for trial in trials)

    def state(self, participant: Participant) -> ParticipantState:
        """The participant's state; assigns the first block once they have given their demographics."""
        if not participant.consented:
            return ParticipantState(stage=self.arrival(participant))
        if self.unreviewed:
            return ParticipantState(stage="waiting")
        if participant.about is None:
            return ParticipantState(stage="about")
        begun = self._begun(participant)
        self._ask_ahead(participant, begun)
        place = self.store.place(participant.participant)
        undo = self.store.last_answer(participant.participant, since=_ago(UNDO_WITHIN))
        if place is None:
            ahead = self._blocks_ahead(participant, begun)
            if begun:
                stage: Stage = "break" if ahead else "done"
                return ParticipantState(stage=stage, block=len(begun), blocks=len(begun) + len(ahead), undo=undo)
            if not self.next_block(participant):
                return ParticipantState(stage="full")
            begun = self._begun(participant)
            self._ask_ahead(participant, begun)
            place = self.store.place(participant.participant)
            if place is None:  # withdrawn meanwhile, by another of their devices
                return ParticipantState(stage="full")
        trial = self.study.trials[place.assigned.trial_id]
        left, right = self._sides(place.assigned)
        return ParticipantState(
            stage="trial",
            undo=undo,
            question=Question(
                position=place.position,
                trial=trial,
                left=left,
                right=right,
                image=trial.image,
                done=place.answered,
                total=place.total + self._rest_of_block(participant, begun) + self._still_to_come(participant, begun),
                ahead=tuple(item for a in place.ahead for item in self._shown_by(a)),
            ),
        )

    def join(self, token: str) -> str | None:
        """A session for whoever holds this invitation; None where it is not open to them (see `invitation`)."""
        return self.store.join(token, invited_since=_ago(timedelta(days=self.study.settings.invitation_days)))

    def invitation(self, token: str) -> Invitation:
        """Whether an invitation lets its holder in, and if not, why."""
        return self.store.invitation(token, invited_since=_ago(timedelta(days=self.study.settings.invitation_days)))

    def participant(self, session: str) -> Participant | None:
        """Whose session this is; None where it is not known, or too old."""
        return self.store.participant(session, started_since=_ago(timedelta(days=self.study.settings.session_days)))

    def arrival(self, participant: Participant | None = None) -> Stage:
        """What meets somebody who has not agreed yet, also before anything is known of them: consent, or why not."""
        if self.unreviewed:
            return "waiting"
        if self.store.closed:
            return "closed"
        return "consent" if self._something_left(participant) else "full"

    def next_block(self, participant: Participant) -> bool:
        """Assign the participant's next block; False where none is left for them."""
        name = participant.participant
        with self._assignment_lock:
            if self.store.place(name) is not None:
                return True
            begun = self._begun(participant)
            ahead = self._blocks_ahead(participant, begun)
            if not ahead:
                return False
            practice = [] if begun else [AssignedTrial(trial_id=t.trial_id, block=0) for t in self._of_kind("practice")]
            if self._interview is not None:
                sequence = self._next_adaptive(participant, len(begun) + 1, ())
            elif self.study.settings.kind == "rating":
                sequence = self._images(participant, begun)
            else:
                sequence = self._pairs(participant, ahead, begun)
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

    def undo(self, participant: str, position: int) -> bool:
        """Take the answer at a position back; False unless it is the last one, and was given just now."""
        return self.store.undo(participant, position, since=_ago(UNDO_WITHIN + _ON_THE_WAY))

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

    def _of_kind(self, kind: str) -> Sequence[Trial]:
        return self._visible.trials.get(kind, ())

    def _begun(self, participant: Participant) -> list[int]:
        """The blocks that the participant has begun, without practice."""
        return [block for block in self.store.blocks(participant.participant) if block]

    def _something_left(self, participant: Participant | None) -> bool:
        """Whether there is anything to ask of somebody who has answered nothing yet."""
        if self.study.settings.kind == "rating":
            return any(self._lacking_ratings(set()))
        return bool(self._free_blocks(participant.user if participant else None, ()))

    def _blocks_ahead(self, participant: Participant, begun: Sequence[int]) -> list[int]:
        """Blocks that the participant may yet take, in the order of the study."""
        if self.study.settings.kind == "rating":
            if not any(self._lacking_ratings(self.store.met(participant.participant))):
                return []
            return list(range(len(begun) + 1, self.study.blocks_expected(None) + 1))
        free = self._free_blocks(participant.user, begun)
        if self.study.steered_for(participant.user):
            return free
        return free[: max(0, self.study.blocks_expected(None) - len(begun))]

    def _still_to_come(self, participant: Participant, begun: Sequence[int]) -> int:
        """How many trials the blocks have that the participant has not begun, if nothing is dropped or runs out."""
        settings, expected = self.study.settings, self.study.blocks_expected(participant.user)
        if settings.kind == "rating":
            each = settings.images_each or len(self._of_kind("trial"))
            sizes = [min(settings.block, each - settings.block * number) for number in range(len(begun), expected)]
        else:
            free = self._free_blocks(participant.user, begun)[: max(0, expected - len(begun))]
            sizes = [len(self._visible.blocks[block]) for block in free]
        repeated = sum(repeats_of(size, settings.repeats) for size in sizes)
        checks = min(settings.attention * expected, len(self._of_kind("attention")))
        return sum(sizes) + repeated + max(0, checks - settings.attention * len(begun))

    def _free_blocks(self, user: str | None, begun: Sequence[int]) -> list[int]:
        """Blocks made for a user, or else for anybody, that are not begun and have something to show."""
        own = user if self.study.steered_for(user) else None
        return [b for b in self.study.blocks_of(own) if b in self._visible.blocks and b not in begun]

    def _pairs(self, participant: Participant, ahead: Sequence[int], begun: Sequence[int]) -> list[AssignedTrial]:
        """Their own next block; or of those for anybody the one that fewest have begun."""
        counts = self.store.block_counts()
        block = ahead[0]
        if not self.study.steered_for(participant.user):
            block = min(self._free_blocks(None, begun), key=lambda number: (counts.get(number, 0), number))
        swapped = counts.get(block, 0) % 2 == 1
        return self._ordered(participant, self._visible.blocks[block], block, begun, swapped=swapped)

    def _images(self, participant: Participant, begun: Sequence[int]) -> list[AssignedTrial]:
        """The images that lack most ratings, those counted that may still come from others who are at it.

        When all that lack are in somebody's hands already, they are handed out once more: people leave.
        """
        settings = self.study.settings
        lacking = list(self._lacking_ratings(self.store.met(participant.participant)))
        Random(f"{settings.seed}/{participant.number}").shuffle(lacking)
        counts = self.store.trial_counts(since=_ago(ABANDONED_AFTER))
        lacking.sort(key=lambda trial: counts.get(trial.trial_id, 0))
        each = settings.images_each or len(lacking)
        size = min(settings.block, each - settings.block * len(begun))
        return self._ordered(participant, lacking[:size], len(begun) + 1, begun, swapped=False)

    def _lacking_ratings(self, met: set[str]) -> Iterator[Trial]:
        """Images that lack ratings, but for those that were met."""
        wanted = self.study.settings.ratings_per_image
        enough = met if wanted is None else met | self.store.fully_rated(wanted)
        return (trial for trial in self._of_kind("trial") if trial.trial_id not in enough)

    def _ask_ahead(self, participant: Participant, begun: Sequence[int]) -> None:
        """In an adaptive study, assign the image after the one at hand, so that browsers can fetch it meanwhile.

        The choice is made outside the lock, and counts unless another device of theirs was faster.
        """
        if self._interview is None or not begun:
            return
        name, block = participant.participant, begun[-1]
        while (place := self.store.place(name, ahead=1)) is None or not place.ahead:
            assigned = self.store.block(name, block)
            following = self._next_adaptive(participant, block, assigned)
            if not following:
                return
            with self._assignment_lock:
                if len(self.store.block(name, block)) == len(assigned):
                    self.store.assign(name, following)
                    self.store.drop(a.trial_id for a in following if self._is_rejected(a))
                    if len(self.store.block(name, block)) == len(assigned):  # withdrawn meanwhile
                        return

    def _next_adaptive(
        self, participant: Participant, block: int, assigned: Sequence[AssignedTrial]
    ) -> list[AssignedTrial]:
        """The trial after those of this block; none at its end."""
        following = next_in_block(self._outline(participant, block), assigned, lambda: self._chosen(participant))
        return [] if following is None else [following]

    def _chosen(self, participant: Participant) -> str | None:
        """The trial that should tell most about the participant; of those that lack ratings, while there are some."""
        assert self._interview is not None
        met = self.store.met(participant.participant)
        unmet = [trial for trial in self._of_kind("trial") if trial.trial_id not in met]
        askable = {str(t.image): t.trial_id for t in [*self._lacking_ratings(met)] or unmet}
        if not askable:
            return None
        ratings = self.store.ratings_by(participant.participant)
        rated = {image for image, _ in ratings}
        pending = [image for trial in sorted(met) if (image := self.study.trials[trial].image) and image not in rated]
        return askable[
            self._interview.next(
                [(image, rating / 100) for image, rating in ratings],
                pending=pending,
                askable=askable,
                seed=(self.study.settings.seed, participant.number),
            )
        ]

    def _outline(self, participant: Participant, block: int) -> Sequence[AssignedTrial]:
        settings, images = self.study.settings, len(self.study.of_kind("trial"))
        each = min(settings.images_each or images, images)
        return outline_block(
            min(settings.block, each - settings.block * (block - 1)),
            self._checks(participant, block - 1),
            block=block,
            repeats=settings.repeats,
            seed=f"{settings.seed}/{participant.number}/{block}",
        )

    def _rest_of_block(self, participant: Participant, begun: Sequence[int]) -> int:
        """How many trials of the block at hand are not assigned yet: none but in an adaptive study."""
        if self._interview is None or not begun:
            return 0
        assigned = self.store.block(participant.participant, begun[-1])
        return len(self._outline(participant, begun[-1])) - len(assigned)

    def _is_rejected(self, assigned: AssignedTrial) -> bool:
        return not self.rejected.isdisjoint(self.study.trials[assigned.trial_id].items)

    def _ordered(
        self, participant: Participant, trials: Sequence[Trial], block: int, begun: Sequence[int], *, swapped: bool
    ) -> list[AssignedTrial]:
        if not trials:
            return []
        settings = self.study.settings
        seed = f"{settings.seed}/{participant.number}/{block}"
        checks = self._checks(participant, len(begun))
        return order_block(trials, checks, block=block, repeats=settings.repeats, swapped=swapped, seed=seed)

    def _checks(self, participant: Participant, blocks: int) -> Sequence[Trial]:
        """The attention checks of the block that comes after so many."""
        settings = self.study.settings
        checks = list(self._of_kind("attention"))
        Random(f"{settings.seed}/{participant.number}/checks").shuffle(checks)
        return checks[blocks * settings.attention : (blocks + 1) * settings.attention]


def _interview_of(study: Study) -> "Interview | None":
    if not study.settings.adaptive:
        return None
    from predictor.people.interview import Interview

    return Interview.load(study.folder / FILE)


def _ago(time: timedelta) -> str:
    return (datetime.now(UTC) - time).isoformat(timespec="milliseconds")
