"""Searches in which a person picks the best themselves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.records.journal import Journal, lines, parse
from pipelines.records.replay import in_order
from pipelines.search.cohort import Cohort
from pipelines.search.history import History
from pipelines.search.rounds import Candidate, Proposed, Round
from pipelines.search.state_machine import Propose, Stop, StopReason, next_step
from pipelines.search.trajectory import Trajectory
from pipelines.settings.search import SearchSettings
from studies.design.steered_images import ENDED

SETTINGS = SearchSettings(candidates=2, iterations=1, patience=1)
MEMBER = Trajectory(
    user="Ada",
    user_ids=("Ada",),
    prompt_id="p1",
    base_prompt="a cat",
    scorer="pamela",
    run=1,
    image_seed=1,
    seed=0,
)
COHORT = Cohort(MEMBER.id, (MEMBER,))


def scored(number: int, *images: tuple[str, float], chosen: str | None = None) -> Round:
    candidates = tuple(Candidate(prompt=f"a cat, {key}", image=key) for key, _ in images)
    return Round(
        number=number,
        proposed=(Proposed(users=("Ada",), candidates=candidates),),
        scores=np.array([[score for _, score in images]], np.float32),
        chosen={} if chosen is None else {"Ada": chosen},
    )


ROUNDS = [
    scored(0, ("base", 0.5)),
    scored(1, ("one", 0.9), ("two", 0.4), chosen="base"),
    scored(2, ("three", 0.95), ("four", 0.1), chosen="two"),
]
KEPT = Round(number=3, chosen={"Ada": "four"})


def best(history: History) -> str:
    return history.images[history.best[0]].key


def test_what_a_person_chose_is_their_best_whatever_the_scores() -> None:
    history = History(COHORT, ROUNDS[:2])
    assert best(history) == "base"

    history.append(ROUNDS[2])

    assert best(history) == "two"


def test_a_person_who_chooses_goes_on_beyond_iterations_and_patience_until_they_keep_one() -> None:
    history = History(COHORT, ROUNDS)
    assert next_step(history, SETTINGS) == Propose(3, ("Ada",))

    history.append(KEPT)

    assert next_step(history, SETTINGS) == Stop((StopReason.CHOSEN,))
    assert best(history) == "four"
    assert history.searched == 3


def test_they_may_go_on_after_they_have_kept_one() -> None:
    history = History(COHORT, [*ROUNDS, KEPT, scored(4, ("five", 0.2), chosen="four")])

    assert isinstance(next_step(history, SETTINGS), Propose)
    assert best(history) == "four"


def test_only_an_image_that_was_scored_can_be_chosen() -> None:
    with pytest.raises(ValueError, match="'nine' was chosen, which is none of the images"):
        History(COHORT, ROUNDS).choose({"Ada": "nine"})


def test_a_branch_with_another_choice_leaves_the_history_as_it_is() -> None:
    history = History(COHORT, ROUNDS)
    branch = History(COHORT, history.rounds)

    branch.choose({"Ada": "three"})

    assert (best(history), best(branch)) == ("two", "three")


def test_choices_are_in_the_journal_and_are_replayed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for each in (*ROUNDS, KEPT):
        journal.append(COHORT.id, each)
    journal.close()

    (history,) = in_order(tmp_path / "journal.jsonl", [COHORT], SETTINGS)

    assert [dict(each.chosen) for each in history.rounds] == [dict(each.chosen) for each in (*ROUNDS, KEPT)]
    assert best(history) == "four"
    last = [line for _, line in lines(tmp_path / "journal.jsonl")][-1]
    assert replace(parse("here", last)[1], scores=KEPT.scores).chosen == KEPT.chosen


def test_studies_know_the_same_stop_reasons_as_ends() -> None:
    assert {reason.value for reason in StopReason if reason.is_end} == ENDED
