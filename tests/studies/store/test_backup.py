"""A copy that is made while people vote is whole."""

import sqlite3
import threading
from pathlib import Path

import pytest

from studies.results.answers import votes_table
from studies.store.backup import back_up
from studies.store.database import read_rows
from studies.store.store import Store
from studies.study import Study, read_study
from tests.studies.store.test_store import somebody, vote


def test_what_was_confirmed_before_a_backup_is_in_it_while_votes_go_on(pair_study: Study, tmp_path: Path) -> None:
    store = Store(pair_study.database)
    who = somebody(store, 400)
    confirmed: list[int] = []
    enough = threading.Event()

    def go_on() -> None:
        for position in range(400):
            vote(store, who, position)
            confirmed.append(position)
            if position == 50:
                enough.set()

    voter = threading.Thread(target=go_on)
    voter.start()
    enough.wait()
    before = set(confirmed)
    answers = back_up(pair_study, tmp_path / "copy")
    voter.join()
    store.close()
    kept = {row["position"] for row in read_rows(tmp_path / "copy" / "votes.sqlite", "SELECT position FROM votes")}
    assert before <= kept
    assert answers == len(kept)
    with sqlite3.connect(tmp_path / "copy" / "votes.sqlite") as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    db.close()


def test_a_backup_is_a_study_that_can_be_served_and_read(pair_study: Study, tmp_path: Path) -> None:
    store = Store(pair_study.database)
    ((_, token),) = store.invite(["u1"])
    back_up(pair_study, tmp_path / "copy")
    store.close()
    copy = read_study(tmp_path / "copy")
    assert copy.settings == pair_study.settings
    assert all(copy.asset(item).read_bytes() == pair_study.asset(item).read_bytes() for item in copy.items)
    assert len(votes_table(copy)) == 0
    again = Store(copy.database)
    assert again.join(token) is not None
    again.close()
    assert not [path.name for path in copy.folder.iterdir() if path.name.startswith(".")]


def test_a_backup_never_overwrites_and_leaves_nothing_when_it_fails(pair_study: Study, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no votes yet"):
        back_up(pair_study, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    Store(pair_study.database).close()
    with pytest.raises(ValueError, match="is there already"):
        back_up(pair_study, pair_study.folder)
