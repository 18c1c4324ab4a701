"""Votes as others publish them, read without edits or by one mapping; and what is said of it."""

from pathlib import Path

import pytest

from studies.elo.analysis import Options, analyse
from studies.elo.vote_files import participants_named_in, read_votes, value_mapping
from studies.elo.votes import BOTH_BAD, LEFT, RIGHT, TIE, Votes


def written(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


ARENA = (
    "question_id,model_a,model_b,winner,judge,turn,anony,language,tstamp\n"
    "q1,gpt, claude ,model_a,ann,1,True,English,1.5\n"
    "q2,claude,gpt,model_b,bob,1,True,English,2.5\n"
    "q1,claude,gpt,tie,bob,1,True,English,3.5\n"
    "q2,gpt,claude,tie (bothbad),ann,1,True,English,4.5\n"
)


def test_an_arenas_table_is_recognised_and_said(tmp_path: Path) -> None:
    votes = read_votes(written(tmp_path / "arena.csv", ARENA))

    assert votes.conditions == ("claude", "gpt")
    assert votes.participants == ("ann", "bob")
    assert votes.outcome.tolist() == [LEFT, RIGHT, TIE, BOTH_BAD]
    assert votes.notes[0].startswith("Read as an arena's table: left is model_a, right is model_b")


def test_both_bad_can_be_left_out(tmp_path: Path) -> None:
    votes = read_votes(written(tmp_path / "arena.csv", ARENA), values=value_mapping("'tie (bothbad)'=out"))

    assert votes.outcome.tolist() == [LEFT, RIGHT, TIE]
    assert "1 votes are left out, as --values says." in votes.notes


def test_a_winner_may_be_the_name_of_a_condition(tmp_path: Path) -> None:
    text = (
        'participant,prompt_id,left,right,winner\nann,p,"a, b",Tülu,Tülu\nbob,p,tulu,"a, b",tulu\ncy,p,tulu,Tülu,tie\n'
    )
    votes = read_votes(written(tmp_path / "votes.csv", text))

    assert votes.outcome.tolist() == [RIGHT, LEFT, TIE]
    assert "Nearly equal names are taken for different conditions: 'Tülu', 'tulu'." in votes.notes


def test_counts_are_votes_and_who_gave_them_may_be_unknown(tmp_path: Path) -> None:
    text = "prompt,votes_image1,votes_image2,model1,model2\np1,3,1,sd,flux\np2,2,5,sd,flux\np3,0,2,flux,sd\n"
    votes = read_votes(written(tmp_path / "crowd.csv", text))
    report = analyse(votes)

    assert len(votes) == 13
    assert [(c.condition, c.wins) for c in report.conditions] == [("sd", 7), ("flux", 6)]
    assert "The table does not say who voted, so every vote counts as another person's" in "\n".join(report.warnings)
    assert report.by_participant is None
    plain = "left,right,left_wins,right_wins,ties\na,b,3,1,2\nb,a,2,2,0\n"
    votes = read_votes(written(tmp_path / "counts.csv", plain))
    assert (len(votes), int((votes.outcome == TIE).sum())) == (10, 2)
    warnings = "\n".join(analyse(votes).warnings)
    assert "The table does not say on which prompt a vote was" in warnings
    assert "one prompt" not in warnings
    with pytest.raises(ValueError, match=r"left_wins must be a number of votes, 0 or more, got -3"):
        read_votes(written(tmp_path / "bad.csv", plain.replace("3,1", "-3,1")))


def test_the_export_of_a_study_is_read_back_without_edits(tmp_path: Path) -> None:
    text = (
        "participant,prompt_id,trial_id,kind,repeat,left,right,winner\n"
        "ann,p1,t0,practice,False,practice,practice,left\n"
        "ann,p1,t1,trial,False,own,initial,left\n"
        "ann,p1,t1,trial,True,initial,own,right\n"
        "ann,p1,t2,attention,False,practice,practice,right\n"
        "bob,p1,t1,trial,False,own,initial,first\n"
    )
    with pytest.raises(ValueError, match="line 6: winner is 'first'"):
        read_votes(written(tmp_path / "votes.csv", text))
    votes = read_votes(written(tmp_path / "votes.csv", text.replace("first", "right")))
    assert votes.conditions == ("initial", "own")
    assert votes.repeat.tolist() == [False, True, False]
    assert votes.notes == ("3 rows are practice or attention checks, and are left out.",) or (
        votes.notes == ("2 rows are practice or attention checks, and are left out.",)
    )


def test_participants_that_are_named_are_left_out_and_counted(tmp_path: Path) -> None:
    votes = read_votes(written(tmp_path / "arena.csv", ARENA))
    file = written(tmp_path / "out.txt", "# too fast\nann\n\n")

    kept = votes.without(participants_named_in(file))
    assert kept.participants == ("bob",)
    assert "1 participant is left out on request, with 2 votes." in kept.notes
    with pytest.raises(ValueError, match="participant 'zoe' gave no vote"):
        votes.without(["zoe"])
    with pytest.raises(ValueError, match="names nobody"):
        participants_named_in(written(tmp_path / "none.txt", "# nobody\n"))


def test_values_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    assert value_mapping("a=left, 'b, c'=right,'x=y'=tie") == {"a": "left", "b, c": "right", "x=y": "tie"}
    with pytest.raises(ValueError, match="write VALUE=WORD with one of left, right, tie, both_bad, out"):
        value_mapping("a=first")
    with pytest.raises(ValueError, match=r"--values c=…: no row has this winner; there are 'model_a'"):
        read_votes(written(tmp_path / "arena.csv", ARENA), values={"c": "left"})


def test_notes_are_among_the_warnings(tmp_path: Path) -> None:
    votes: Votes = read_votes(written(tmp_path / "arena.csv", ARENA * 1))

    assert set(votes.notes) <= set(analyse(votes, Options(prior=0.5)).warnings)


def test_where_no_row_is_a_vote_it_is_said_why(tmp_path: Path) -> None:
    table = "kind,left,right,winner\nimage,a,b,left\nimage,a,b,right\n"
    with pytest.raises(ValueError, match=r"votes\.csv: none of 2 rows is a vote: 2 rows are practice or attention"):
        read_votes(written(tmp_path / "votes.csv", table))
