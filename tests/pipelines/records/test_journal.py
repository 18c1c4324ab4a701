import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.records.journal import Journal, JournalError, replay
from pipelines.search.notices import Check, Notice
from pipelines.search.trajectory import Candidate, Iteration, Reseeded

IDS = ("p1/pamela/1/u1", "p1/pamela/1/group:\"a\nb\" = 'ü/☃'")

texts = st.text(max_size=30) | st.sampled_from(["a\ncat", "\r\n", "\u2028", '{"', "\x00", "😀", "\\n"])
numbers = st.integers(0, 99) | st.floats(allow_nan=False)
a_notice = st.builds(Notice, st.sampled_from(Check), numbers, numbers, texts)
a_candidate = st.builds(
    Candidate,
    prompt=texts,
    image=st.none() | texts,
    score=st.none() | st.floats(allow_nan=False),
    error=st.none() | texts,
    warnings=st.lists(a_notice, max_size=2).map(tuple),
    rejected=st.none() | a_notice,
)
a_round = st.tuples(
    st.integers(0, len(IDS) - 1),
    st.lists(a_candidate, max_size=3).map(tuple),
    st.lists(st.integers(0, 2**63 - 1), max_size=3).map(tuple),
    st.dictionaries(texts, st.integers(0, 99), max_size=2),
)


@st.composite
def recordings(draw: st.DrawFn) -> list[tuple[str, Iteration]]:
    """Iterations of two trajectories in any order that the driver could write them in."""
    due = [0, 0]
    lines = []
    for which, candidates, seeds, refused in draw(st.lists(a_round, max_size=6)):
        lines.append((IDS[which], Iteration(number=due[which], candidates=candidates, seeds=seeds, refused=refused)))
        due[which] += 1
    return lines


@settings(deadline=None)
@given(recordings())
def test_what_was_appended_is_replayed_equal_and_bit_for_bit(lines: Sequence[tuple[str, Iteration]]) -> None:
    with TemporaryDirectory() as folder:
        path = write(Path(folder) / "journal.jsonl", lines)

        assert replay(path, IDS) == histories(lines)
        assert bits(replay(path, IDS)) == bits(histories(lines))
        assert path.read_bytes().count(b"\n") == len(lines)


@settings(deadline=None)
@given(recordings(), st.data())
def test_a_journal_cut_at_any_byte_replays_to_a_prefix_and_can_be_continued(
    lines: Sequence[tuple[str, Iteration]], data: st.DataObject
) -> None:
    with TemporaryDirectory() as folder:
        path = write(Path(folder) / "journal.jsonl", lines)
        whole = path.read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:cut])
        kept = whole[:cut].count(b"\n")

        assert replay(path, IDS) == histories(lines[:kept])
        write(path, lines[kept:])
        assert path.read_bytes() == whole


def test_a_journal_that_is_not_there_or_empty_has_no_history(tmp_path: Path) -> None:
    assert replay(tmp_path / "none", IDS) == {IDS[0]: [], IDS[1]: []}
    assert replay(write(tmp_path / "empty", []), IDS) == {IDS[0]: [], IDS[1]: []}


def test_a_torn_line_longer_than_any_buffer_is_dropped(tmp_path: Path) -> None:
    path = write(tmp_path / "journal.jsonl", [(IDS[0], iteration(0))])
    with path.open("ab") as file:
        file.write(b"x" * 200_000)

    write(path, [(IDS[0], iteration(1))])

    assert replay(path, IDS)[IDS[0]] == [iteration(0), iteration(1)]


GOOD = '{"trajectory": "p1/pamela/1/u1", "number": 1, "candidates": [], "seeds": [1], "refused": {}}'


@pytest.mark.parametrize(
    "line",
    [
        "",
        "null",
        "[]",
        "nonsense",
        GOOD[:-1],
        GOOD + GOOD,
        "\x00" * 20,
        '{"number": 1, "candidates": []}',
        '{"trajectory": "p1/pamela/1/u1", "candidates": []}',
        '{"trajectory": "p1/pamela/1/u1", "number": 1}',
        GOOD.replace('"p1/pamela/1/u1"', "[]"),
        GOOD.replace('"seeds"', '"seed"'),
        GOOD.replace("[1]", '["1"]'),
        GOOD.replace("[1]", "1"),
        GOOD.replace("[]", '[{"score": 1.0}]'),
        GOOD.replace("[]", '[{"prompt": 1}]'),
        GOOD.replace("[]", '[{"prompt": "a", "score": "1"}]'),
        GOOD.replace("[]", '["a"]'),
        GOOD.replace("[]", '[{"prompt": "a", "rejected": {"check": "mood", "measured": 1, "limit": 2, "words": ""}}]'),
        GOOD.replace(
            "[]", '[{"prompt": "a", "rejected": {"check": "drift", "measured": "1", "limit": 2, "words": ""}}]'
        ),
        GOOD.replace("[]", '[{"prompt": "a", "rejected": {"check": "drift"}}]'),
        GOOD.replace("[]", "null"),
    ],
)
def test_a_line_in_the_middle_that_does_not_read_back_is_an_error_that_names_it(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "journal.jsonl", [(IDS[0], iteration(n)) for n in range(3)])
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], line, lines[2], ""]))

    with pytest.raises(JournalError, match=r"journal\.jsonl, line 2: "):
        replay(path, IDS)


def test_a_notice_as_text_is_refused_as_one_of_an_earlier_version(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(
        GOOD.replace("[]", '[{"prompt": "a", "warnings": ["subject: lacks cat"]}]').replace(": 1,", ": 0,") + "\n"
    )

    with pytest.raises(JournalError, match=r"line 1: .*an earlier version wrote it: start a new run"):
        replay(path, IDS)


def test_what_became_of_a_winner_with_fresh_seeds_is_replayed_equal(tmp_path: Path) -> None:
    base, winner = (
        Candidate(prompt="a cat", image="b", score=0.5),
        Candidate(prompt="a cat, warm", image="w", score=0.4),
    )
    notice = Notice(Check.RESEED, 0.4, 0.5, "with 1 fresh seeds its mean score is 0.400, the base prompt's 0.500")
    again = Reseeded(prompt="a cat, warm", seeds=(3,), initial=(base,), final=(winner,))
    lines = [
        (IDS[0], Iteration(number=0, candidates=(), reseeded=replace(again, warnings=(notice,)))),
        (IDS[0], Iteration(number=1, candidates=(), reseeded=replace(again, rejected=notice))),
    ]

    assert replay(write(tmp_path / "journal.jsonl", lines), IDS) == histories(lines)


def test_a_line_that_is_not_utf_8_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = write(tmp_path / "journal.jsonl", [(IDS[0], iteration(0))])
    path.write_bytes(path.read_bytes() + b"\xff\n")

    with pytest.raises(JournalError, match="line 2: not a line of a journal"):
        replay(path, IDS)


def test_a_trajectory_that_the_run_does_not_have_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "journal.jsonl", [(IDS[0], iteration(0)), (IDS[1], iteration(0))])

    with pytest.raises(JournalError, match=r"line 2: trajectory .* is not one of this run"):
        replay(path, IDS[:1])


@pytest.mark.parametrize("numbers, got", [((0, 0), 0), ((0, 2), 2), ((0, -1), -1)])
def test_an_iteration_out_of_turn_is_an_error(tmp_path: Path, numbers: tuple[int, ...], got: int) -> None:
    path = write(tmp_path / "journal.jsonl", [(IDS[0], iteration(number)) for number in numbers])

    with pytest.raises(JournalError, match=f"line 2: iteration 1 of 'p1/pamela/1/u1' is due, got {got}"):
        replay(path, IDS)


APPEND_FOREVER = """
import sys
from pathlib import Path
from pipelines.records.journal import Journal, replay
from pipelines.search.trajectory import Candidate, Iteration
path = Path(sys.argv[1])
number = len(replay(path, ["t"])["t"])
journal = Journal(path)
while True:
    journal.append(("t", Iteration(number=number, candidates=(Candidate(prompt="☃" * 300_000, score=number / 7),))))
    print(number, flush=True)
    number += 1
"""


def test_a_writer_that_is_killed_at_any_moment_leaves_a_journal_that_replays_with_all_it_had_finished(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal.jsonl"
    rng = random.Random(0)
    finished = 0
    for _ in range(5):
        command = [sys.executable, "-c", APPEND_FOREVER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            said = process.stdout.readline()
            time.sleep(rng.uniform(0, 0.1))
            process.kill()
            said += process.stdout.read()

        history = replay(path, ["t"])["t"]

        finished += said.count("\n")
        assert len(history) in (finished, finished + 1)
        assert [i.candidates[0].score for i in history] == [number / 7 for number in range(len(history))]
        finished = len(history)
    assert finished >= 5


FULL_DISK = """
import resource, sys
from pathlib import Path
from pipelines.records.journal import Journal, replay
from pipelines.search.trajectory import Candidate, Iteration
path, size, then = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
before, after = (Iteration(number=n, candidates=(Candidate(prompt="x"),)) for n in range(2))
journal = Journal(path)
journal.append(("t", before))
free, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, most))
try:
    journal.append(("t", Iteration(number=1, candidates=(Candidate(prompt="y" * size),))))
except OSError as error:
    assert error.strerror == "File too large", error
    assert replay(path, ["t"])["t"] == [before]
else:
    raise AssertionError("it should not have fitted")
resource.setrlimit(resource.RLIMIT_FSIZE, (free, most))
if then == "append":
    journal.append(("t", after))
journal.close()
assert replay(path, ["t"])["t"] == [before, after][: 2 if then == "append" else 1]
"""


@pytest.mark.parametrize("size", [200, 100_000])
@pytest.mark.parametrize("then", ["append", "close"])
def test_a_line_that_did_not_fit_on_the_disk_is_not_in_the_journal_even_once_there_is_space_again(
    tmp_path: Path, size: int, then: str
) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "journal.jsonl"), str(size), then]

    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_line_says_in_json_whose_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "journal.jsonl", [(IDS[1], iteration(0))])

    assert json.loads(path.read_text("utf-8")) == {
        "trajectory": IDS[1],
        "number": 0,
        "candidates": [{"prompt": "a cat, 0", "image": None, "score": 0.1, "error": None}],
        "seeds": [],
        "refused": {},
    }


def iteration(number: int) -> Iteration:
    return Iteration(number=number, candidates=(Candidate(prompt=f"a cat, {number}", score=0.1),))


def write(path: Path, lines: Sequence[tuple[str, Iteration]]) -> Path:
    journal = Journal(path)
    for trajectory_id, entry in lines:
        journal.append((trajectory_id, entry))
    journal.close()
    return path


def histories(lines: Sequence[tuple[str, Iteration]]) -> dict[str, list[Iteration]]:
    return {name: [entry for trajectory_id, entry in lines if trajectory_id == name] for name in IDS}


def bits(recorded: dict[str, list[Iteration]]) -> list[str | None]:
    return [
        None if c.score is None else float(c.score).hex() for h in recorded.values() for i in h for c in i.candidates
    ]
