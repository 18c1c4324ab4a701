"""votes.sqlite: its tables, and how it is opened – by the server that writes, and by readers beside it.

What is counted all the time is kept as answers come, by triggers: so it is right whichever process writes.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

BUSY_TIMEOUT_S = 30.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS participants (
    number        INTEGER PRIMARY KEY,
    participant   TEXT NOT NULL UNIQUE,
    user          TEXT,
    source        TEXT NOT NULL CHECK (source IN ('invitation', 'prolific', 'simulated')),
    external_id   TEXT,
    token_hash    TEXT UNIQUE,
    invited_at    TEXT NOT NULL,
    consented_at  TEXT,
    about         TEXT,
    withdrawn_at  TEXT,
    UNIQUE (source, external_id)
) STRICT;
CREATE TABLE IF NOT EXISTS sessions (
    session_hash  TEXT PRIMARY KEY,
    participant   TEXT NOT NULL REFERENCES participants (participant),
    may_withdraw  INTEGER NOT NULL,
    started_at    TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS assignments (
    participant   TEXT NOT NULL REFERENCES participants (participant),
    position      INTEGER NOT NULL,
    trial_id      TEXT NOT NULL,
    block         INTEGER NOT NULL,
    swapped       INTEGER NOT NULL,
    repeat        INTEGER NOT NULL,
    assigned_at   TEXT NOT NULL,
    dropped       INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (participant, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS assignments_by_trial ON assignments (trial_id);
CREATE TABLE IF NOT EXISTS votes (
    participant   TEXT NOT NULL,
    position      INTEGER NOT NULL,
    trial_id      TEXT NOT NULL,
    left          TEXT NOT NULL,
    right         TEXT NOT NULL,
    winner        TEXT NOT NULL CHECK (winner IN ('left', 'right', 'tie')),
    response_ms   INTEGER,
    layout        TEXT CHECK (layout IN ('side', 'stacked')),
    answered_at   TEXT NOT NULL,
    PRIMARY KEY (participant, position),
    FOREIGN KEY (participant, position) REFERENCES assignments
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ratings (
    participant   TEXT NOT NULL,
    position      INTEGER NOT NULL,
    trial_id      TEXT NOT NULL,
    image         TEXT NOT NULL,
    rating        REAL NOT NULL CHECK (rating BETWEEN 0 AND 100),
    response_ms   INTEGER,
    answered_at   TEXT NOT NULL,
    PRIMARY KEY (participant, position),
    FOREIGN KEY (participant, position) REFERENCES assignments
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reviews (
    item_id       TEXT PRIMARY KEY,
    approved      INTEGER NOT NULL,
    reviewed_at   TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""

_UPGRADES = (
    (
        "ALTER TABLE participants ADD COLUMN last_seen_at TEXT",
        # How often something of a participant has changed: by it a reader knows whom to sum up anew.
        "ALTER TABLE participants ADD COLUMN changes INTEGER NOT NULL DEFAULT 0",
        *(
            f"CREATE TRIGGER {table}_{event.lower()} AFTER {event} ON {table} "
            f"BEGIN UPDATE participants SET changes = changes + 1 WHERE participant = {row}.participant; END"
            for table in ("assignments", "votes", "ratings")
            for event, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD"))
        ),
        # Of those who have withdrawn nothing stays; earlier versions kept a hash of who they were.
        "UPDATE participants SET external_id = NULL WHERE withdrawn_at IS NOT NULL",
        "DELETE FROM assignments WHERE participant IN"
        "  (SELECT participant FROM participants WHERE withdrawn_at IS NOT NULL)",
        "CREATE INDEX participants_by_last_seen ON participants (last_seen_at)",
        "CREATE INDEX sessions_by_participant ON sessions (participant)",
        # How many participants have begun a block; 0 holds practice.
        "CREATE TABLE begun (block INTEGER PRIMARY KEY, participants INTEGER NOT NULL) STRICT",
        "INSERT INTO begun SELECT block, count(DISTINCT participant) FROM assignments GROUP BY block",
        "CREATE TRIGGER block_begun AFTER INSERT ON assignments WHEN NOT EXISTS ("
        "  SELECT 1 FROM assignments WHERE participant = NEW.participant AND block = NEW.block"
        "  AND position <> NEW.position) "
        "BEGIN INSERT INTO begun VALUES (NEW.block, 1)"
        "  ON CONFLICT (block) DO UPDATE SET participants = participants + 1; END",
        "CREATE TRIGGER block_left AFTER DELETE ON assignments WHEN NOT EXISTS ("
        "  SELECT 1 FROM assignments WHERE participant = OLD.participant AND block = OLD.block) "
        "BEGIN UPDATE begun SET participants = participants - 1 WHERE block = OLD.block; END",
        # How many ratings an image has, repeats not counted.
        "CREATE TABLE rated (trial_id TEXT PRIMARY KEY, ratings INTEGER NOT NULL) STRICT, WITHOUT ROWID",
        "INSERT INTO rated SELECT r.trial_id, count(*) FROM ratings r JOIN assignments a USING (participant, position)"
        "  WHERE NOT a.repeat GROUP BY r.trial_id",
        "CREATE TRIGGER rating_given AFTER INSERT ON ratings WHEN NOT ("
        "  SELECT repeat FROM assignments WHERE participant = NEW.participant AND position = NEW.position) "
        "BEGIN INSERT INTO rated VALUES (NEW.trial_id, 1)"
        "  ON CONFLICT (trial_id) DO UPDATE SET ratings = ratings + 1; END",
        "CREATE TRIGGER rating_taken_back AFTER DELETE ON ratings WHEN NOT ("
        "  SELECT repeat FROM assignments WHERE participant = OLD.participant AND position = OLD.position) "
        "BEGIN UPDATE rated SET ratings = ratings - 1 WHERE trial_id = OLD.trial_id; END",
        # When nobody new was let in.
        "CREATE TABLE closings (closed_at TEXT NOT NULL, reopened_at TEXT) STRICT",
        # Who has withdrawn, for them not to be taken for somebody new: beside no person, no time, and no answer.
        "CREATE TABLE withdrawn (identity_hash TEXT PRIMARY KEY) STRICT, WITHOUT ROWID",
        "CREATE TABLE salt (salt TEXT NOT NULL) STRICT",
        "INSERT INTO salt VALUES (hex(randomblob(16)))",
    ),
)
"""What each version of the tables adds to the one before; the version of a file is its user_version."""


def open_for_writing(path: Path) -> sqlite3.Connection:
    """A connection whose commits are on the disk when they return, in autocommit mode; makes what is not there yet.

    Raises
    ------
    ValueError
        The file cannot be opened or written, or is no database.
    """
    try:
        db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, check_same_thread=False, isolation_level=None)
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA secure_delete = ON")
        db.executescript(_SCHEMA)
        _upgrade(db)
    except sqlite3.Error as error:
        raise ValueError(
            f"{path}: cannot be opened as the study's votes: {error}; its folder must be writable"
        ) from error
    return db


def _upgrade(db: sqlite3.Connection) -> None:
    """Bring a file of an earlier version up to this one, at once or not at all."""
    if db.execute("PRAGMA user_version").fetchone()[0] >= len(_UPGRADES):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        for statements in _UPGRADES[db.execute("PRAGMA user_version").fetchone()[0] :]:
            for statement in statements:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(_UPGRADES)}")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, and sees what was committed when its query began; several threads may take turns.

    Raises
    ------
    ValueError
        There is no such file, or it is no store of votes.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no votes yet; invite participants and run `steer-study serve {path.parent}`")
    wal = path.with_name(f"{path.name}-wal")
    whole = not wal.is_file() or not wal.stat().st_size
    try:
        try:
            return _opened(path, "mode=ro")
        except sqlite3.OperationalError as error:
            if not whole:  # what is not in the file yet needs a folder where SQLite may work
                raise ValueError(
                    f"{path}: cannot be read: {error}; copy the whole folder to where you may write"
                ) from error
            return _opened(path, "mode=ro&immutable=1")
    except sqlite3.Error as error:
        raise ValueError(f"{path}: cannot be read as the study's votes: {error}") from error


def read_rows(path: Path, query: str) -> list[dict[str, Any]]:
    """What a reader sees beside a running server: the rows of one query.

    Raises
    ------
    ValueError
        There is no such file, or it is no store of votes.
    """
    with closing(open_for_reading(path)) as db:
        return [dict(row) for row in db.execute(query)]


def _opened(path: Path, how: str) -> sqlite3.Connection:
    uri = f"{path.resolve().as_uri()}?{how}"
    db = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, check_same_thread=False, isolation_level=None)
    try:
        db.row_factory = sqlite3.Row
        db.execute("SELECT 1 FROM participants LIMIT 1")  # only now is the file looked at
    except BaseException:
        db.close()
        raise
    return db


class Readers:
    """Connections that only read, lent to one thread at a time: no reader waits for another, or for whoever writes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

    @contextmanager
    def lend(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            db = self._idle.pop() if self._idle else None
        db = db or open_for_reading(self._path)
        try:
            yield db
        finally:
            with self._lock:
                self._idle.append(db)

    def close(self) -> None:
        """Close those that nobody has at the moment."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()
