"""The history of a cohort: its rounds so far, and the arrays that follow from them.

Invariant: everything here is a function of the rounds alone, so that a history that was replayed from the journal is
the one that was searched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.search.cohort import Cohort
from pipelines.search.notices import Notice
from pipelines.search.rounds import Candidate, GuardVerdict, Proposed, Reseeded, Round, Scores, new_images

EVERYBODY = "*"
"""Whom an image was proposed for that all users share: the base prompt's, and those of a shared first round."""

NONE = -1
"""No image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredImage:
    """One image that the cohort has scored; its scores are a column of `History.scores`."""

    key: str
    prompt: str
    iteration: int
    proposed_for: str
    """User, or `EVERYBODY`."""
    warnings: tuple[Notice, ...]
    """Of its prompt."""


class History:
    """The recorded rounds of one cohort of M users, and the N images that they have scored."""

    def __init__(self, cohort: Cohort, rounds: Sequence[Round] = ()) -> None:
        self.cohort = cohort
        self.rounds: list[Round] = []
        self.images: list[ScoredImage] = []
        self.column_of_image: dict[str, int] = {}
        """Key of an image -> its column in `scores`."""
        self.verdicts: dict[str, GuardVerdict] = {}
        self.refused: dict[str, str] = {}
        """Images that can have no scores, and why, by their key."""
        self._blocks: list[Scores] = []
        self._best = np.full(len(cohort), NONE)
        self._best_score = np.full(len(cohort), -np.inf, np.float32)
        self.bests: NDArray[np.int_] = np.empty((0, len(cohort)), int)
        """The column of each user's best image after each round, shape (rounds, M); `NONE` where there is no score.

        The best has the highest score; of equal scores, the image that was proposed first. A best that the reseed guard
        has rejected gives way to the one before it. A user who picks an image keeps it as their best until they pick
        another.
        """
        self.picks = np.zeros(len(cohort), bool)
        """(M,): whether the user picks their best image themselves (steer-live), not by the highest score."""
        self._proposed: dict[str, list[tuple[Round, Proposed]]] = {user: [] for user in cohort.users}
        self._improved = np.zeros(len(cohort), int)
        for each in rounds:
            self.append(each)

    def append(self, finished: Round) -> None:
        """Add the next round.

        Raises
        ------
        ValueError
            It is not the next one, is of users that the cohort has not, or its scores are not of its images and users.
        """
        if finished.number != len(self.rounds):
            raise ValueError(f"round {len(self.rounds)} is due, got {finished.number}")
        proposed_for = (user for proposals in finished.proposed for user in proposals.users)
        named = {*finished.reseeded, *finished.chosen, *proposed_for}
        if strangers := sorted(named - self.cohort.row_of_user.keys()):
            raise ValueError(f"{strangers[0]!r} is not of the cohort")
        new = list(new_images(finished.proposed, self.column_of_image.keys()))
        if finished.scores.shape != (len(self.cohort), len(new)) and (new or finished.scores.size):
            rows, columns = len(self.cohort), len(new)
            raise ValueError(f"{rows} users score {columns} new images, got scores of shape {finished.scores.shape}")
        self.choose(finished.chosen)
        offset = len(self.images)
        for candidate, proposals in new:
            assert candidate.image is not None
            self.column_of_image[candidate.image] = len(self.images)
            self.images.append(
                ScoredImage(
                    key=candidate.image,
                    prompt=candidate.prompt,
                    iteration=finished.number,
                    proposed_for=EVERYBODY if proposals.shared else proposals.users[0],
                    warnings=candidate.warnings,
                )
            )
        for proposals in finished.proposed:
            self.refused |= {str(c.image): c.error for c in proposals.candidates if c.image and c.error}
            for user in proposals.users:
                self._proposed[user].append((finished, proposals))
        self.verdicts |= finished.verdicts
        self.rounds.append(finished)
        if new:
            self._blocks.append(finished.scores)
            self._take_best_of(finished.scores, offset)
        for user, again in finished.reseeded.items():
            if again.rejected is not None:
                self._go_back(self.cohort.row_of_user[user])
        self.bests = np.vstack([self.bests, self._best])

    def choose(self, chosen: Mapping[str, str]) -> None:
        """Make images the best of the users who chose them, from the next round on.

        Raises
        ------
        ValueError
            An image is none that the cohort has scored.
        """
        if unknown := sorted(image for image in chosen.values() if image not in self.column_of_image):
            raise ValueError(f"{unknown[0]!r} was chosen, which is none of the images")
        for user, image in chosen.items():
            row, column = self.cohort.row_of_user[user], self.column_of_image[image]
            self.picks[row] = True
            self._best[row], self._best_score[row] = column, self.scores[row, column]

    @property
    def ends_with_keep(self) -> bool:
        """Whether the last recorded round says that the user keeps the image they picked."""
        return bool(self.rounds) and self.rounds[-1].keeps

    @property
    def scores(self) -> Scores:
        """Of every user and image, shape (M, N); nan where there is none."""
        if len(self._blocks) > 1:
            self._blocks = [np.hstack(self._blocks)]
        return self._blocks[0] if self._blocks else np.empty((len(self.cohort), 0), np.float32)

    @property
    def searched(self) -> int:
        """Rounds of the search itself, the base prompt's among them, without those of the reseed guard."""
        return sum(each.searches for each in self.rounds)

    @property
    def stale(self) -> NDArray[np.int_]:
        """For each user, rounds of the search in a row that have brought no new best, shape (M,)."""
        return self.searched - 1 - self._improved

    @property
    def best(self) -> NDArray[np.int_]:
        """The column of each user's best image, shape (M,)."""
        return self._best

    @property
    def best_scores(self) -> Scores:
        """Shape (M,); -inf where there is none."""
        return self._best_score

    def eligible(self, scores: Scores, keys: Sequence[str], verdicts: dict[str, GuardVerdict]) -> Scores:
        """Scores (M, n) of some images with -inf where an image cannot be a user's best."""
        barred = [key in verdicts and not verdicts[key].passed for key in keys]
        return np.where(np.isnan(scores) | np.array(barred, bool), -np.inf, scores)

    def proposed_for(self, user: str) -> Sequence[tuple[Round, Proposed]]:
        """What was proposed for a user, round by round."""
        return self._proposed[user]

    def score(self, user: str, candidate: Candidate) -> float | None:
        """The user's score of a candidate's image, where there is one."""
        if candidate.image is None or candidate.error is not None:
            return None
        score = float(self.scores[self.cohort.row_of_user[user], self.column_of_image[candidate.image]])
        return None if np.isnan(score) else score

    def reseeded(self, user: str) -> list[Reseeded]:
        """What the reseed guard has rendered for a user."""
        return [each.reseeded[user] for each in self.rounds if user in each.reseeded]

    def gain(self, row: int) -> float:
        """How much a user's best score is above that of the base prompt."""
        return float(self.best_scores[row] - self.scores[row, self.bests[0][row]])

    def failure(self, row: int) -> str | None:
        """Why a user's search failed, or None.

        It failed where the base image has no score, or nothing proposed for this user could be rendered and scored. A
        user whose best image was proposed for somebody else has not failed.
        """
        if not self.rounds:
            return None
        if self._best[row] == NONE:
            return "the score of the base prompt's image is not a number"
        proposed = [proposals for each, proposals in self.proposed_for(self.cohort.users[row]) if each.number]
        candidates = [candidate for proposals in proposed for candidate in proposals.candidates]
        found_better = self._best[row] != self.bests[0][row]
        if found_better or not proposed or any(c.error is None for c in candidates):
            return None
        reasons = [reason for proposals in proposed for reason in proposals.refused]
        reason = next((candidate.error for candidate in candidates), None) or next(iter(reasons), "no proposal")
        return f"nothing that was proposed could be rendered and scored: {reason}"

    def _take_best_of(self, scores: Scores, offset: int) -> None:
        keys = [image.key for image in self.images[offset:]]
        eligible = self.eligible(scores, keys, self.verdicts)
        first = eligible.argmax(1)
        highest = eligible[np.arange(len(first)), first]
        better = (highest > self._best_score) & ~self.picks
        if len(self.bests):
            better &= self._best != NONE  # without a score of the base image there is no search
        self._best = np.where(better, offset + first, self._best)
        self._best_score = np.where(better, highest, self._best_score)
        self._improved = np.where(better, len(self.rounds) - 1, self._improved)

    def _go_back(self, row: int) -> None:
        """Give a user the best before the one that the reseed guard has rejected."""
        rejected = {again.prompt for again in self.reseeded(self.cohort.users[row]) if again.rejected is not None}
        kept = [column for column in self.bests[:, row] if self.images[column].prompt not in rejected]
        self._best[row] = kept[-1]
        self._best_score[row] = self.scores[row, kept[-1]]
