"""Rounds that are shared, with toy roles: the same records whatever runs beside, and after any loss."""

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from actors.messages import ProposalRequest, Proposals, Rendering, ScoreRequest
from pipelines.search.rounds import new_images
from pipelines.settings.search import GuardSettings, SearchSettings
from tests.pipelines.execution.test_driver import Run, drive, trajectories
from tests.pipelines.records.test_journal import as_written, in_plain
from tests.pipelines.toys import ToyProposer, ToyScorer
from tests.pools import Pools

POOL = SearchSettings(candidates=4, iterations=3, patience=2, share="pool", guards=GuardSettings(reseed="warn"))
TODO = trajectories("a cat", "fog", users=["u1", "u2", "u3"])
CAT, FOG = "p0/pamela/1", "p1/pamela/1"


class SilentAboutOne(ToyScorer):
    """Has no opinion of images whose prompts end in an even digit."""

    def score_each(self, request: ScoreRequest, rendering: Rendering) -> list[float]:
        if rendering.png != request.base_prompt.encode() and rendering.png[-1:] in b"02468":
            raise ValueError("no opinion of that")
        return super().score_each(request, rendering)


class CountingScorer(ToyScorer):
    """Remembers for how many users each call asked."""

    asked: ClassVar[list[int]] = []

    def score_each(self, request: ScoreRequest, rendering: Rendering) -> list[float]:
        self.asked.append(len(request.audiences))
        return super().score_each(request, rendering)


class MuteFor(ToyProposer):
    """Has no words for odd seeds, once a score is known."""

    def propose(self, request: ProposalRequest) -> Proposals:
        if request.best_score is not None and request.seed % 2:
            raise ValueError("no words for that")
        return super().propose(request)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    folder = tmp_path_factory.mktemp("shared") / "run"
    return folder, drive(folder, TODO, protocol=POOL)


def test_every_image_of_a_prompt_is_scored_once_for_all_its_users(undisturbed: tuple[Path, Run]) -> None:
    _, run = undisturbed
    for cohort in (CAT, FOG):
        history = run.histories[cohort]
        proposed = {c.image for each in history.rounds for p in each.proposed for c in p.candidates if c.image}
        assert {image.key for image in history.images} == proposed
        assert history.scores.shape == (3, len(proposed))
        assert not np.isnan(history.scores).any()


def test_an_image_with_a_fresh_seed_is_scored_once_for_all_who_need_it(tmp_path: Path) -> None:
    CountingScorer.asked.clear()
    run = drive(
        tmp_path / "run", trajectories("a cat", users=["u1", "u2", "u3"]), scoring=CountingScorer, protocol=POOL
    )
    (reseeded,) = [each.reseeded for each in run.histories[CAT].rounds if each.reseeded]
    winners = [again.prompt for again in reseeded.values()]
    seeds = POOL.guards.reseeds
    asked = [3] * (len(run.histories[CAT].images) + seeds) + [winners.count(prompt) for prompt in {*winners}] * seeds
    assert sorted(CountingScorer.asked) == sorted(asked)
    assert list(reseeded) == ["u1", "u2", "u3"]
    for again in reseeded.values():
        assert len({image.image for image in (*again.initial, *again.final)}) == 2 * seeds


def test_whom_an_image_was_proposed_for_is_recorded(undisturbed: tuple[Path, Run]) -> None:
    _, run = undisturbed
    for image in run.histories[CAT].images:
        assert (image.proposed_for == "*") == (image.iteration <= 1)
    assert {image.proposed_for for image in run.histories[CAT].images if image.iteration > 1} == {"u1", "u2", "u3"}


def test_the_first_round_is_the_same_for_all_users_of_a_prompt(undisturbed: tuple[Path, Run]) -> None:
    _, run = undisturbed
    for cohort in (CAT, FOG):
        (first,) = run.histories[cohort].rounds[1].proposed
        assert first.users == ("u1", "u2", "u3")


def test_the_number_of_actors_changes_nothing(undisturbed: tuple[Path, Run], tmp_path: Path, pools: Pools) -> None:
    _, run = undisturbed
    again = drive(tmp_path / "run", TODO, renderers=1, scorers=2, protocol=POOL, pools=pools)
    assert again.journal == run.journal


@pytest.mark.parametrize("share", [0.1, 0.35, 0.6, 0.9])
def test_a_journal_that_was_cut_anywhere_goes_on_to_the_same_records(
    undisturbed: tuple[Path, Run], tmp_path: Path, share: float
) -> None:
    folder, run = undisturbed
    (tmp_path / "run").mkdir()
    journal = (folder / "journal.jsonl").read_bytes()
    (tmp_path / "run" / "journal.jsonl").write_bytes(journal[: int(share * len(journal))])
    assert drive(tmp_path / "run", TODO, protocol=POOL).journal == run.journal


def test_a_first_round_that_is_recorded_is_not_asked_for_again(tmp_path: Path) -> None:
    protocol = SearchSettings(candidates=4, iterations=2, patience=2, share="round")
    todo = trajectories("a cat", users=["u1", "u2"])
    whole = drive(tmp_path / "run", todo, protocol=protocol)
    lines = (tmp_path / "run" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    kept = [line for line in map(in_plain, lines) if json.loads(line)["cohort"].endswith("/u1")]
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "journal.jsonl").write_bytes(
        b"".join(as_written(line.replace("a cat word", "a cat WORD")) for line in kept)
    )
    half = drive(tmp_path / "half", todo, protocol=protocol)
    first = [[c.prompt for c in half.proposed(trajectory.id, 1)] for trajectory in todo]
    assert first[0] == first[1]
    assert any("WORD" in prompt for prompt in first[0])
    assert whole.failures == half.failures == {}


def test_an_image_that_cannot_be_scored_is_recorded_with_the_error(tmp_path: Path, pools: Pools) -> None:
    todo = trajectories("a cat", users=["u1", "u2"])
    run = drive(tmp_path, todo, protocol=POOL, scoring=SilentAboutOne, pools=pools)
    candidates = run.proposed(CAT, 1)
    assert any("no opinion of that" in str(c.error) for c in candidates)
    assert run.failures == {}
    scored = {c.image for c, _ in new_images(run.histories[CAT].rounds[1].proposed, set())}
    assert len(scored) == len([c for c in candidates if c.error is None])


def test_a_user_whose_base_image_has_no_score_has_failed_and_the_others_go_on(tmp_path: Path) -> None:
    todo = trajectories("a cat", users=["u1", "picky", "u2"])
    run = drive(tmp_path, todo, protocol=POOL)
    history = run.histories[CAT]
    assert run.failures == {}
    assert [history.failure(place) is not None for place in range(3)] == [False, True, False]
    assert {user for r in history.rounds[2:] for p in r.proposed for user in p.users} <= {"u1", "u2"}
    assert len(history.rounds) > 2


def test_users_for_whom_nothing_is_proposed_do_not_hold_up_their_cohort(tmp_path: Path) -> None:
    todo = trajectories("a cat", users=["u1", "u2", "u3"])
    run = drive(tmp_path, todo, protocol=POOL, proposing=MuteFor)
    history = run.histories[CAT]
    assert run.failures == {}
    silent = [p for r in history.rounds[2:] for p in r.proposed if not p.candidates]
    assert silent
    assert all("no words for that" in reason for p in silent for reason in p.refused)


def test_only_the_best_previews_are_finished_after_the_first_round(tmp_path: Path, pools: Pools) -> None:
    protocol = SearchSettings(candidates=4, iterations=2, patience=2, previews=2, preview_agreement=-1)
    (trajectory,) = trajectories("a cat", users=["u1"])
    run = drive(tmp_path, [trajectory], protocol=protocol, pools=pools)
    rounds = [run.proposed(trajectory.id, number) for number in range(3)]
    assert [sum(c.image is not None for c in candidates) for candidates in rounds] == [1, 4, 2]
    assert [c.rejected for c in rounds[1]] == [None] * 4
    assert sorted(str(c.rejected) for c in rounds[2] if c.rejected) == [
        *("preview: ranked 3 of 4", "preview: ranked 4 of 4")
    ]
    assert run.renders == ["a cat"]  # the others were gone on with


def test_a_preview_whose_score_is_no_number_is_an_error_and_not_finished(tmp_path: Path) -> None:
    protocol = SearchSettings(candidates=4, iterations=1, previews=2)
    (trajectory,) = trajectories("a nan cat", users=["u1"])
    run = drive(tmp_path, [trajectory], protocol=protocol)
    assert "the preview's score is not a number" in run.failures[trajectory.id]
    assert run.renders == ["a nan cat"]
