"""votes.sqlite: its tables, and how it is opened – by the server that writes, and by readers beside it."""

import sqlite3
from contextlib import closing
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
    except sqlite3.Error as error:
        raise ValueError(
            f"{path}: cannot be opened as the study's votes: {error}; its folder must be writable"
        ) from error
    return db


def read_rows(path: Path, query: str) -> list[dict[str, Any]]:
    """What a reader sees beside a running server: one query on a connection that cannot write.

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
        return _rows(path, query, "mode=ro")
    except sqlite3.OperationalError as error:
        if not whole:  # what is not in the file yet needs a folder where SQLite may work
            raise ValueError(
                f"{path}: cannot be read: {error}; copy the whole folder to where you may write"
            ) from error
        return _rows(path, query, "mode=ro&immutable=1")
    except sqlite3.Error as error:
        raise ValueError(f"{path}: cannot be read as the study's votes: {error}") from error


def _rows(path: Path, query: str, how: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True, timeout=BUSY_TIMEOUT_S)) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(query)]
