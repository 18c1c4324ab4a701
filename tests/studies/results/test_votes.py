"""The votes of a study as its analysis takes them: those of its export, without practice and checks."""

import pyarrow as pa

from predictor.simulation.raters import read_truth
from studies.elo.votes import OUTCOMES, Votes
from studies.results.answers import votes_table
from studies.results.votes import study_votes
from studies.simulation.rehearsal import rehearse, truth_of
from studies.store.database import open_for_writing
from studies.study import Study


def told(votes: Votes) -> list[tuple]:
    assert votes.trial is not None
    return [
        (votes.participants[who], votes.prompts[prompt], votes.conditions[left], votes.conditions[right],
         OUTCOMES[outcome], bool(again))
        for who, prompt, left, right, outcome, again in zip(
            votes.participant, votes.prompt, votes.left, votes.right, votes.outcome, votes.repeat, strict=True
        )
    ]  # fmt: skip


def test_the_votes_of_a_study_are_those_of_its_export(pair_study: Study) -> None:
    raters = list(read_truth(truth_of(pair_study)).values())
    rehearse(pair_study, raters[:2], strangers=False)
    rehearse(pair_study, raters[2:3], strangers=True)
    rows = [row for row in votes_table(pair_study).to_pylist() if row["kind"] == "trial"]
    read, expected = study_votes(pair_study).votes, Votes.from_table(pa.Table.from_pylist(rows))

    assert told(read) == told(expected)
    assert {"own", "other", "initial", "hpsv3"} <= set(read.conditions)
    for images in ("left_image", "right_image", "trial"):
        one, two = getattr(read, images), getattr(expected, images)
        assert len({*zip(one, two, strict=True)}) == len({*one}) == len({*two})


def test_who_failed_a_check_is_named_and_left_out_on_request(pair_study: Study) -> None:
    rehearse(pair_study, list(read_truth(truth_of(pair_study)).values())[:2])
    rows = votes_table(pair_study).to_pylist()
    check = next(row for row in rows if row["kind"] == "attention")
    other = {"left": "right", "right": "left"}[check["expected"]]
    with open_for_writing(pair_study.database) as db:
        db.execute(
            "UPDATE votes SET winner = ? WHERE participant = ? AND position = ?",
            (other, check["participant"], check["position"]),
        )
    every, kept = study_votes(pair_study), study_votes(pair_study, drop_failed=True)

    assert "1 participant failed an attention check and are counted all the same" in "\n".join(every.caveats)
    assert check["participant"] in every.votes.participants
    assert check["participant"] not in kept.votes.participants
    assert "were left out" in "\n".join(kept.caveats)
