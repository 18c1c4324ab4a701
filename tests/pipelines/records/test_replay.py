from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings

from pipelines.records.journal import JournalError, replay
from pipelines.records.replay import in_order, unfinished
from pipelines.search.state_machine import Stop, next_step
from pipelines.search.trajectory import Candidate, Iteration, Trajectory
from pipelines.settings.search import SearchSettings
from tests.pipelines.records.test_journal import recordings, write

PROTOCOL = SearchSettings(candidates=2, iterations=2, patience=1)
TODO = [
    Trajectory(user=user, members=(), prompt_id="p1", base_prompt="a cat", scorer="pamela", run=1, image_seed=0, seed=0)
    for user in ("u1", "group:\"a\nb\" = 'ü/☃'", "u2")
]


@settings(deadline=None)
@given(recordings())
def test_histories_come_in_the_order_of_the_trajectories_whatever_that_of_the_lines(
    lines: Sequence[tuple[str, Iteration]],
) -> None:
    with TemporaryDirectory() as folder:
        path = write(Path(folder) / "journal.jsonl", lines)

        read = list(in_order(path, TODO, PROTOCOL))

        assert [trajectory for trajectory, _ in read] == TODO
        assert {trajectory.id: history for trajectory, history in read} == replay(path, [t.id for t in TODO])


def scored(number: int, score: float) -> Iteration:
    return Iteration(number=number, candidates=(Candidate(prompt=f"a cat {number}", image="i", score=score),))


def test_only_what_is_not_finished_is_kept(tmp_path: Path) -> None:
    first, second, third = (trajectory.id for trajectory in TODO)
    lines = [(first, scored(0, 0.5)), (second, scored(0, 0.5)), (first, scored(1, 0.4)), (second, scored(1, 0.6))]
    path = write(tmp_path / "journal.jsonl", lines)

    assert unfinished(path, TODO, PROTOCOL).histories == {second: [scored(0, 0.5), scored(1, 0.6)], third: []}
    assert isinstance(next_step(replay(path, [t.id for t in TODO])[first], PROTOCOL), Stop)


def test_a_run_without_a_journal_has_everything_before_it(tmp_path: Path) -> None:
    assert unfinished(tmp_path / "none", TODO, PROTOCOL).histories == {trajectory.id: [] for trajectory in TODO}
    assert list(in_order(tmp_path / "none", TODO, PROTOCOL)) == [(trajectory, []) for trajectory in TODO]


@pytest.mark.parametrize("line", [b"nonsense\n", b'{"trajectory": 1}\n', b'{"trajectory": "p9/pamela/1/u1"}\n'])
def test_a_line_that_cannot_be_one_of_this_run_is_an_error(tmp_path: Path, line: bytes) -> None:
    path = write(tmp_path / "journal.jsonl", [(TODO[0].id, scored(0, 0.5))])
    path.write_bytes(path.read_bytes() + line)

    with pytest.raises(JournalError, match=r"journal\.jsonl, line 2: "):
        list(in_order(path, TODO, PROTOCOL))


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "journal.jsonl", [(TODO[0].id, scored(0, 0.5))])
    path.write_bytes(path.read_bytes() + b'{"trajectory": "p1/pam')

    assert [len(history) for _, history in in_order(path, TODO, PROTOCOL)] == [1, 0, 0]
    assert list(unfinished(path, TODO, PROTOCOL).histories) == [trajectory.id for trajectory in TODO]


def test_a_line_after_the_end_of_its_trajectory_is_an_error(tmp_path: Path) -> None:
    name = TODO[0].id
    lines = [(name, scored(0, 0.5)), (name, scored(1, 0.4)), (name, scored(2, 0.3))]
    with pytest.raises(JournalError, match="goes on after its end"):
        unfinished(write(tmp_path / "journal.jsonl", lines), TODO, PROTOCOL)


def test_a_trajectory_that_begins_without_a_score_is_an_error(tmp_path: Path) -> None:
    failed = Iteration(number=0, candidates=(Candidate(prompt="a cat", error="no opinion"),))
    with pytest.raises(JournalError, match="begins without a score: no opinion"):
        unfinished(write(tmp_path / "journal.jsonl", [(TODO[0].id, failed)]), TODO, PROTOCOL)
