"""votes.sqlite: what is committed stays, once; secrets are not in it."""

import os
import shutil
import sqlite3
import threading
from pathlib import Path

import pytest

from studies.sequence import AssignedTrial
from studies.store.database import read_rows
from studies.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "votes.sqlite")


def vote(store: Store, who: str, position: int, winner: str = "left") -> bool:
    return store.vote(who, position, trial_id="t", left="a", right="b", winner=winner, response_ms=5)


def somebody(store: Store, trials: int = 3) -> str:
    (who, _) = store.invite([None])[0]
    store.assign(who, [AssignedTrial(trial_id=f"t{n}", block=1) for n in range(trials)])
    return who


def test_an_invitation_lets_its_holder_in_and_a_guess_does_not(store: Store) -> None:
    (who, token) = store.invite(["u1"])[0]
    session = store.join(token)
    assert session is not None
    found = store.participant(session)
    assert found is not None
    assert (found.participant, found.user) == (who, "u1")
    assert store.join(token[:-1] + ("y" if token.endswith("x") else "x")) is None
    assert store.participant("made-up") is None


def test_tokens_are_random_with_at_least_128_bits_and_are_not_in_the_file(store: Store, tmp_path: Path) -> None:
    invited = store.invite([None] * 20)
    sessions = [store.join(token) for _, token in invited]
    store.close()
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (*(token for _, token in invited), *sessions):
        assert secret is not None
        assert len(secret) * 6 >= 128
        assert secret.encode() not in content
    assert len({token for _, token in invited}) == 20


def test_the_same_vote_sent_again_counts_once_and_the_first_stands(store: Store) -> None:
    who = somebody(store)
    assert vote(store, who, 0, "left")
    assert not vote(store, who, 0, "right")
    rows = read_rows(Path(store._db.execute("PRAGMA database_list").fetchone()[2]), "SELECT * FROM votes")
    assert [(row["position"], row["winner"]) for row in rows] == [(0, "left")]


def test_a_vote_sent_from_many_threads_at_once_is_there_once(store: Store, tmp_path: Path) -> None:
    who = somebody(store, 30)
    threads = [threading.Thread(target=lambda n=n: vote(store, who, n % 30)) for n in range(300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_rows(tmp_path / "votes.sqlite", "SELECT * FROM votes")) == 30


def test_the_place_is_the_first_position_without_an_answer(store: Store) -> None:
    who = somebody(store)
    vote(store, who, 0)
    place = store.place(who)
    assert place is not None
    assert (place.position, place.answered, place.total) == (1, 1, 3)
    assert [a.trial_id for a in place.ahead] == ["t2"]
    vote(store, who, 1)
    vote(store, who, 2)
    assert store.place(who) is None


def test_trials_that_are_dropped_are_not_asked_but_their_answers_stay(store: Store, tmp_path: Path) -> None:
    who = somebody(store)
    vote(store, who, 0)
    assert store.drop(["t0", "t1"]) == 1
    place = store.place(who)
    assert place is not None
    assert place.position == 2
    assert len(read_rows(tmp_path / "votes.sqlite", "SELECT * FROM votes")) == 1


def test_who_withdraws_leaves_nothing_but_that_they_were_there(store: Store, tmp_path: Path) -> None:
    session = store.join_from_prolific("5f3e0a") or ""
    found = store.participant(session)
    assert found is not None
    store.consent(found.participant)
    store.record_demographics(found.participant, {"nationality": "Atlantean"})
    store.assign(found.participant, [AssignedTrial(trial_id="t", block=1)])
    vote(store, found.participant, 0)
    store.withdraw(found.participant)
    assert store.participant(session) is None
    assert read_rows(tmp_path / "votes.sqlite", "SELECT * FROM votes") == []
    (person,) = read_rows(tmp_path / "votes.sqlite", "SELECT * FROM participants")
    assert person["withdrawn_at"]
    assert (person["about"], person["user"], person["token_hash"]) == (None, None, None)
    assert "5f3e0a" not in str(person)
    assert store.join_from_prolific("5f3e0a") is None  # and is not taken for somebody new


def test_somebody_from_prolific_is_the_same_person_whenever_they_come(store: Store) -> None:
    first, again = (store.participant(store.join_from_prolific("5f3e0a") or "") for _ in range(2))
    other = store.participant(store.join_from_prolific("99") or "")
    assert first is not None and again is not None and other is not None
    assert first.participant == again.participant != other.participant
    assert (first.may_withdraw, again.may_withdraw) == (True, False)  # the id is no secret


def test_nothing_is_kept_of_who_has_withdrawn_meanwhile(store: Store, tmp_path: Path) -> None:
    who = somebody(store)
    store.withdraw(who)
    store.consent(who)
    store.record_demographics(who, {"age": "30"})
    store.assign(who, [AssignedTrial(trial_id="t9", block=2)])
    with pytest.raises(ValueError, match="you have withdrawn"):
        vote(store, who, 0)
    (person,) = read_rows(tmp_path / "votes.sqlite", "SELECT * FROM participants")
    assert (person["about"], person["consented_at"]) == (None, None)
    assert store.place(who) is None


def test_after_closing_one_file_holds_everything_and_can_be_read_where_nothing_can_be_written(
    store: Store, tmp_path: Path
) -> None:
    who = somebody(store)
    vote(store, who, 0)
    store.close()
    store.close()
    alone = tmp_path / "elsewhere" / "votes.sqlite"
    alone.parent.mkdir()
    shutil.copy(tmp_path / "votes.sqlite", alone)
    query = "SELECT participant, winner FROM votes"
    assert read_rows(alone, query) == [{"participant": who, "winner": "left"}]
    if os.geteuid():  # root may write anywhere
        alone.parent.chmod(0o555)
        assert len(read_rows(alone, query)) == 1
        alone.parent.chmod(0o755)


def test_every_commit_is_synced_and_readers_are_not_in_the_way(store: Store, tmp_path: Path) -> None:
    assert store._db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
    assert store._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    who = somebody(store)
    reader = sqlite3.connect(tmp_path / "votes.sqlite")
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM votes").fetchone()[0] == 0
    assert vote(store, who, 0)
    assert reader.execute("SELECT count(*) FROM votes").fetchone()[0] == 0  # the state when it began
    reader.close()


def test_a_transaction_that_fails_leaves_nothing(store: Store, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), store.transaction():
        store._new_participant(None, "invitation", None, "h")
        raise RuntimeError
    assert read_rows(tmp_path / "votes.sqlite", "SELECT * FROM participants") == []


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "votes.sqlite").write_text("hello " * 500)
    with pytest.raises(ValueError, match=r"cannot be opened as the study's votes"):
        Store(tmp_path / "votes.sqlite")
    with pytest.raises(ValueError, match=r"no votes yet"):
        read_rows(tmp_path / "none.sqlite", "SELECT 1")
    (tmp_path / "begun.sqlite").touch()  # as somebody leaves it who is killed in making it
    with pytest.raises(ValueError, match=r"begun.sqlite: cannot be read as the study's votes: no such table"):
        read_rows(tmp_path / "begun.sqlite", "SELECT 1")


def test_a_program_that_knows_whom_it_serves_finds_them_by_name(store: Store) -> None:
    assert store.of_user("Ada") is None
    ((first, _), _) = store.invite(["Ada", "Ada"])

    found = store.of_user("Ada")

    assert found is not None
    assert (found.participant, found.user, found.may_withdraw) == (first, "Ada", False)
    store.withdraw(first)
    again = store.of_user("Ada")
    assert again is not None
    assert again.participant != first
