"""The users of a checkpoint with the answers of those who were enrolled, who can be updated and forgotten.

Users of the training ratings come first in the table, as many as the model has embeddings. They cannot be updated or
forgotten, because their ratings also shaped the weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from predictor.people import evidence_table
from predictor.people.user_name import check_name
from predictor.people.users import learnt_row, profile, profile_weights, typed
from predictor.taste.evidence import Evidence
from predictor.taste.hierarchical import Taste
from predictor.taste.posterior import infer


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """The users and the evidence of a checkpoint."""

    users: pa.Table
    evidence: pa.Table
    trained: int
    """The first rows of `users` are those of training."""

    def row(self, user: str) -> int:
        """The row of a user.

        Raises
        ------
        ValueError
            Nobody is called so.
        """
        names = self.users["user_id"].to_pylist()
        if user not in names:
            raise ValueError(f"unknown user {user!r}; the checkpoint knows {', '.join(names[:12])}")
        return names.index(user)

    def said_by(self, user: str, *, rank: int) -> Evidence:
        """What somebody answered; nothing by people of training, and by people who are not known."""
        return evidence_table.evidence_of(self.evidence, user, rank=rank)

    def check(self, user: str, demographics: Mapping[str, Any], *, update: bool) -> dict[str, Any]:
        """The row of somebody who is to be enrolled, or updated, as far as it is known.

        Raises
        ------
        ValueError
            The name is not one or is taken, or, with `update`, is unknown or of training; or a demographic column is
            not one of the checkpoint's.
        """
        check_name(user)
        if not update and user in self.users["user_id"].to_pylist():
            raise ValueError(
                f"--user {user}: is in the checkpoint already; name the new person otherwise, or add to what they "
                "answered by --update"
            )
        known = self._enrolled(user) if update else {"user_id": user}
        return {**known, **typed(self.users.schema, demographics)}

    def with_answers(
        self,
        user: str,
        said: Evidence,
        vectors: NDArray[np.float32],
        taste: Taste,
        demographics: Mapping[str, Any],
        *,
        update: bool = False,
    ) -> "People":
        """With one more person, or with more answers of one; as if all had been given at once.

        Parameters
        ----------
        vectors
            (images, dimensions), of the images of `said`.

        Raises
        ------
        ValueError
            See `check`.
        """
        known = self.check(user, demographics, update=update)
        weights = profile_weights(said.answers, len(said.ids))
        rest = self
        if update:
            before, rest = self.said_by(user, rank=taste.config.rank), self.without(user)
            vectors = np.concatenate([vectors, np.array([known["profile"]], np.float32)])
            weights = np.append(weights, profile_weights(before.answers, len(before.ids)).sum())
            said = before.joined(said)
        learnt = learnt_row(user, infer(taste, said), profile(vectors, weights), len(said.answers))
        added = pa.Table.from_pylist([{**known, **learnt}], self.users.schema)
        return People(
            users=pa.concat_tables([rest.users, added]),
            evidence=pa.concat_tables([rest.evidence, evidence_table.evidence_rows(user, said)]),
            trained=self.trained,
        )

    def without(self, user: str) -> "People":
        """Without a person who was enrolled.

        Raises
        ------
        ValueError
            The person is unknown or of training.
        """
        self._enrolled(user)
        users, evidence = (
            table.filter(pa.array([name != user for name in table["user_id"].to_pylist()], pa.bool_()))
            for table in (self.users, self.evidence)
        )
        return People(users=users, evidence=evidence, trained=self.trained)

    def _enrolled(self, user: str) -> dict[str, Any]:
        row = self.row(user)
        if row < self.trained:
            raise ValueError(
                f"--user {user}: is of the training ratings, which also shaped the model; change the dataset, and "
                "train again"
            )
        return self.users.slice(row, 1).to_pylist()[0]
