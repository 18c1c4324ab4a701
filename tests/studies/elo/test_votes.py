"""Votes from tables and files: what is read, and every row that is none."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studies.elo.analysis import analyse
from studies.elo.vote_files import column_mapping, read_votes
from studies.elo.votes import LEFT, RIGHT, TIE, Votes

ROWS = [
    ("ann", "p1", "own", "initial", "left"),
    ("ann", "p2", "initial", "own", "right"),
    ("bob", "p1", "own", "initial", "right"),
    ("bob", "p2", "own", "initial", "tie"),
]
HEAD = "participant,prompt_id,left,right,winner"


def table(rows=ROWS, **more: list) -> pa.Table:
    columns = dict(zip(HEAD.split(","), map(list, zip(*rows, strict=True)), strict=True))
    return pa.table(columns | more)


def csv(path: Path, rows=ROWS, head: str = HEAD) -> Path:
    path.write_text("\n".join([head, *(",".join(row) for row in rows)]) + "\n", "utf-8")
    return path


def test_votes_are_coded_by_sorted_names() -> None:
    votes = Votes.from_table(table())

    assert votes.conditions == ("initial", "own")
    assert votes.participants == ("ann", "bob")
    assert votes.left.tolist() == [1, 0, 1, 1]
    assert votes.outcome.tolist() == [LEFT, RIGHT, RIGHT, TIE]
    assert not votes.repeat.any()


@given(st.randoms(use_true_random=False), st.data())
@settings(deadline=None, max_examples=30)
def test_neither_the_order_of_the_votes_nor_their_sides_change_the_elo(chance, data) -> None:
    sides = {"left": "right", "right": "left", "tie": "tie"}
    rows = ROWS + [("cy", "p3", "other", "own", "left"), ("cy", "p1", "other", "initial", "right")] * 2
    rows += [("ann", "p3", "own", "other", "left"), ("bob", "p3", "initial", "other", "right")]
    expected = {c.condition: c.elo for c in analyse(Votes.from_table(table(rows))).conditions}
    swapped = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    turned = [
        (who, prompt, b, a, sides[winner]) if swap else (who, prompt, a, b, winner)
        for swap, (who, prompt, a, b, winner) in zip(swapped, rows, strict=True)
    ]
    chance.shuffle(turned)

    found = {c.condition: c.elo for c in analyse(Votes.from_table(table(turned))).conditions}

    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "jsonl"])
def test_all_kinds_of_files_give_the_same_votes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"votes.{suffix}"
    if suffix == "parquet":
        pq.write_table(table(), path)
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table().to_pylist()), "utf-8")
    else:
        csv(path)
        path.write_text(path.read_text().replace(",", "\t") if suffix == "tsv" else path.read_text())

    votes = read_votes(path)

    assert votes.outcome.tolist() == [LEFT, RIGHT, RIGHT, TIE]
    assert votes.prompt.tolist() == [0, 1, 0, 1]


def test_other_column_names_are_mapped_and_numbers_stay_names(tmp_path: Path) -> None:
    rows = [("007", "1", "10", "9", "left"), ("7", "1", "9", "10", "left")]
    path = csv(tmp_path / "votes.csv", rows, 'participant,prompt_id,model_x,"model ""y""",winner')

    votes = read_votes(path, {"left": "model_x", "right": 'model "y"'})

    assert votes.participants == ("007", "7")
    assert votes.conditions == ("10", "9")


def test_optional_columns_are_read(tmp_path: Path) -> None:
    head = f"{HEAD},trial_id,repeat,response_ms,left_score,right_score,left_image,right_image"
    more = ("t1", "false", "900", "0.5", "", "i1", "i2")
    again = ("t1", "true", "800", "0.5", "0.25", "i2", "i1")
    votes = read_votes(csv(tmp_path / "votes.csv", [(*ROWS[0], *more), (*ROWS[1], *again)], head))

    assert votes.repeat.tolist() == [False, True]
    assert votes.trial is not None
    assert votes.trial.tolist() == [0, 0]
    assert votes.left_image is not None
    assert votes.right_image is not None
    assert votes.left_image.tolist() == votes.right_image.tolist()[::-1] == [0, 1]
    assert votes.right_score is not None
    assert np.isnan(votes.right_score).tolist() == [True, False]
    assert len(votes.counted()) == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("ann", "p1", "own", "initial", "win"), r"line 6: winner is 'win'; use left, right, tie"),
        (("ann", "p1", "own", "initial", "Left"), r"line 6: winner is 'Left'"),
        (("ann", "p1", "own", "own", "left"), r"line 6: left and right are both 'own'"),
        (("", "p1", "own", "initial", "left"), r"line 6: participant is missing; fill it in"),
        (("ann", "", "own", "initial", "left"), r"line 6: prompt_id is missing"),
        (("ann", "p1", " ", "initial", "left"), r"line 6: left is missing"),
        (("ann", "p1", "own", "", "left"), r"line 6: right is missing"),
        (("ann", "p1", "own", "initial", ""), r"line 6: winner is missing"),
    ],
)
def test_a_row_that_is_no_vote_is_an_error_with_its_line(tmp_path: Path, row: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_votes(csv(tmp_path / "votes.csv", [*ROWS, row]))


def test_many_bad_rows_are_counted_and_the_first_are_listed() -> None:
    bad = [("ann", "p1", "own", "initial", "both")] * 9

    with pytest.raises(ValueError, match=r"row 5: .*; row 9: winner is 'both'; and 4 rows more; use left"):
        Votes.from_table(table([*ROWS, *bad]))


def test_lines_are_those_of_the_file_where_a_field_runs_over_several(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    path.write_text(f'{HEAD}\n"an\nn",p1,a,b,left\nbob,p1,a,b,neither\n', "utf-8")

    with pytest.raises(ValueError, match="line 4: winner is 'neither'"):
        read_votes(path)


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    path = csv(tmp_path / "votes.csv", head="participant,prompt_id,left,right,choice")

    with pytest.raises(ValueError, match=r"no column winner; there are .*choice; say which .* --columns winner=…"):
        read_votes(path)
    assert len(read_votes(path, {"winner": "choice"})) == 4
    with pytest.raises(ValueError, match="--columns winner=chosen: there are"):
        read_votes(path, {"winner": "chosen"})


def test_a_mapping_that_makes_no_sense_is_refused() -> None:
    assert column_mapping("left=a, right=b") == {"left": "a", "right": "b"}
    with pytest.raises(ValueError, match="write NAME=COLUMN"):
        column_mapping("left")
    with pytest.raises(ValueError, match="no column of votes is called 'better'"):
        column_mapping("better=a")


def test_an_empty_file_of_votes_has_none(tmp_path: Path) -> None:
    votes = read_votes(csv(tmp_path / "votes.csv", []))

    assert len(votes) == 0
    with pytest.raises(ValueError, match="there are no votes"):
        analyse(votes)


def test_some_conditions_alone_leave_out_people_who_saw_none_of_them() -> None:
    votes = Votes.from_table(table([*ROWS, ("cy", "p1", "other", "own", "left")])).among(["own", "initial"])

    assert votes.conditions == ("initial", "own")
    assert votes.participants == ("ann", "bob")
    with pytest.raises(ValueError, match="no votes on condition 'best'; there are initial, own"):
        votes.among(["best"])


def test_a_table_without_a_needed_column_is_told_the_columns_that_it_has_and_no_others() -> None:
    with pytest.raises(ValueError, match="no column winner; the table has left, right; name the columns"):
        Votes.from_table(pa.table({"left": ["own"], "right": ["initial"]}))
