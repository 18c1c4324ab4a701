"""What is counted as answers come equals what a count of everything gives, whatever was taken back."""

import sqlite3
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from studies.sequence import AssignedTrial
from studies.store import database
from studies.store.database import read_rows
from studies.store.store import Store

PEOPLE = 3
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("assign"), st.integers(0, PEOPLE - 1), st.integers(1, 3)),
        st.tuples(st.just("rate"), st.integers(0, PEOPLE - 1), st.integers(0, 8)),
        st.tuples(st.just("withdraw"), st.integers(0, PEOPLE - 1), st.just(0)),
        st.tuples(st.just("drop"), st.just(0), st.integers(0, 3)),
    ),
    max_size=25,
)


def do(store: Store, people: list[str], step: tuple[str, int, int]) -> None:
    what, who, number = step
    if what == "assign":
        trials = [AssignedTrial(trial_id=f"t{n}", block=number) for n in range(3)]
        store.assign(people[who], [*trials, AssignedTrial(trial_id="t0", block=number, repeat=True)])
    elif what == "rate":
        asked = store.assigned(people[who], number)
        if asked is not None:
            store.rate(people[who], number, trial_id=asked.trial_id, image="i", rating=50.0, response_ms=5)
    elif what == "withdraw":
        store.withdraw(people[who])
    else:
        store.drop([f"t{number}"])


@settings(max_examples=25)
@given(steps=STEPS)
def test_begun_blocks_and_ratings_are_counted_right_after_whatever_happened(steps: list[tuple[str, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "votes.sqlite"
        store = Store(path)
        people = [name for name, _ in store.invite([None] * PEOPLE)]
        for step in steps:
            do(store, people, step)

        begun = "SELECT block, count(DISTINCT participant) AS n FROM assignments GROUP BY block"
        assert store.block_counts() == {row["block"]: row["n"] for row in read_rows(path, begun)}
        rated = (
            "SELECT r.trial_id, count(*) AS n FROM ratings r JOIN assignments a USING (participant, position) "
            "WHERE NOT a.repeat GROUP BY r.trial_id"
        )
        counted = {trial: n for trial, n in store.rating_counts().items() if n}
        assert counted == {row["trial_id"]: row["n"] for row in read_rows(path, rated)}
        store.close()


def test_a_file_of_an_earlier_version_is_counted_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "votes.sqlite"
    with sqlite3.connect(path) as db:
        db.executescript(database._SCHEMA)
        for who in ("p-1", "p-2"):
            db.execute(
                "INSERT INTO participants (participant, source, invited_at) VALUES (?, 'invitation', '')", (who,)
            )
            db.execute("INSERT INTO assignments VALUES (?, 0, 't0', 1, 0, 0, '', 0)", (who,))
            db.execute("INSERT INTO ratings VALUES (?, 0, 't0', 'i', 50.0, 5, '')", (who,))
        db.execute(
            "INSERT INTO participants (participant, source, external_id, invited_at, withdrawn_at) "
            "VALUES ('p-3', 'prolific', 'hash-of-an-id', '', '2026')"
        )
    db.close()
    store = Store(path)
    assert store.block_counts() == {1: 2}
    assert store.rating_counts() == {"t0": 2}
    store.close()
    assert b"hash-of-an-id" not in path.read_bytes()
    Store(path).close()  # and again, when there is nothing to do
