"""Rounds that are shared, with toy roles: the same records whatever runs beside, and after any loss."""

from itertools import pairwise
from pathlib import Path

import pytest

from pipelines.records.journal import follow
from pipelines.search.trajectory import Iteration
from pipelines.settings.search import GuardSettings, SearchSettings
from tests.pipelines.execution.test_driver import Run, drive, trajectories
from tests.pipelines.toys import MendedScorer
from tests.pools import Pools

POOL = SearchSettings(candidates=4, iterations=3, patience=2, share="pool", guards=GuardSettings(reseed="warn"))
TODO = trajectories("a cat", "fog", users=["u1", "u2", "u3"])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    folder = tmp_path_factory.mktemp("shared") / "run"
    return folder, drive(folder, TODO, protocol=POOL)


def own(iteration: Iteration) -> list[str | None]:
    return [candidate.image for candidate in iteration.candidates]


def test_every_image_of_a_prompt_is_scored_for_all_its_users(undisturbed: tuple[Path, Run]) -> None:
    _, run = undisturbed
    for prompt in ("p0", "p1"):
        histories = [run.histories[t.id] for t in TODO if t.prompt_id == prompt]
        for number in range(2, min(map(len, histories))):
            rounds = [history[number] for history in histories]
            if any(iteration.reseeded for iteration in rounds):
                continue
            everything = {image for iteration in rounds for image in own(iteration) if image}
            for iteration in rounds:
                assert {c.image for c in iteration.scored} == everything
    pooled = [c for h in run.histories.values() for i in h for c in i.pooled]
    assert pooled
    assert all(c.prompt and c.origin for c in pooled)


def test_the_first_round_is_the_same_for_all_users_of_a_prompt(undisturbed: tuple[Path, Run]) -> None:
    _, run = undisturbed
    for prompt in ("p0", "p1"):
        first = [run.histories[t.id][1] for t in TODO if t.prompt_id == prompt]
        assert len({tuple(own(iteration)) for iteration in first}) == 1
        assert len({iteration.seeds for iteration in first}) == 1


def test_the_number_of_actors_changes_nothing(undisturbed: tuple[Path, Run], tmp_path: Path, pools: Pools) -> None:
    _, run = undisturbed
    again = drive(tmp_path / "run", TODO, renderers=1, scorers=2, protocol=POOL, pools=pools)
    assert again.histories == run.histories


@pytest.mark.parametrize("share", [0.1, 0.35, 0.6, 0.9])
def test_a_journal_that_was_cut_anywhere_goes_on_to_the_same_records(
    undisturbed: tuple[Path, Run], tmp_path: Path, share: float
) -> None:
    folder, run = undisturbed
    (tmp_path / "run").mkdir()
    journal = (folder / "journal.jsonl").read_bytes()
    (tmp_path / "run" / "journal.jsonl").write_bytes(journal[: int(share * len(journal))])
    assert drive(tmp_path / "run", TODO, protocol=POOL).histories == run.histories


def test_the_lines_of_a_round_are_written_as_one(undisturbed: tuple[Path, Run]) -> None:
    folder, _ = undisturbed
    following = [follow(line) for line in (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)]
    assert following[:3] == [2, 1, 0]
    assert all(later == earlier - 1 for earlier, later in pairwise(following) if earlier)


def test_a_first_round_that_is_recorded_is_not_asked_for_again(tmp_path: Path) -> None:
    protocol = SearchSettings(candidates=4, iterations=2, patience=2, share="round")
    todo = trajectories("a cat", users=["u1", "u2"])
    whole = drive(tmp_path / "run", todo, protocol=protocol)
    lines = (tmp_path / "run" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if b"/u1" in line]
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "journal.jsonl").write_bytes(b"".join(kept).replace(b"a cat word", b"a cat WORD"))
    half = drive(tmp_path / "half", todo, protocol=protocol)
    first = {name: [c.prompt for c in history[1].candidates] for name, history in half.histories.items()}
    assert len({tuple(prompts) for prompts in first.values()}) == 1
    assert whole.failures == half.failures == {}


def test_an_image_that_others_cannot_score_is_recorded_with_the_error(tmp_path: Path, pools: Pools) -> None:
    todo = trajectories("an unpoolable cat", users=["u1", "u2"])
    run = drive(tmp_path, todo, protocol=POOL, pools=pools)
    pooled = [c for h in run.histories.values() for i in h for c in i.pooled]
    assert pooled
    assert all(c.score is None and "no opinions" in str(c.error) for c in pooled)
    assert run.failures == {}


def test_a_member_that_fails_does_not_hold_up_its_cohort(tmp_path: Path) -> None:
    first, picky, last = todo = trajectories("a cat", users=["u1", "picky", "u2"])
    run = drive(tmp_path, todo, protocol=POOL)
    assert set(run.failures) == {picky.id}
    assert run.histories[picky.id] == []
    for trajectory in (first, last):
        pooled = [c for iteration in run.histories[trajectory.id] for c in iteration.pooled]
        assert len(run.histories[trajectory.id]) > 2
        assert {c.origin and c.origin[0] for c in pooled} == {"u1", "u2"} - {trajectory.user}


def test_a_member_that_failed_and_caught_up_has_the_very_rounds_of_one_that_never_failed(tmp_path: Path) -> None:
    # Two rounds: in a third, the others would propose from what they have of the member that failed.
    protocol = SearchSettings(candidates=8, iterations=2, share="pool", guards=GuardSettings(held_out="warn"))
    todo = trajectories("rain", "a tree", "a fox", users=["u1", "picky", "u2"])
    failing = {trajectory.id for trajectory in todo if trajectory.user == "picky"}
    whole = drive(tmp_path / "undisturbed", todo, protocol=protocol, scoring=MendedScorer).histories
    assert drive(tmp_path / "run", todo, protocol=protocol).failures.keys() == failing
    again = drive(tmp_path / "run", todo, protocol=protocol, scoring=MendedScorer).histories
    for name in failing:
        assert again[name] == whole[name]
    own = [c for name in whole.keys() - failing for c in whole[name][2].candidates]
    assert any(c.warnings for c in own)  # else there was nothing to be mistaken about


def test_only_the_best_previews_are_finished_after_the_first_round(tmp_path: Path, pools: Pools) -> None:
    protocol = SearchSettings(candidates=4, iterations=2, patience=2, previews=2, preview_agreement=-1)
    run = drive(tmp_path, trajectories("a cat", users=["u1"]), protocol=protocol, pools=pools)
    (history,) = run.histories.values()
    finished = [sum(c.image is not None for c in iteration.candidates) for iteration in history]
    assert finished == [1, 4, 2]
    assert [c.rejected for c in history[1].candidates] == [None] * 4
    assert sorted(str(c.rejected) for c in history[2].candidates if c.rejected) == [
        *("preview: ranked 3 of 4", "preview: ranked 4 of 4")
    ]
    assert run.renders == ["a cat"]  # the others were gone on with


def test_a_preview_whose_score_is_no_number_is_an_error_and_not_finished(tmp_path: Path) -> None:
    protocol = SearchSettings(candidates=4, iterations=1, previews=2)
    run = drive(tmp_path, trajectories("a nan cat", users=["u1"]), protocol=protocol)
    ((base, round_one),) = run.histories.values()
    assert base.candidates[0].score is not None
    assert [c.error for c in round_one.candidates] == ["the preview's score is not a number: nan"] * 4
    assert all(c.image is None and c.preview_score is None for c in round_one.candidates)
