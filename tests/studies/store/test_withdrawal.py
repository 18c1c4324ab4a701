"""Whoever withdraws is gone from the disk: the bytes of every file of the study are searched."""

import hashlib
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from studies.sequence import AssignedTrial
from studies.store.database import read_rows
from studies.store.store import Store

PROLIFIC = "5f3e0a77c2d19b0011aa22bb"
TOLD = "Atlantean by birth"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "votes.sqlite")
    yield store
    store.close()


def part(store: Store, session: str, trials: int = 40) -> str:
    """Take part to the end, and tell where one comes from."""
    found = store.participant(session)
    assert found is not None
    who = found.participant
    store.consent(who)
    store.record_demographics(who, {"nationality": TOLD})
    store.assign(who, [AssignedTrial(trial_id=f"trial-of-{who}-{n}", block=1) for n in range(trials)])
    for position in range(trials):
        store.vote(who, position, trial_id="t", left=f"l-{who}", right="r", winner="left", response_ms=5)
    return who


def content(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


@pytest.mark.parametrize("seed", [0, 41])  # by the names of 41 SQLite moves rows, and leaves copies in gaps of pages
def test_no_byte_of_who_withdraws_is_left_in_any_file_while_others_go_on(
    seed: int, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr("studies.store.store._new_name", lambda: f"p-{chance.getrandbits(48):012x}")
    ((_, token),) = store.invite(["user-ada-lovelace"])
    sessions = [store.join(token) or "", store.join_from_prolific(PROLIFIC) or ""]
    leaving = [part(store, session) for session in sessions]
    staying = [part(store, store.join(t) or "", trials=7) for _, t in store.invite([None] * 9)]
    hashes = [hashlib.sha256(secret.encode()).hexdigest() for secret in (token, PROLIFIC, *sessions)]
    traces = [PROLIFIC, "user-ada-lovelace", token, *leaving, *hashes]
    assert [trace for trace in (*leaving, PROLIFIC, *hashes[:1]) if trace.encode() not in content(tmp_path)] == []

    for who in leaving:
        store.withdraw(who)

    left = content(tmp_path)
    assert [trace for trace in traces if trace.encode() in left] == []
    assert left.count(TOLD.encode()) == len(staying)
    assert all(who.encode() in left for who in staying)


def test_others_vote_while_a_withdrawal_waits_for_a_reader(store: Store, tmp_path: Path) -> None:
    leaving, staying = (part(store, store.join(token) or "", trials=5) for _, token in store.invite([None, None]))
    store.assign(staying, [AssignedTrial(trial_id=f"more-{n}", block=2) for n in range(5)])
    withdrawing = threading.Thread(target=store.withdraw, args=[leaving])
    with closing(sqlite3.connect(tmp_path / "votes.sqlite", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM votes").fetchall()
        withdrawing.start()
        began = time.monotonic()
        for position in range(5, 10):
            store.vote(staying, position, trial_id="t", left="l", right="r", winner="left", response_ms=5)
        took = time.monotonic() - began
        assert withdrawing.is_alive()
        reader.execute("COMMIT")
    withdrawing.join(10)
    assert not withdrawing.is_alive()
    assert took < 5  # and not the time that a withdrawal waits, 30 s
    assert leaving.encode() not in content(tmp_path)


def test_of_who_has_left_stays_only_that_somebody_was_there_and_on_which_day(store: Store, tmp_path: Path) -> None:
    who = part(store, store.join_from_prolific(PROLIFIC) or "")
    store.withdraw(who)
    (person,) = read_rows(tmp_path / "votes.sqlite", "SELECT * FROM participants")
    kept = {name for name, value in person.items() if value}
    assert kept == {"number", "participant", "source", "invited_at", "consented_at", "withdrawn_at"}
    assert person["participant"] != who
    assert {len(person[name]) for name in ("invited_at", "consented_at", "withdrawn_at")} == {len("2026-11-28")}


def test_who_has_left_is_told_so_and_not_taken_for_somebody_new(store: Store) -> None:
    ((who, token), (_, other)) = store.invite([None, None])
    store.withdraw(part(store, store.join(token) or ""))
    store.withdraw(part(store, store.join_from_prolific(PROLIFIC) or ""))
    assert store.join(token) is None
    assert store.join_from_prolific(PROLIFIC) is None
    assert [store.invitation(t) for t in (token, other, "made-up")] == ["withdrawn", "open", "unknown"]
    assert store.withdrew_from_prolific(PROLIFIC)
    assert not store.withdrew_from_prolific("somebody-else")
    assert store.named(who) is None


def test_a_reader_that_ends_in_time_does_not_keep_what_was_deleted(store: Store, tmp_path: Path) -> None:
    who = part(store, store.join_from_prolific(PROLIFIC) or "")
    reading, done = threading.Event(), threading.Event()

    def read() -> None:
        with store._readers.lend() as db:
            db.execute("BEGIN")
            db.execute("SELECT count(*) FROM votes").fetchone()
            reading.set()
            done.wait(0.3)
            db.execute("COMMIT")

    reader = threading.Thread(target=read)
    reader.start()
    reading.wait()
    store.withdraw(who)
    reader.join()
    assert PROLIFIC.encode() not in content(tmp_path)
