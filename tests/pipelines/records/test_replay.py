import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.records.journal import JournalError, lines
from pipelines.records.replay import in_order, unfinished
from pipelines.search.cohort import Cohort
from pipelines.search.history import History
from pipelines.search.rounds import Candidate, Proposed, Round
from pipelines.search.state_machine import Stop, next_step
from pipelines.settings.search import SearchSettings
from tests.pipelines.records.test_journal import as_written, in_plain, packed, write
from tests.pipelines.search.recorded import as_text, base_round, cohort_of, recordings, searched, some_settings

PROTOCOL = SearchSettings(candidates=2, iterations=2, patience=1)
TODO = [cohort_of("u1"), cohort_of("group:\"a\nb\" = 'ü/☃'", "u2", run=2), cohort_of("u1", prompt_id="ü")]
FIRST, SECOND, THIRD = (cohort.id for cohort in TODO)


@st.composite
def journals(draw: st.DrawFn, protocol: SearchSettings) -> list[tuple[str, Round]]:
    """The rounds of three cohorts, as far as they have come, in any order that the driver could write them in."""
    queues = {cohort.id: list(draw(recordings(cohort, protocol))) for cohort in TODO}
    order = draw(st.permutations([name for name, rounds in queues.items() for _ in rounds]))
    everything = [(name, queues[name].pop(0)) for name in order]
    return everything[: draw(st.integers(0, len(everything)))]


@settings(max_examples=40)
@given(some_settings, st.data())
def test_a_replay_of_any_part_takes_the_same_next_steps_whatever_the_order_of_the_lines(
    protocol: SearchSettings, data: st.DataObject
) -> None:
    recorded = data.draw(journals(protocol))
    with TemporaryDirectory() as folder:
        path = write(Path(folder) / "journal.jsonl", recorded)
        torn = data.draw(st.integers(0, 40))
        path.write_bytes(path.read_bytes() + b'{"cohort": "p1/pamela/1", "number": 1, "prop'[:torn])

        read = list(in_order(path, TODO, protocol))
        left = unfinished(path, TODO, protocol)

    assert [history.cohort for history in read] == TODO
    for history in read:
        searched_so_far = History(history.cohort, of_cohort(recorded, history.cohort))
        assert texts_of(history.rounds) == texts_of(searched_so_far.rounds)
        assert next_step(history, protocol) == next_step(searched_so_far, protocol)
        assert history.scores.tobytes() == searched_so_far.scores.tobytes()
        assert (history.bests == searched_so_far.bests).all()
    going_on = [history for history in read if not isinstance(next_step(history, protocol), Stop)]
    assert left.cohorts == [history.cohort for history in going_on]
    assert {name: texts_of(rounds) for name, rounds in left.rounds.items()} == {
        history.cohort.id: texts_of(history.rounds) for history in going_on if history.rounds
    }


@settings(max_examples=40)
@given(some_settings, st.data())
def test_a_line_that_was_cut_short_and_is_not_the_last_is_an_error_that_names_file_and_place(
    protocol: SearchSettings, data: st.DataObject
) -> None:
    recorded = data.draw(journals(protocol).filter(bool))
    with TemporaryDirectory() as folder:
        path = write(Path(folder) / "journal.jsonl", recorded)
        whole = [line for _, line in lines(path)]
        number = data.draw(st.integers(0, len(whole) - 1))
        cut = data.draw(st.integers(0, len(whole[number]) - 2))
        path.write_bytes(b"".join([*whole[:number], whole[number][:cut] + b"\n", *whole[number + 1 :]]))

        place = sum(map(len, whole[:number]))
        with pytest.raises(JournalError, match=rf"/journal\.jsonl, (line {number + 1}: |byte {place}, ).*not a line"):
            unfinished(path, TODO, protocol)


@settings(max_examples=40)
@given(some_settings, st.data())
def test_a_line_that_is_missing_twice_or_in_another_place_is_an_error_that_names_file_and_place(
    protocol: SearchSettings, data: st.DataObject
) -> None:
    recorded = data.draw(journals(protocol).filter(bool))
    place = data.draw(st.integers(0, len(recorded) - 1))
    cohort_id, _ = recorded[place]
    later = [at for at in range(place + 1, len(recorded)) if recorded[at][0] == cohort_id]
    twice = [*recorded[: place + 1], *recorded[place:]]
    mixed_up = [twice]
    if later:
        mixed_up.append([*recorded[:place], *recorded[place + 1 :]])
        mixed_up.append([*recorded[:place], recorded[later[0]], *recorded[place : later[0]], *recorded[later[0] + 1 :]])
    with TemporaryDirectory() as folder:
        path = write(Path(folder) / "journal.jsonl", data.draw(st.sampled_from(mixed_up)))

        with pytest.raises(JournalError, match=r"/journal\.jsonl, byte \d+, .*the journal was edited or mixed up"):
            unfinished(path, TODO, protocol)


def test_only_what_is_not_finished_is_kept(tmp_path: Path) -> None:
    rounds = [
        (FIRST, base_round(TODO[0], 0.5)),
        (SECOND, base_round(TODO[1], 0.5, 0.5)),
        (FIRST, searched(1, {"u1": {"x": (0.4,)}})),
        (SECOND, searched(1, {"u2": {"x": (0.6, 0.1)}})),
    ]
    path = write(tmp_path / "journal.jsonl", rounds)

    left = unfinished(path, TODO, PROTOCOL)

    assert left.cohorts == TODO[1:]
    assert {name: texts_of(found) for name, found in left.rounds.items()} == {
        SECOND: texts_of([rounds[1][1], rounds[3][1]])
    }
    assert isinstance(next_step(next(in_order(path, TODO, PROTOCOL)), PROTOCOL), Stop)


def test_a_run_without_a_journal_has_everything_before_it(tmp_path: Path) -> None:
    left = unfinished(tmp_path / "none", TODO, PROTOCOL)

    assert (left.cohorts, left.rounds, left.first_rounds) == (TODO, {}, {})
    assert [(each.cohort, each.rounds) for each in in_order(tmp_path / "none", TODO, PROTOCOL)] == [
        (cohort, []) for cohort in TODO
    ]


def test_the_first_rounds_that_were_shared_are_known_again_even_of_cohorts_that_are_done(tmp_path: Path) -> None:
    shared = Proposed(
        users=("u1",), candidates=(Candidate(prompt="a cat, x", image="x"),), seeds=(7,), refused={"empty": 1}
    )
    path = write(
        tmp_path / "journal.jsonl",
        [
            (FIRST, base_round(TODO[0], 0.5)),
            (FIRST, Round(number=1, proposed=(shared,), scores=searched(1, {"u1": {"x": (0.4,)}}).scores)),
            (SECOND, base_round(TODO[1], 0.5, 0.5)),
        ],
    )

    for share in ("round", "pool"):
        left = unfinished(path, TODO, PROTOCOL.model_copy(update={"share": share}))
        assert left.cohorts == TODO[1:]
        assert left.first_rounds == {("p1", 1): shared}
    assert unfinished(path, TODO, PROTOCOL).first_rounds == {}


@pytest.mark.parametrize("line", [b"nonsense\n", b"\n", b'{"cohort": 1}\n', b"\xff\n", b'{"cohort": "p9/pamela/1"}\n'])
def test_a_line_that_cannot_be_one_of_this_run_is_an_error(tmp_path: Path, line: bytes) -> None:
    path = write(tmp_path / "journal.jsonl", [(FIRST, base_round(TODO[0], 0.5))])
    path.write_bytes(path.read_bytes() + line)

    with pytest.raises(JournalError, match=r"journal\.jsonl, line 2: "):
        list(in_order(path, TODO, PROTOCOL))


def test_a_cohort_that_the_run_does_not_have_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "journal.jsonl", [(FIRST, base_round(TODO[0], 0.5)), (THIRD, base_round(TODO[2], 0.5))])

    with pytest.raises(JournalError, match=r"line 2: cohort 'ü/pamela/1' is not one of this run"):
        list(in_order(path, TODO[:1], PROTOCOL))


@pytest.mark.parametrize("numbers, got", [((0, 0), 0), ((0, 2), 2), ((0, -1), -1)])
def test_a_round_out_of_turn_is_an_error(tmp_path: Path, numbers: Sequence[int], got: int) -> None:
    path = tmp_path / "journal.jsonl"
    rounds = [base_round(TODO[0], 0.5) if number == 0 else searched(number, {"u1": {}}) for number in numbers]
    write(path, [(FIRST, each) for each in rounds])

    with pytest.raises(JournalError, match=rf"journal\.jsonl, byte \d+, '{FIRST}': round 1 is due, got {got}"):
        list(in_order(path, TODO, PROTOCOL))


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "journal.jsonl", [(FIRST, base_round(TODO[0], 0.5))])
    path.write_bytes(path.read_bytes() + b'{"cohort": "p1/pam')

    assert [len(history.rounds) for history in in_order(path, TODO, PROTOCOL)] == [1, 0, 0]
    left = unfinished(path, TODO, PROTOCOL)
    assert left.cohorts == TODO
    assert list(left.rounds) == [FIRST]


def test_a_line_after_the_end_of_its_cohort_is_an_error(tmp_path: Path) -> None:
    rounds = [
        base_round(TODO[0], 0.5),
        searched(1, {"u1": {"x": (0.4,)}}),
        searched(2, {"u1": {"y": (0.3,)}}),
    ]
    path = write(tmp_path / "journal.jsonl", [(FIRST, each) for each in rounds])

    with pytest.raises(JournalError, match=r"journal\.jsonl, byte \d+, .* goes on after its end"):
        unfinished(path, TODO, PROTOCOL)


def test_a_cohort_that_begins_without_a_score_is_an_error(tmp_path: Path) -> None:
    lost = Proposed(users=("u1",), candidates=(Candidate(prompt="a cat", error="no opinion"),))
    for first in (Round(number=0, proposed=(lost,)), base_round(TODO[0], float("nan"))):
        (tmp_path / "journal.jsonl").unlink(missing_ok=True)
        path = write(tmp_path / "journal.jsonl", [(FIRST, first)])
        with pytest.raises(JournalError, match=r"journal\.jsonl, byte 0, 'p1/pamela/1': begins without a score"):
            unfinished(path, TODO, PROTOCOL)


BASE = base_round(TODO[0], 0.5)
ROUND = searched(1, {"u1": {"x": (0.6,)}})


@pytest.mark.parametrize(
    "found, replacement",
    [
        pytest.param('"number": 1', '"number": 3', id="another number"),
        pytest.param('"scores"', '"score"', id="no scores"),
        pytest.param('"proposed"', '"propose"', id="scores of nothing"),
        pytest.param('"users": 1,', '"users": 2,', id="scores of too many users"),
        pytest.param('"image": "x"', '"image": "base"', id="scores of an image that has some"),
        pytest.param('["u1"]', '["u9"]', id="proposed for nobody of the cohort"),
    ],
)
@pytest.mark.parametrize("share", ["base", "pool"])
def test_a_round_that_does_not_follow_from_the_ones_before_it_is_an_error(
    tmp_path: Path, share: str, found: str, replacement: str
) -> None:
    path = write(tmp_path / "journal.jsonl", [(FIRST, BASE), (FIRST, ROUND)])
    first, second = path.read_bytes().splitlines(keepends=True)
    assert found in in_plain(second)
    path.write_bytes(first + as_written(in_plain(second).replace(found, replacement)))

    with pytest.raises(JournalError, match=r"journal\.jsonl, (line 2|byte \d+)"):
        unfinished(path, TODO, PROTOCOL.model_copy(update={"share": share}))


@pytest.mark.parametrize("share", ["base", "pool"])
@pytest.mark.parametrize(
    "rest",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"proposed": packed([])}, id="no proposals"),
        pytest.param(
            {"reseeded": {"u9": {"prompt": "a cat", "seeds": [], "initial": [], "final": []}}},
            id="fresh seeds of nobody",
        ),
    ],
)
def test_a_round_of_nothing_is_an_error(tmp_path: Path, share: str, rest: dict[str, object]) -> None:
    path = write(tmp_path / "journal.jsonl", [(FIRST, BASE)])
    path.write_text(path.read_text("utf-8") + json.dumps({"cohort": FIRST, "number": 1, **rest}) + "\n", "utf-8")

    with pytest.raises(JournalError, match=r"journal\.jsonl, (line 2|byte \d+)"):
        unfinished(path, TODO, PROTOCOL.model_copy(update={"share": share}))


def of_cohort(recorded: Sequence[tuple[str, Round]], cohort: Cohort) -> list[Round]:
    return [finished for name, finished in recorded if name == cohort.id]


def texts_of(rounds: Sequence[Round]) -> list[tuple[str, tuple[int, ...], bytes]]:
    return list(map(as_text, rounds))
