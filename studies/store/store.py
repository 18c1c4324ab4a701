"""votes.sqlite: participants, what each is to be asked, votes and ratings.

The invariant: a call that returns has been committed and is on the disk (WAL, synchronous FULL), and an answer to the
same position of the same participant is there once, however often it was sent. One connection writes, and readers, here
and in other processes, see a consistent state at any time without waiting for it. Secrets (invitations, sessions) are
kept as hashes: who reads the file cannot take part with it.
"""

import hashlib
import json
import secrets
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from studies.sequence import AssignedTrial
from studies.store.database import BUSY_TIMEOUT_S, Readers, open_for_writing

_UNANSWERED = (
    "NOT EXISTS (SELECT 1 FROM votes v WHERE v.participant = a.participant AND v.position = a.position) "
    "AND NOT EXISTS (SELECT 1 FROM ratings r WHERE r.participant = a.participant AND r.position = a.position)"
)

_SEEN = "UPDATE participants SET last_seen_at = ? WHERE participant = ? AND withdrawn_at IS NULL"

_LAST_ANSWER = (
    "SELECT position, answered_at FROM votes WHERE participant = ? "
    "UNION ALL SELECT position, answered_at FROM ratings WHERE participant = ? "
    "ORDER BY answered_at DESC, position DESC LIMIT 1"
)

Invitation = Literal["open", "expired", "withdrawn", "unknown"]
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
    """The one connection by which a process writes, and those by which it reads; safe to use from several threads.

    Raises
    ------
    ValueError
        The file cannot be opened or written, or is no database.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._db = open_for_writing(path)
        self._readers = Readers(path)

    def close(self) -> None:
        """Bring everything into the one file, and let it go; closing again does nothing."""
        with self._lock, suppress(sqlite3.ProgrammingError):
            self._readers.close()
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that happens inside is on the disk when the block ends, or not at all."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
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

    def join(self, token: str, *, invited_since: str = "") -> str | None:
        """A new session for whoever holds this invitation; None where it is not open to them (see `invitation`)."""
        with self.transaction() as db:
            query = "SELECT participant FROM participants WHERE token_hash = ? AND invited_at >= ?"
            row = db.execute(query, (_hash(token), invited_since)).fetchone()
            return None if row is None else self._new_session(row["participant"], may_withdraw=True)

    def invitation(self, token: str, *, invited_since: str = "") -> Invitation:
        """Whether an invitation lets its holder in, and if not, why."""
        row = self._row("SELECT invited_at FROM participants WHERE token_hash = ?", _hash(token))
        if row is not None:
            return "open" if row["invited_at"] >= invited_since else "expired"
        return "withdrawn" if self._withdrew("invitation", _hash(token)) else "unknown"

    def join_from_prolific(self, external_id: str) -> str | None:
        """A new session for somebody of Prolific who has read what it is about and agrees.

        Before that nothing is kept of them. They are the same person whenever they come. The id is no secret: so
        whoever comes by it takes part as nobody in particular, and only the device that came first may withdraw. Who
        has withdrawn is not let in again: None.
        """
        if self.withdrew_from_prolific(external_id):
            return None
        with self.transaction():
            session = self._session_from_prolific(external_id)
            if session is None:
                name = self._new_participant(None, "prolific", external_id, None)
                self._run("UPDATE participants SET consented_at = invited_at WHERE participant = ?", name)
                session = self._new_session(name, may_withdraw=True)
            return session

    def rejoin_from_prolific(self, external_id: str) -> str | None:
        """A new session for somebody of Prolific who takes part already; None for anybody else."""
        with self.transaction():
            return self._session_from_prolific(external_id)

    def withdrew_from_prolific(self, external_id: str) -> bool:
        return self._withdrew("prolific", external_id)

    def participant(self, session: str, *, started_since: str = "") -> Participant | None:
        """Whose session this is; None where it is not known, or began before that time."""
        row = self._row(
            "SELECT p.*, s.may_withdraw FROM sessions s JOIN participants p USING (participant) "
            "WHERE s.session_hash = ? AND s.started_at >= ?",
            _hash(session),
            started_since,
        )
        return None if row is None else _participant(row)

    def consent(self, participant: str) -> None:
        with self.transaction():
            self._run(
                "UPDATE participants SET consented_at = coalesce(consented_at, ?) "
                "WHERE participant = ? AND withdrawn_at IS NULL",
                _now(),
                participant,
            )
            self._seen(participant)

    def record_demographics(self, participant: str, about: Mapping[str, str]) -> None:
        """Keep the demographics that were given; what was declined is not in them."""
        text = json.dumps(dict(about), ensure_ascii=False, sort_keys=True)
        with self.transaction():
            self._run(
                "UPDATE participants SET about = coalesce(about, ?) WHERE participant = ? AND withdrawn_at IS NULL",
                text,
                participant,
            )
            self._seen(participant)

    def users(self) -> set[str]:
        """Whoever was invited by a name, and takes part."""
        return {row["user"] for row in self._rows("SELECT DISTINCT user FROM participants WHERE user IS NOT NULL")}

    def of_user(self, user: str) -> Participant | None:
        """Whoever was invited first by a user's name, for a program that knows who it serves without a session."""
        row = self._row(
            "SELECT p.*, 0 AS may_withdraw FROM participants p WHERE user = ? AND withdrawn_at IS NULL "
            "ORDER BY number LIMIT 1",
            user,
        )
        return None if row is None else _participant(row)

    def named(self, name: str) -> str | None:
        """The participant of this name, or of this id at a recruiting platform, who has not withdrawn."""
        row = self._row(
            "SELECT participant FROM participants WHERE withdrawn_at IS NULL AND (participant = ? OR external_id = ?)",
            name,
            name,
        )
        return None if row is None else row["participant"]

    def withdraw(self, participant: str) -> None:
        """Delete all that is known of this person, from the disk too; only that somebody was there and left stays.

        That has another name and the day, so that no list of invitations or of a recruiting platform leads to it. For
        them not to be taken for somebody new, a slow and salted hash of their invitation or id stands beside no person.

        Raises
        ------
        TimeoutError
            All is deleted, but can still be found in the file, as the disk is full, or in the log of changes, on which
            a reader held.
        """
        with self.transaction() as db:
            query = "SELECT source, coalesce(token_hash, external_id) AS id FROM participants WHERE participant = ?"
            row = db.execute(query, (participant,)).fetchone()
            if row is not None and row["id"] is not None:
                self._run("INSERT INTO withdrawn VALUES (?)", self._identity_hash(row["source"], row["id"]))
            for table in ("votes", "ratings", "assignments", "sessions"):
                self._run(f"DELETE FROM {table} WHERE participant = ?", participant)
            today = datetime.now(UTC).date().isoformat()
            self._run(
                "UPDATE participants SET participant = ?, invited_at = ?, withdrawn_at = ?, user = NULL, about = NULL, "
                "external_id = NULL, token_hash = NULL, last_seen_at = NULL, changes = 0, "
                "consented_at = iif(consented_at IS NULL, NULL, ?) WHERE participant = ?",
                *(_new_name(), today, today, today, participant),
            )
        self._empty_gaps()
        self._empty_log()

    # Whether newcomers are let in

    @property
    def closed(self) -> bool:
        return self._number("SELECT count(*) FROM closings WHERE reopened_at IS NULL") > 0

    def close_to_newcomers(self) -> None:
        """Let nobody in who has not agreed yet; those who have may go on."""
        with self.transaction():
            self._run(
                "INSERT INTO closings (closed_at) SELECT ? "
                "WHERE NOT EXISTS (SELECT 1 FROM closings WHERE reopened_at IS NULL)",
                _now(),
            )

    def reopen(self) -> None:
        with self.transaction():
            self._run("UPDATE closings SET reopened_at = ? WHERE reopened_at IS NULL", _now())

    # What they are asked, and say

    def assign(self, participant: str, sequence: Sequence[AssignedTrial]) -> None:
        """Add trials behind those that the participant has already; nothing, where they have withdrawn meanwhile."""
        with self.transaction() as db:
            if not self._seen(participant):
                return
            query = "SELECT coalesce(max(position) + 1, 0) FROM assignments WHERE participant = ?"
            first = db.execute(query, (participant,)).fetchone()[0]
            db.executemany(
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

    def block(self, participant: str, block: int) -> list[AssignedTrial]:
        """What the participant has been handed of a block, in order, dropped trials included."""
        query = "SELECT * FROM assignments WHERE participant = ? AND block = ? ORDER BY position"
        return [_assigned(row) for row in self._rows(query, participant, block)]

    def ratings_by(self, participant: str) -> list[tuple[str, float]]:
        """The images that the participant has rated, with the ratings, in order."""
        query = "SELECT image, rating FROM ratings WHERE participant = ? ORDER BY position"
        return [(row["image"], row["rating"]) for row in self._rows(query, participant)]

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

    def last_answer(self, participant: str, *, since: str) -> int | None:
        """The position of the participant's last answer, if it was given since a time."""
        row = self._row(_LAST_ANSWER, participant, participant)
        return None if row is None or row["answered_at"] < since else row["position"]

    def undo(self, participant: str, position: int, *, since: str) -> bool:
        """Delete the answer at a position; False unless it is the participant's last, and was given since a time."""
        with self.transaction() as db:
            row = db.execute(_LAST_ANSWER, (participant, participant)).fetchone()
            if row is None or row["position"] != position or row["answered_at"] < since:
                return False
            for table in ("votes", "ratings"):
                self._run(f"DELETE FROM {table} WHERE participant = ? AND position = ?", participant, position)
            return True

    def block_counts(self) -> dict[int, int]:
        """How many participants have begun each block."""
        return {row["block"]: row["participants"] for row in self._rows("SELECT * FROM begun WHERE participants > 0")}

    def rating_counts(self) -> dict[str, int]:
        """How many ratings each trial has, repeats not counted."""
        return {row["trial_id"]: row["ratings"] for row in self._rows("SELECT * FROM rated")}

    def fully_rated(self, wanted: int) -> set[str]:
        """The trials that have so many ratings, repeats not counted."""
        return {row["trial_id"] for row in self._rows("SELECT trial_id FROM rated WHERE ratings >= ?", wanted)}

    def trial_counts(self, *, since: str) -> dict[str, int]:
        """Ratings by trial: those given, and those that may still come from people who did something since a time."""
        counts = Counter(self.rating_counts())
        rows = self._rows(
            "SELECT a.trial_id, count(*) AS n FROM participants p CROSS JOIN assignments a USING (participant) "
            f"WHERE p.last_seen_at >= ? AND NOT a.dropped AND NOT a.repeat AND {_UNANSWERED} GROUP BY a.trial_id",
            since,
        )
        counts.update({row["trial_id"]: row["n"] for row in rows})
        return counts

    # Which images may be seen

    def review(self, item_ids: Iterable[str], *, approved: bool) -> None:
        with self.transaction() as db:
            db.executemany(
                "INSERT INTO reviews VALUES (?, ?, ?) "
                "ON CONFLICT (item_id) DO UPDATE SET approved = excluded.approved, reviewed_at = excluded.reviewed_at",
                [(item_id, approved, _now()) for item_id in item_ids],
            )

    def reviews(self) -> dict[str, bool]:
        """What has been decided about which item."""
        return {row["item_id"]: bool(row["approved"]) for row in self._rows("SELECT item_id, approved FROM reviews")}

    def restore(self, trial_ids: Iterable[str]) -> None:
        """Ask about these trials again, those who still take part."""
        with self.transaction() as db:
            db.executemany(
                "UPDATE assignments SET dropped = 0 WHERE trial_id = ?", [(trial_id,) for trial_id in trial_ids]
            )

    def drop(self, trial_ids: Iterable[str]) -> int:
        """Ask nobody any more about these trials; answers that were given stay. Returns how many were still open."""
        with self.transaction() as db:
            cursor = db.executemany(
                f"UPDATE assignments AS a SET dropped = 1 WHERE trial_id = ? AND NOT dropped AND {_UNANSWERED}",
                [(trial_id,) for trial_id in trial_ids],
            )
            return cursor.rowcount

    # Statements; those that write are for the inside of a transaction

    def _new_participant(
        self, user: str | None, source: Source, external_id: str | None, token_hash: str | None
    ) -> str:
        name = _new_name()
        self._run(
            "INSERT INTO participants (participant, user, source, external_id, token_hash, invited_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            *(name, user, source, external_id, token_hash, _now()),
        )
        return name

    def _new_session(self, participant: str, *, may_withdraw: bool) -> str:
        session = secrets.token_urlsafe(24)
        self._run("INSERT INTO sessions VALUES (?, ?, ?, ?)", _hash(session), participant, may_withdraw, _now())
        self._seen(participant)
        return session

    def _session_from_prolific(self, external_id: str) -> str | None:
        query = "SELECT participant FROM participants WHERE source = 'prolific' AND external_id = ?"
        row = self._db.execute(query, (external_id,)).fetchone()
        return None if row is None else self._new_session(row["participant"], may_withdraw=False)

    def _withdrew(self, source: Source, identity: str) -> bool:
        hashes = {row["identity_hash"] for row in self._rows("SELECT identity_hash FROM withdrawn")}
        return bool(hashes) and self._identity_hash(source, identity) in hashes

    def _identity_hash(self, source: Source, identity: str) -> str:
        """Slow, because ids of a recruiting platform can be guessed by whoever has its list."""
        salt = bytes.fromhex(self._rows("SELECT salt FROM salt")[0]["salt"])
        return hashlib.scrypt(f"{source}/{identity}".encode(), salt=salt, n=2**14, r=8, p=1).hex()

    def _insert(self, statement: str, participant: str, *values: object) -> bool:
        with self.transaction():
            if not self._seen(participant):
                raise ValueError("you have withdrawn from this study")
            return self._run(statement, participant, *values) == 1

    def _seen(self, participant: str) -> bool:
        """Note that they have done something; False where they take no part any more."""
        return self._run(_SEEN, _now(), participant) == 1

    def _run(self, statement: str, *values: object) -> int:
        return self._db.execute(statement, values).rowcount

    def _empty_gaps(self) -> None:
        """Write the file anew: secure_delete overwrites a row where it is, not where SQLite has moved it from."""
        try:
            with self._lock:
                self._db.execute("VACUUM")
        except sqlite3.OperationalError as error:
            remedy = "free some space, and run VACUUM on it with the sqlite3 command"
            raise TimeoutError(f"{self._path}: what was deleted may still stand in gaps: {error}; {remedy}") from error

    def _empty_log(self) -> None:
        """Bring all changes into the file, and cut the log of changes: what was deleted may still stand in it."""
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        # By a connection of its own that waits for no reader, so that others can vote between two attempts.
        with closing(sqlite3.connect(self._path, timeout=0, isolation_level=None)) as db:
            while not self._log_is_empty(db):
                if time.monotonic() > deadline:
                    raise TimeoutError("a reader holds on to the log of changes; end it, and restart the server")
                time.sleep(0.05)

    def _log_is_empty(self, db: sqlite3.Connection) -> bool:
        with self._lock:
            return not db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]

    def _rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        with self._readers.lend() as db:
            return db.execute(query, values).fetchall()

    def _row(self, query: str, *values: object) -> sqlite3.Row | None:
        with self._readers.lend() as db:
            return db.execute(query, values).fetchone()

    def _number(self, query: str, *values: object) -> int:
        row = self._row(query, *values)
        assert row is not None
        return int(row[0])


def _new_name() -> str:
    return f"p-{secrets.token_hex(6)}"


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
