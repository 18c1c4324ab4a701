"""The shapes in which others publish votes and choices: each is read as it is, and what it was taken for is said."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from studies.elo.analysis import analyse
from studies.elo.reporting.records import as_dict
from studies.elo.vote_files import read_votes, value_mapping, votes_of
from studies.elo.votes import BOTH_BAD, LEFT, RIGHT, TIE, Votes


def written(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding)
    return path


def read_lines(path: Path, rows: list[dict], **options) -> Votes:
    return read_votes(written(path, "".join(json.dumps(row) + "\n" for row in rows)), **options)


def read_parquet(path: Path, rows: list[dict], **options) -> Votes:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return read_votes(path, **options)


def told(votes: Votes) -> list[tuple[str, str, str, str, str]]:
    """Votes in words: participant, prompt, left, right and the name of what won."""
    return [
        (votes.participants[who], votes.prompts[prompt], votes.conditions[left], votes.conditions[right], word)
        for who, prompt, left, right, word in zip(
            votes.participant,
            votes.prompt,
            votes.left,
            votes.right,
            [("left", "right", "tie", "both_bad")[outcome] for outcome in votes.outcome],
            strict=True,
        )
    ]


def won(votes: Votes) -> list[str]:
    """Votes as "a>b" or "a=b", sides and order forgotten."""
    found = []
    for _, _, left, right, word in told(votes):
        better, worse = (left, right) if word == "left" or (word == "tie" and left < right) else (right, left)
        found.append(f"{better}{'=' if word == 'tie' else '>'}{worse}")
    return sorted(found)


ARENA = "question_id,model_a,model_b,winner,judge,turn,anony,language,tstamp\n" + "".join(
    f"q{n},gpt,{other},{word},u{n % 3},1,True,English,1.5\n"
    for n, (other, word) in enumerate(
        [
            ("claude", "model_a"),
            ("claude", "model_b"),
            ("claude", "tie"),
            ("claude", "tie (bothbad)"),
            ("bad", "both_bad"),
        ]
        * 2
    )
)


def test_both_bad_is_no_tie_and_reported_apart(tmp_path: Path) -> None:
    votes = read_votes(written(tmp_path / "arena.csv", ARENA))
    report = analyse(votes)
    warnings = "\n".join(report.warnings)

    assert votes.outcome.tolist() == [LEFT, RIGHT, TIE, BOTH_BAD, BOTH_BAD] * 2
    assert {c.condition: (c.ties, c.n) for c in report.conditions} == {"gpt": (2, 6), "claude": (2, 6)}
    assert as_dict(report)["both_bad"] == {"votes": 4, "by_condition": {"bad": 2, "claude": 2, "gpt": 4}}
    assert "4 votes (40.0%) found both bad: that is no tie" in warnings
    assert "Only in votes that found both bad, and therefore without an Elo: bad." in warnings


def test_both_bad_is_merged_with_ties_on_request(tmp_path: Path) -> None:
    values = value_mapping("'tie (bothbad)'=tie,both_bad=out")
    votes = read_votes(written(tmp_path / "arena.csv", ARENA), values=values)

    assert votes.outcome.tolist() == [LEFT, RIGHT, TIE, TIE] * 2
    assert as_dict(analyse(votes))["both_bad"] == {"votes": 0, "by_condition": {}}


def test_an_arena_with_a_column_for_each_outcome_is_read(tmp_path: Path) -> None:
    text = (
        "id,model_a,model_b,prompt,winner_model_a,winner_model_b,winner_tie\n"
        '1,gpt,claude,"[""hi""]",1,0,0\n2,gpt,claude,why,0,1,0\n3,claude,gpt,why,0,0,1\n'
    )
    votes = read_votes(written(tmp_path / "arena.csv", text))

    assert won(votes) == ["claude=gpt", "claude>gpt", "gpt>claude"]
    assert votes.prompts == ('["hi"]', "why")


def test_a_winner_is_named_even_where_case_accents_and_spaces_differ(tmp_path: Path) -> None:
    text = (
        "model_a,model_b,winner\n"
        '"Tülu, 2",meta/llama, tulu  2 \nmeta/llama,"Tülu, 2",META/Llama\nmeta/llama,"Tülu, 2","Tülu, 2"\n'
    )
    votes = read_votes(written(tmp_path / "votes.csv", text))

    assert votes.outcome.tolist() == [LEFT, LEFT, RIGHT]
    assert votes.conditions == ("Tülu, 2", "meta/llama")
    assert any("Winners that are nearly the name of one side are taken for it" in note for note in votes.notes)
    with pytest.raises(ValueError, match="line 2: winner is 'gpt'"):
        read_votes(written(tmp_path / "votes.csv", "model_a,model_b,winner\nx,y,gpt\n"))


def test_single_responses_inside_their_items_are_votes_of_their_users(tmp_path: Path) -> None:
    users = [
        [{"user_id": "u1", "choice": "model1"}, {"user_id": "u2", "choice": "model2"}],
        [{"user_id": "u1", "choice": "tie"}],
        [],
    ]
    rows = [
        {"prompt": f"p{n}", "model1": "sd", "model2": "flux", "preference": {"responses": {"users": own}}}
        for n, own in enumerate(users)
    ]
    votes = read_parquet(tmp_path / "items.parquet", rows)

    assert told(votes) == [
        ("u1", "p0", "sd", "flux", "left"),
        ("u2", "p0", "sd", "flux", "right"),
        ("u1", "p1", "sd", "flux", "tie"),
    ]
    assert "responses is preference.responses.users" in votes.notes[0]
    other = [{"a": "sd", "b": "flux", "said": [{"who": 7, "choice": 1}, {"who": 8, "choice": 2}], "prompt": "p"}]
    with pytest.raises(ValueError, match="no column left"):
        read_lines(tmp_path / "items.jsonl", other)
    mapped = read_lines(tmp_path / "items.jsonl", other, columns={"left": "a", "right": "b", "responses": "said"})
    assert mapped.outcome.tolist() == [LEFT, RIGHT]
    assert not mapped.participant_known


def test_a_judges_records_of_comparison_and_choice_are_read(tmp_path: Path) -> None:
    rows = [
        {"id": n, "model_A": "ours", "model_B": "base",
         "result": {"comparison_and_choice": {"reasons": "…", "final_decision": word}}}
        for n, word in enumerate(["A", "B", "Tie", "Model A"])
    ]  # fmt: skip
    votes = read_lines(tmp_path / "judged.jsonl", rows)

    assert votes.outcome.tolist() == [LEFT, RIGHT, TIE, LEFT]
    assert votes.prompts == ("0", "1", "2", "3")
    assert "'A' is left, 'B' is right" in "\n".join(votes.notes)
    assert not votes.participant_known


def test_pick_a_pic_by_user_is_read(tmp_path: Path) -> None:
    text = (
        "user_id,caption,image_0_uid,image_1_uid,label_0,label_1,has_label\n"
        "7,a dog,x,y,1,0,True\n007,a dog,y,x,0.5,0.5,True\n7,a cat,v,w,0.0,1.0,True\n7,a cat,v,w,,,False\n"
    )
    votes = read_votes(written(tmp_path / "pick.csv", text))

    assert told(votes) == [
        ("7", "a dog", "x", "y", "left"),
        ("007", "a dog", "y", "x", "tie"),
        ("7", "a cat", "v", "w", "right"),
    ]
    assert "1 rows have no label, and are left out." in votes.notes
    models = text.replace("has_label", "has_label,model_0,model_1").replace("True", "True,sdxl,dream")
    named = read_votes(written(tmp_path / "named.csv", models.replace("False", "False,sdxl,dream")))
    assert named.conditions == ("dream", "sdxl")
    assert named.left_image is not None


@pytest.mark.parametrize("ranking", ["[2, 0, 1]", "[2 0 1]", "[3, 1, 2]", '["c", "a", "b"]'])
def test_a_ranking_is_all_of_its_pairs(tmp_path: Path, ranking: str) -> None:
    text = f"prompt_id,models,ranking\np1,\"['a', 'b', 'c']\",\"{ranking.replace(chr(34), chr(34) * 2)}\"\n"
    votes = read_votes(written(tmp_path / "ranked.csv", text))

    assert won(votes) == ["a>b", "c>a", "c>b"]
    assert votes.ballot is not None
    assert set(votes.ballot) == {0}
    assert votes.participants == ("1",)
    assert "A ranking counts as all of its pairs" in "\n".join(votes.notes)


def test_what_was_not_ranked_comes_last_and_is_not_compared(tmp_path: Path) -> None:
    rows = [{"user_id": "ann", "images": ["a", "b", "c", "d"], "ranking": [1, 3], "prompt": "p"}]

    assert won(read_lines(tmp_path / "ranked.jsonl", rows)) == ["b>a", "b>c", "b>d", "d>a", "d>c"]


def test_rankings_of_places_alone_name_the_places(tmp_path: Path) -> None:
    votes = read_lines(tmp_path / "ranked.jsonl", [{"prompt": "p", "ranking": [1, 0, 2]}])

    assert won(votes) == ["0>2", "1>0", "1>2"]


def test_ranks_beside_what_was_shown_may_tie(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "image_path": ["x/1.png", "x/2.png", "x/3.png"], "rank": [2, 1, 2]}]

    assert won(read_lines(tmp_path / "hpd.jsonl", rows)) == ["x/1.png=x/3.png", "x/2.png>x/1.png", "x/2.png>x/3.png"]


def test_ranks_a_row_an_image_are_ranked_within_their_prompt(tmp_path: Path) -> None:
    text = (
        "prompt_id,prompt,model,image_path,rank\n"
        "p1,a dog,sd,1.png,2\np1,a dog,flux,2.png,1\np2,a cat,flux,3.png,1\np2,a cat,sd,4.png,1\n"
        "p1,a dog,dalle,5.png,3\n"
    )
    votes = read_votes(written(tmp_path / "ranks.csv", text))

    assert won(votes) == ["flux=sd", "flux>dalle", "flux>sd", "sd>dalle"]
    assert len(set(votes.participant)) == 2
    assert not votes.sides_known


def test_the_best_of_several_beats_each_other(tmp_path: Path) -> None:
    rows = [
        {"user_id": "ann", "prompt": "p", "images": ["own/p.png", "other/p.png", "initial/p.png"], "chosen": 0},
        {"user_id": "bob", "prompt": "p", "images": ["initial/p.png", "own/p.png", "other/p.png"], "chosen": 1},
        {"user_id": "bob", "prompt": "p", "images": ["initial/p.png", "own/p.png", "other/p.png"], "chosen": None},
    ]
    votes = read_lines(tmp_path / "best.jsonl", rows)

    assert won(votes) == ["own>initial", "own>initial", "own>other", "own>other"]
    assert "1 rows were not answered, and are left out." in votes.notes
    assert "Conditions are the folders of the pictures." in votes.notes
    own = read_votes(written(tmp_path / "choices.csv", "user_id,shown,chosen\nann,a b c,b\nann,a c,c\nbob,b c,\n"))
    assert won(own) == ["b>a", "b>c", "c>a"]


JSPSYCH = (
    "trial_index,subject,task,stimulus,response,rt\n"
    "0,s1,instructions,<p>Welcome to this</p>,{0},900\n"
    '1,s1,practice,"[""own/a.png"",""initial/a.png""]",{0},900\n'
    '2,s1,choice,"[""own/p1.png"",""initial/p1.png""]",{0},950\n'
    "3,s1,choice,<p>+</p>,null,500\n"
    '4,s1,choice,"[""initial/p2.png"",""own/p2.png""]",{1},812\n'
    '5,s2,choice,"[""initial/p2.png"",""own/p2.png""]",null,null\n'
)


@pytest.mark.parametrize("keys", [("0", "1"), ("f", "j"), ("ArrowLeft", "ArrowRight")])
def test_jspsychs_trials_are_read_without_practice(tmp_path: Path, keys: tuple[str, str]) -> None:
    votes = read_votes(written(tmp_path / "jspsych.csv", JSPSYCH.format(*keys)))

    assert told(votes) == [("s1", "p1", "own", "initial", "left"), ("s1", "p2", "initial", "own", "right")]
    assert votes.response_ms is not None
    assert votes.response_ms.tolist() == [950, 812]
    assert votes.sides_known
    notes = "\n".join(votes.notes)
    assert "Read as jsPsych's trials" in notes
    assert "2 rows are practice, instructions or checks" in notes
    assert "1 rows show no two images" in notes
    assert f"'{keys[0]}' is left, '{keys[1]}' is right" in notes


def test_a_key_that_could_be_either_side_is_refused_and_mapped(tmp_path: Path) -> None:
    text = 'subject,stimulus,response\ns1,"[""a"",""b""]",1\ns2,"[""b"",""a""]",1\n'

    with pytest.raises(ValueError, match="line 2: winner is '1'"):
        read_votes(written(tmp_path / "one.csv", text))
    assert read_votes(tmp_path / "one.csv", values={"1": "right"}).outcome.tolist() == [RIGHT, RIGHT]


def test_label_studios_export_of_pairs_is_read(tmp_path: Path) -> None:
    def annotation(who: object, selected: str | None, **more: object) -> dict:
        value = [{"type": "pairwise", "value": {"selected": selected}}] if selected else []
        return {"completed_by": who, "result": value, **more}

    tasks: list[dict[str, Any]] = [
        {"id": 1, "data": {"prompt": "a dog", "model_left": "sd", "model_right": "flux"},
         "annotations": [annotation(3, "left"), annotation({"id": 4, "email": "x@y"}, "right")]},
        {"id": 2, "data": {"prompt": "a cat", "model_left": "flux", "model_right": "sd"},
         "annotations": [annotation(3, "left"),
                         {"completed_by": 4, "result": [{"type": "choices", "value": {"choices": ["Tie"]}}]}]},
    ]  # fmt: skip
    path = written(tmp_path / "export.json", json.dumps(tasks))
    votes = read_votes(path)

    assert told(votes) == [
        ("3", "a dog", "sd", "flux", "left"),
        ("4", "a dog", "sd", "flux", "right"),
        ("3", "a cat", "flux", "sd", "left"),
        ("4", "a cat", "flux", "sd", "tie"),
    ]
    assert "Read as Label Studio's export of pairs" in votes.notes[0]
    tasks[0]["annotations"][1]["was_cancelled"] = True
    votes = read_votes(written(path, json.dumps(tasks)))
    assert len(votes) == 3
    assert "1 rows were skipped, and are left out." in votes.notes


SHEET = (
    "participant;prompt_id;left;right;winner;response_ms;left_score;right_score\r\nJosé;p1;a;b;left;1200,5;0,25;0,5\r\n"
)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [(SHEET, "utf-8-sig"), (SHEET.replace(";", "\t"), "utf-16"), (f"sep=;\r\n{SHEET}", "utf-8")],
    ids=["BOM and semicolons", "UTF-16 and tabs", "sep="],
)
def test_a_sheet_of_a_spreadsheet_is_read(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "sheet.csv"
    path.write_bytes(text.encode(encoding))
    votes = read_votes(path)

    assert told(votes) == [("José", "p1", "a", "b", "left")]
    assert votes.response_ms is not None
    assert votes.left_score is not None
    assert (votes.response_ms[0], votes.left_score[0]) == (1200.5, 0.25)
    path.write_bytes(text.replace("b;left", "b;neither").replace("b\tleft", "b\tneither").encode(encoding))
    with pytest.raises(ValueError, match=r"line [23]: winner is 'neither'"):
        read_votes(path)


def test_a_file_that_no_one_can_read_is_refused_in_words(tmp_path: Path) -> None:
    twice = written(tmp_path / "twice.csv", "participant,left,right,winner,winner\nann,a,b,left,right\n")
    with pytest.raises(ValueError, match="two columns are called 'winner'"):
        read_votes(twice)
    latin = tmp_path / "latin.csv"
    latin.write_bytes("left,right,winner\ncafé,b,left\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.csv"):
        read_votes(latin)
    with pytest.raises(ValueError, match="not a table that can be read"):
        read_votes(tmp_path / "votes.xlsx")
    with pytest.raises(ValueError, match="is empty"):
        read_votes(written(tmp_path / "none.csv", ""))


def test_who_and_what_are_taken_by_their_usual_names_and_said(tmp_path: Path) -> None:
    votes = read_votes(written(tmp_path / "votes.csv", "rater,prompt,left,right,winner\nann,p,a,b,left\n"))

    assert told(votes) == [("ann", "p", "a", "b", "left")]
    assert votes.notes == ("Not named so, but taken for it: participant is rater, prompt_id is prompt.",)


def test_an_image_without_a_rank_lost_against_all_that_have_one_whether_it_is_null_or_nan(tmp_path: Path) -> None:
    shown = ["a", "b", "c"]
    votes = [
        read_parquet(tmp_path / f"{number}.parquet", [{"shown": shown, "ranks": ranks, "judge": "ann"}])
        for number, ranks in enumerate(([1.0, float("nan"), float("nan")], [1.0, None, None]))
    ]

    for own in votes:
        assert sorted((own.conditions[own.left[n]], own.conditions[own.right[n]]) for n in range(len(own))) == [
            ("a", "b"),
            ("a", "c"),
        ]
        assert set(own.outcome) == {LEFT}


@pytest.mark.parametrize(
    "rows",
    [
        [{"shown": ["a", "b", "c"], "ranks": [1, 2, 3]}],
        [{"shown": ["a", "b", "c"], "ranking": ["a", "b", "c"]}],
        [{"shown": ["a", "b", "c"], "chosen": "a"}],
        [{"shown": ["a", "b"], "chosen": "a"}],
    ],
)
def test_a_table_may_have_no_column_but_what_was_shown_and_what_was_answered(tmp_path: Path, rows: list[dict]) -> None:
    votes = read_parquet(tmp_path / "votes.parquet", rows)

    assert "a" in votes.conditions
    assert not votes.participant_known
    assert not votes.prompt_known


def test_lists_of_one_length_are_lists_too() -> None:
    shown = pa.FixedSizeListArray.from_arrays(pa.array(["a", "b", "c"] * 2), 3)
    votes = votes_of(pa.table({"shown": shown, "ranks": pa.array([[1, 2, 3], [3, 1, 2]])}))

    assert votes.conditions == ("a", "b", "c")
    assert len(votes) == 6


@pytest.mark.parametrize(
    "task",
    [
        {"data": ["a"], "annotations": [{}]},
        {"data": {"image1": "a"}, "annotations": ["left"]},
        {"data": {"image1": "a"}, "annotations": [{"result": [{"value": "left"}]}]},
    ],
)
def test_what_is_nearly_an_export_of_label_studio_is_refused_in_one_line(tmp_path: Path, task: dict) -> None:
    with pytest.raises(ValueError, match=r"export\.json: looks like an export of Label Studio, but"):
        read_votes(written(tmp_path / "export.json", json.dumps([task])))


def test_counts_that_no_memory_holds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"left_wins and right_wins are 1e\+12 votes, more than can be read at once"):
        votes_of(pa.table({"left": ["a"], "right": ["b"], "left_wins": [10**12], "right_wins": [1]}))
