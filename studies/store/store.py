"""votes.sqlite: participants, what each is to be asked, votes and ratings.

The invariant: a call that returns has been committed and is on the disk (WAL, synchronous FULL), and an answer to the
same position of the same participant is there once, however often it was sent. Readers in other processes see a
consistent state at any time. Secrets (invitations, sessions) are kept as hashes: who reads the file cannot take part
with it.
"""

import hashlib
import json
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from studies.sequence import AssignedTrial
from studies.store.database import open_for_writing

_UNANSWERED = (
    "NOT EXISTS (SELECT 1 FROM votes v WHERE v.participant = a.participant AND v.position = a.position) "
    "AND NOT EXISTS (SELECT 1 FROM ratings r WHERE r.participant = a.participant AND r.position = a.position)"
)

_TAKES_PART = "SELECT count(*) FROM participants WHERE participant = ? AND withdrawn_at IS NULL"

Source = Literal["invitation", "prolific", "simulated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """Somebody who takes part, or is invited to."""

    number: int
    """From 1, in the order of invitation; what is shuffled for somebody is seeded by it."""
    participant: str
    """A random name."""
    user: str | None
    """Whose taste they have, where the study was made for known users."""
    source: Source
    consented: bool
    about: Mapping[str, str] | None
    """Demographics as given; None before they were asked."""
    may_withdraw: bool
    """Whether this session may take back what was said: not one that was opened by a name that others may know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The first position of a participant's sequence without an answer, and how many there are."""

    position: int
    assigned: AssignedTrial
    answered: int
    total: int
    ahead: tuple[AssignedTrial, ...]
    """What comes next after this one."""


class Store:
    """The one connection by which a server writes; safe to use from several threads.

    Raises
    ------
    ValueError
        The file cannot be opened or written, or is no database.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._db = open_for_writing(path)

    def close(self) -> None:
        """Bring everything into the one file, and let it go; closing again does nothing."""
        with self._lock, suppress(sqlite3.ProgrammingError):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that happens inside is on the disk when the block ends, or not at all."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    # Who takes part

    def invite(self, users: Iterable[str | None], *, source: Source = "invitation") -> list[tuple[str, str]]:
        """Make an invitation for each; returns (participant, token) pairs, the tokens of 192 random bits."""
        made = []
        with self.transaction():
            for user in users:
                token = secrets.token_urlsafe(24)
                made.append((self._new_participant(user, source, None, _hash(token)), token))
        return made

    def join(self, token: str) -> str | None:
        """A new session for whoever holds this invitation; None where it is not known."""
        with self.transaction():
            row = self._row("SELECT participant FROM participants WHERE token_hash = ?", _hash(token))
            return None if row is None else self._new_session(row["participant"], may_withdraw=True)

    def join_from_prolific(self, external_id: str) -> str | None:
        """A new session for a participant of Prolific, who is the same person whenever they come.

        The id is no secret. So whoever comes by it takes part as nobody in particular, and only the device that came
        first may withdraw. Who has withdrawn is not let in again: None.
        """
        with self.transaction():
            row = self._row(
                "SELECT participant, withdrawn_at FROM participants "
                "WHERE source = 'prolific' AND external_id IN (?, ?)",
                external_id,
                _hash(external_id),
            )
            if row is None:
                name = self._new_participant(None, "prolific", external_id, None)
            elif row["withdrawn_at"] is not None:
                return None
            else:
                name = row["participant"]
            return self._new_session(name, may_withdraw=row is None)

    def participant(self, session: str) -> Participant | None:
        row = self._row(
            "SELECT p.*, s.may_withdraw FROM sessions s JOIN participants p USING (participant) "
            "WHERE s.session_hash = ?",
            _hash(session),
        )
        return None if row is None else _participant(row)

    def consent(self, participant: str) -> None:
        self._run(
            "UPDATE participants SET consented_at = coalesce(consented_at, ?) "
            "WHERE participant = ? AND withdrawn_at IS NULL",
            _now(),
            participant,
        )

    def describe(self, participant: str, about: Mapping[str, str]) -> None:
        """Keep the demographics that were given; what was declined is not in them."""
        text = json.dumps(dict(about), ensure_ascii=False, sort_keys=True)
        self._run(
            "UPDATE participants SET about = coalesce(about, ?) WHERE participant = ? AND withdrawn_at IS NULL",
            text,
            participant,
        )

    def withdraw(self, participant: str) -> None:
        """Take back everything that this person said; that somebody was there stays, and what they were handed.

        Of a recruiting platform's id a hash stays, so that they are not taken for somebody new.
        """
        with self.transaction():
            row = self._row("SELECT external_id FROM participants WHERE participant = ?", participant)
            known = None if row is None or row["external_id"] is None else _hash(row["external_id"])
            for table in ("votes", "ratings", "sessions"):
                self._db.execute(f"DELETE FROM {table} WHERE participant = ?", (participant,))
            self._db.execute("UPDATE assignments SET dropped = 1 WHERE participant = ?", (participant,))
            self._db.execute(
                "UPDATE participants SET withdrawn_at = ?, user = NULL, about = NULL, external_id = ?, "
                "token_hash = NULL WHERE participant = ?",
                (_now(), known, participant),
            )

    # What they are asked, and say

    def assign(self, participant: str, sequence: Sequence[AssignedTrial]) -> None:
        """Add trials behind those that the participant has already; nothing, where they have withdrawn meanwhile."""
        with self.transaction():
            if not self._number(_TAKES_PART, participant):
                return
            first = self._number(
                "SELECT coalesce(max(position) + 1, 0) FROM assignments WHERE participant = ?", participant
            )
            self._db.executemany(
                "INSERT INTO assignments (participant, position, trial_id, block, swapped, repeat, assigned_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (participant, position, a.trial_id, a.block, a.swapped, a.repeat, _now())
                    for position, a in enumerate(sequence, start=first)
                ],
            )

    def place(self, participant: str, *, ahead: int = 2) -> Position | None:
        """The first position without an answer; None where all that was assigned is answered."""
        rows = self._rows(
            f"SELECT * FROM assignments AS a WHERE participant = ? AND NOT dropped AND {_UNANSWERED} ORDER BY position",
            participant,
        )
        if not rows:
            return None
        total = self._number("SELECT count(*) FROM assignments WHERE participant = ? AND NOT dropped", participant)
        return Position(
            position=rows[0]["position"],
            assigned=_assigned(rows[0]),
            answered=total - len(rows),
            total=total,
            ahead=tuple(_assigned(row) for row in rows[1 : 1 + ahead]),
        )

    def assigned(self, participant: str, position: int) -> AssignedTrial | None:
        row = self._row("SELECT * FROM assignments WHERE participant = ? AND position = ?", participant, position)
        return None if row is None else _assigned(row)

    def blocks(self, participant: str) -> list[int]:
        """The blocks that the participant has begun; 0 holds practice."""
        rows = self._rows("SELECT DISTINCT block FROM assignments WHERE participant = ? ORDER BY block", participant)
        return [row["block"] for row in rows]

    def met(self, participant: str) -> set[str]:
        """The trials that the participant has been handed."""
        return {
            row["trial_id"] for row in self._rows("SELECT trial_id FROM assignments WHERE participant = ?", participant)
        }

    def vote(
        self,
        participant: str,
        position: int,
        *,
        trial_id: str,
        left: str,
        right: str,
        winner: str,
        response_ms: int | None,
        layout: str | None = None,
    ) -> bool:
        """Record a vote; False where this position was answered before, and that answer stands."""
        return self._insert(
            "INSERT INTO votes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            *(participant, position, trial_id, left, right, winner, response_ms, layout, _now()),
        )

    def rate(
        self, participant: str, position: int, *, trial_id: str, image: str, rating: float, response_ms: int | None
    ) -> bool:
        """Record a rating, 0 to 100; False where this position was answered before, and that answer stands."""
        return self._insert(
            "INSERT INTO ratings VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            *(participant, position, trial_id, image, rating, response_ms, _now()),
        )

    def block_counts(self) -> dict[int, int]:
        """How many participants have begun each block."""
        rows = self._rows("SELECT block, count(DISTINCT participant) AS n FROM assignments GROUP BY block")
        return {row["block"]: row["n"] for row in rows}

    def trial_counts(self, *, since: str) -> dict[str, int]:
        """Ratings by trial: those given, and those that may still come from people who did something since a time."""
        rows = self._rows(
            "WITH active AS ("
            "  SELECT participant FROM ratings GROUP BY participant HAVING max(answered_at) >= :since"
            "  UNION SELECT participant FROM assignments GROUP BY participant HAVING max(assigned_at) >= :since) "
            "SELECT a.trial_id, count(*) AS n FROM assignments a LEFT JOIN ratings r USING (participant, position) "
            "WHERE NOT a.repeat AND (r.rating IS NOT NULL OR NOT a.dropped AND a.participant IN active) "
            "GROUP BY a.trial_id",
            {"since": since},
        )
        return {row["trial_id"]: row["n"] for row in rows}

    # Which images may be seen

    def review(self, item_ids: Iterable[str], *, approved: bool) -> None:
        with self.transaction():
            self._db.executemany(
                "INSERT INTO reviews VALUES (?, ?, ?) "
                "ON CONFLICT (item_id) DO UPDATE SET approved = excluded.approved, reviewed_at = excluded.reviewed_at",
                [(item_id, approved, _now()) for item_id in item_ids],
            )

    def reviews(self) -> dict[str, bool]:
        """What has been decided about which item."""
        return {row["item_id"]: bool(row["approved"]) for row in self._rows("SELECT item_id, approved FROM reviews")}

    def restore(self, trial_ids: Iterable[str]) -> None:
        """Ask about these trials again, those who still take part."""
        with self.transaction():
            self._db.executemany(
                "UPDATE assignments SET dropped = 0 WHERE trial_id = ? AND participant IN "
                "(SELECT participant FROM participants WHERE withdrawn_at IS NULL)",
                [(trial_id,) for trial_id in trial_ids],
            )

    def drop(self, trial_ids: Iterable[str]) -> int:
        """Ask nobody any more about these trials; answers that were given stay. Returns how many were still open."""
        with self.transaction():
            cursor = self._db.executemany(
                f"UPDATE assignments AS a SET dropped = 1 WHERE trial_id = ? AND NOT dropped AND {_UNANSWERED}",
                [(trial_id,) for trial_id in trial_ids],
            )
            return cursor.rowcount

    # Statements

    def _new_participant(
        self, user: str | None, source: Source, external_id: str | None, token_hash: str | None
    ) -> str:
        name = f"p-{secrets.token_hex(6)}"
        self._db.execute(
            "INSERT INTO participants (participant, user, source, external_id, token_hash, invited_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (name, user, source, external_id, token_hash, _now()),
        )
        return name

    def _new_session(self, participant: str, *, may_withdraw: bool) -> str:
        session = secrets.token_urlsafe(24)
        self._db.execute(
            "INSERT INTO sessions VALUES (?, ?, ?, ?)", (_hash(session), participant, may_withdraw, _now())
        )
        return session

    def _insert(self, statement: str, participant: str, *values: object) -> bool:
        with self.transaction():
            if not self._number(_TAKES_PART, participant):
                raise ValueError("you have withdrawn from this study")
            values = (participant, *values)
            return self._db.execute(statement, values).rowcount == 1

    def _run(self, statement: str, *values: object) -> None:
        with self.transaction():
            self._db.execute(statement, values)

    def _rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        given = values[0] if values and isinstance(values[0], dict) else values
        with self._lock:
            return self._db.execute(query, given).fetchall()

    def _row(self, query: str, *values: object) -> sqlite3.Row | None:
        with self._lock:
            return self._db.execute(query, values).fetchone()

    def _number(self, query: str, *values: object) -> int:
        row = self._row(query, *values)
        assert row is not None
        return int(row[0])


def _participant(row: sqlite3.Row) -> Participant:
    return Participant(
        number=row["number"],
        participant=row["participant"],
        user=row["user"],
        source=row["source"],
        consented=row["consented_at"] is not None,
        about=None if row["about"] is None else json.loads(row["about"]),
        may_withdraw=bool(row["may_withdraw"]),
    )


def _assigned(row: sqlite3.Row) -> AssignedTrial:
    return AssignedTrial(
        trial_id=row["trial_id"], block=row["block"], swapped=bool(row["swapped"]), repeat=bool(row["repeat"])
    )


def _hash(secret: str) -> str:
    """Of a secret that is random and long, so that neither salt nor slowness is needed."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
