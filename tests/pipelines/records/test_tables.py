import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.records.outcomes import outcomes
from pipelines.records.replay import in_order
from pipelines.records.tables import RecordsWriter
from pipelines.search.cohort import cohorts
from pipelines.search.history import History
from pipelines.search.notices import Check, Notice
from pipelines.search.rounds import Candidate, FreshImage, GuardVerdict, Proposed, Reseeded, Round
from pipelines.search.state_machine import StopReason
from pipelines.settings.search import GuardSettings, SearchSettings
from tests.histories import write_records
from tests.pipelines.records.test_journal import write
from tests.pipelines.records.test_replay import TODO, journals
from tests.pipelines.search.recorded import (
    BETTER_BY_CHANCE,
    NO,
    again,
    base_round,
    cohort_of,
    recordings,
    reseeded,
    searched,
    some_settings,
    trajectory,
)

PROTOCOL = SearchSettings(candidates=2, iterations=3, patience=2)
POOL = SearchSettings(candidates=2, iterations=2, patience=2, share="pool")
TABLES = ("candidates", "judgements", "scores", "trajectories", "winners")
LOST = Notice(Check.SUBJECT, 0.3, 0.6, "lacks cat")


def proposed(*candidates: Candidate, seeds: tuple[int, ...] = (), shared: bool = False) -> tuple[Proposed, ...]:
    return (Proposed(users=("u1",), candidates=candidates, seeds=seeds, shared=shared),)


def scored(*scores: float) -> np.ndarray:
    return np.array([scores], np.float32)


ROUNDS = (
    Round(number=0, proposed=proposed(Candidate(prompt="a cat", image="i0"), shared=True), scores=scored(0.5)),
    Round(
        number=1,
        proposed=proposed(
            Candidate(prompt="a cat, warm", image="i1"),
            Candidate(prompt="a cat, “so\ndim” ☃", image="i2"),
            Candidate(prompt="a cat, late", image="i3"),
            seeds=(7,),
        ),
        scores=scored(0.625, 0.75, 0.75),
    ),
    Round(
        number=2,
        proposed=proposed(
            Candidate(prompt="a cat, lost", error="the renderer died"),
            Candidate(prompt="a cat, unscored", image="i4", error="the scorer died"),
            Candidate(prompt="a cat", image="i0"),
            Candidate(prompt="a cat, foggy", image="i5"),
            seeds=(7, 8, 9),
        ),
        scores=scored(0.6875),
    ),
    Round(number=3, proposed=proposed(seeds=(7, 8, 9))),
)

AB = cohort_of("a", "b")
POOLED = (
    base_round(AB, 0.5, 0.25),
    searched(1, {("a", "b"): {"x": (0.75, 0.125), "y": (0.625, 0.375)}}),
    searched(2, {"a": {"y": None, "z": (0.125, 0.875)}, "b": {"z": None, "v": (1.0, math.nan)}}),
)


def history(length: int = len(ROUNDS), user: str = "u1") -> History:
    rounds = (replace(r, proposed=tuple(replace(p, users=(user,)) for p in r.proposed)) for r in ROUNDS[:length])
    return History(cohort_of(user, run=2, image_seed=2**63 - 1), list(rounds))


def test_the_tables_have_exactly_the_columns_that_are_promised(tmp_path: Path) -> None:
    write_records([], PROTOCOL, tmp_path)

    identity = {
        "trajectory_id": "VARCHAR",
        "user": "VARCHAR",
        "prompt_id": "VARCHAR",
        "run": "INTEGER",
        "scorer": "VARCHAR",
    }
    assert columns(tmp_path / "candidates.parquet") == identity | {
        "iteration": "INTEGER",
        "candidate": "INTEGER",
        "prompt": "VARCHAR",
        "seed": "BIGINT",
        "image": "VARCHAR",
        "score": "DOUBLE",
        "best": "BOOLEAN",
    }
    assert columns(tmp_path / "scores.parquet") == {
        "image": "VARCHAR",
        "prompt": "VARCHAR",
        "prompt_id": "VARCHAR",
        "run": "INTEGER",
        "scorer": "VARCHAR",
        "iteration": "INTEGER",
        "proposed_for": "VARCHAR",
        "users": "VARCHAR[]",
        "scores": "FLOAT[]",
    }
    assert columns(tmp_path / "trajectories.parquet") == identity | {
        "initial_prompt": "VARCHAR",
        "initial_image": "VARCHAR",
        "initial_score": "DOUBLE",
        "final_prompt": "VARCHAR",
        "final_image": "VARCHAR",
        "final_score": "DOUBLE",
        "final_proposed_for": "VARCHAR",
        "iterations": "INTEGER",
        "renders": "INTEGER",
        "stop_reason": "VARCHAR",
    }
    assert list(columns(tmp_path / "judgements.parquet")) == [
        *(*identity, "iteration", "candidate", "prompt", "preview_image", "preview_score"),
        *("held_out", "saturation", "sharpness", "subject_similarity", "warnings", "rejected", "error"),
    ]
    assert list(columns(tmp_path / "winners.parquet")) == [
        *(*identity, "final_prompt", "final_image", "warnings", "initial_held_out", "final_held_out"),
        *("fresh_seeds", "initial_images", "final_images", "initial_mean", "final_mean", "preview_agreement"),
    ]
    full = tmp_path / "full"
    full.mkdir()
    write_records([history(), History(AB, POOLED)], PROTOCOL, full)
    assert {name: columns(full / f"{name}.parquet") for name in TABLES} == {
        name: columns(tmp_path / f"{name}.parquet") for name in TABLES
    }


def test_every_candidate_is_a_row_and_the_best_is_marked_only_where_it_was_found(tmp_path: Path) -> None:
    write_records([history()], PROTOCOL, tmp_path)

    assert query(tmp_path, "SELECT iteration, candidate, prompt, image, score, best FROM candidates") == [
        (0, 0, "a cat", "i0", 0.5, True),
        (1, 0, "a cat, warm", "i1", 0.625, False),
        (1, 1, "a cat, “so\ndim” ☃", "i2", 0.75, True),
        (1, 2, "a cat, late", "i3", 0.75, False),
        (2, 0, "a cat, lost", None, None, False),
        (2, 1, "a cat, unscored", "i4", None, False),
        (2, 2, "a cat", "i0", 0.5, False),
        (2, 3, "a cat, foggy", "i5", 0.6875, False),
    ]
    assert query(tmp_path, "SELECT DISTINCT trajectory_id, user, prompt_id, run, scorer, seed FROM candidates") == [
        ("p1/pamela/2/u1", "u1", "p1", 2, "pamela", 2**63 - 1)
    ]


def test_a_trajectory_is_a_row_from_its_initial_to_its_final_prompt(tmp_path: Path) -> None:
    write_records([history()], PROTOCOL, tmp_path)

    (row,) = duckdb.read_parquet(str(tmp_path / "trajectories.parquet")).to_arrow_table().to_pylist()
    assert row == {
        "trajectory_id": "p1/pamela/2/u1",
        "user": "u1",
        "prompt_id": "p1",
        "run": 2,
        "scorer": "pamela",
        "initial_prompt": "a cat",
        "initial_image": "i0",
        "initial_score": 0.5,
        "final_prompt": "a cat, “so\ndim” ☃",
        "final_image": "i2",
        "final_score": 0.75,
        "final_proposed_for": "u1",
        "iterations": 3,
        "renders": 7,
        "stop_reason": "iterations",
    }


def test_candidates_are_those_proposed_for_a_trajectory_with_its_own_scores(tmp_path: Path) -> None:
    write_records([History(AB, POOLED)], POOL, tmp_path)

    assert query(tmp_path, "SELECT user, iteration, candidate, image, score, best FROM candidates") == [
        ("a", 0, 0, "base", 0.5, True),
        ("a", 1, 0, "x", 0.75, True),
        ("a", 1, 1, "y", 0.625, False),
        ("a", 2, 0, "y", 0.625, False),
        ("a", 2, 1, "z", 0.125, False),
        ("b", 0, 0, "base", 0.25, True),
        ("b", 1, 0, "x", 0.125, False),
        ("b", 1, 1, "y", 0.375, True),
        ("b", 2, 0, "z", 0.875, True),
        ("b", 2, 1, "v", None, False),
    ]


def test_every_image_that_was_scored_is_a_row_with_the_scores_in_the_order_of_the_users(tmp_path: Path) -> None:
    write_records([History(AB, POOLED), history()], POOL, tmp_path)

    found = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    rows = [(r["image"], r["prompt"], r["iteration"], r["proposed_for"], r["scores"]) for r in found]
    assert repr(rows[:5]) == repr(
        [
            ("base", "a cat", 0, "*", [0.5, 0.25]),
            ("x", "a cat, x", 1, "*", [0.75, 0.125]),
            ("y", "a cat, y", 1, "*", [0.625, 0.375]),
            ("z", "a cat, z", 2, "a", [0.125, 0.875]),
            ("v", "a cat, v", 2, "b", [1.0, math.nan]),
        ]
    )
    assert rows[5:] == [
        ("i0", "a cat", 0, "*", [0.5]),
        ("i1", "a cat, warm", 1, "u1", [0.625]),
        ("i2", "a cat, “so\ndim” ☃", 1, "u1", [0.75]),
        ("i3", "a cat, late", 1, "u1", [0.75]),
        ("i5", "a cat, foggy", 2, "u1", [0.6875]),
    ]
    assert [row["users"] for row in found] == [["a", "b"]] * 5 + [["u1"]] * 5
    assert [(r["prompt_id"], r["run"], r["scorer"]) for r in found] == [("p1", 1, "pamela")] * 5 + [
        ("p1", 2, "pamela")
    ] * 5


def test_the_final_image_says_for_whom_it_was_proposed(tmp_path: Path) -> None:
    abc = cohort_of("a", "b", "c")
    rounds = [
        base_round(abc, 0.5, 0.5, 0.5),
        searched(1, {("a", "b", "c"): {"x": (0.1, 0.9, 0.1)}}),
        searched(2, {"a": {"y": (0.6, 0.1, 0.1)}, "b": {"z": (0.7, 0.2, 0.2)}, "c": {"z": None}}),
    ]
    write_records([History(abc, rounds)], POOL, tmp_path)

    final = "SELECT user, final_image, final_proposed_for FROM trajectories"
    assert query(tmp_path, final) == [("a", "z", "b"), ("b", "x", "*"), ("c", "base", "*")]
    assert query(tmp_path, "SELECT image, proposed_for FROM scores") == [
        ("base", "*"),
        ("x", "*"),
        ("y", "a"),
        ("z", "b"),
    ]


@pytest.mark.parametrize("share", ["base", "round", "pool"])
def test_an_image_of_a_first_round_that_all_users_share_was_proposed_for_everybody(tmp_path: Path, share: str) -> None:
    protocol = SearchSettings.model_validate({"iterations": 1, "share": share})
    todo = [trajectory("a"), trajectory("b")]
    shared = share != "base"
    histories = []
    for cohort in cohorts(todo, protocol.share):
        scores = [0.75] * len(cohort)
        users = cohort.users if shared else cohort.users[0]
        histories.append(
            History(cohort, [base_round(cohort, *(0.5 for _ in scores)), searched(1, {users: {"x": scores}})])
        )

    write_records(histories, protocol, tmp_path)

    assert query(tmp_path, "SELECT user, final_image, final_proposed_for FROM trajectories") == [
        (user, "x", "*" if shared else user) for user in ("a", "b")
    ]
    assert query(tmp_path, "SELECT DISTINCT proposed_for FROM scores WHERE image = 'x' ORDER BY 1") == (
        [("*",)] if shared else [("a",), ("b",)]
    )


def test_the_last_best_candidate_is_the_final_one(tmp_path: Path) -> None:
    write_records([history(user=user) for user in ("u1", "u2")], PROTOCOL, tmp_path)

    last = "SELECT trajectory_id, last(prompt ORDER BY iteration), max(score) FROM candidates WHERE best GROUP BY ALL"
    final = "SELECT trajectory_id, final_prompt, final_score FROM trajectories"
    assert query(tmp_path, f"{last} ORDER BY 1") == query(tmp_path, f"{final} ORDER BY 1")


@pytest.mark.parametrize(
    "length, failure, reason, final, iterations",
    [
        (0, None, "unfinished", None, 0),
        (0, "no photograph", "failed: no photograph", None, 0),
        (1, None, "unfinished", "i0", 0),
        (2, "the proposer died", "failed: the proposer died", "i2", 1),
        (3, None, "unfinished", "i2", 2),
        (4, None, "iterations", "i2", 3),
    ],
)
def test_a_trajectory_that_did_not_reach_its_end_says_so_and_keeps_what_it_has(
    tmp_path: Path, length: int, failure: str | None, reason: str, final: str | None, iterations: int
) -> None:
    so_far = history(length)
    with RecordsWriter(tmp_path) as records:
        records.add(so_far, outcomes(so_far, PROTOCOL, failure))

    assert query(
        tmp_path, "SELECT stop_reason, initial_prompt, initial_image, final_image, iterations FROM trajectories"
    ) == [(reason, "a cat", "i0" if length else None, final, iterations)]
    count = sum(len(proposals.candidates) for each in so_far.rounds for proposals in each.proposed)
    assert query(tmp_path, "SELECT count(*) FROM candidates") == [(count,)]
    assert query(tmp_path, "SELECT count(*) FROM winners") == [(1 if length else 0,)]


def test_a_search_without_a_better_best_stops_for_lack_of_patience(tmp_path: Path) -> None:
    nothing = [Round(number=n, proposed=proposed(seeds=(7, 8, 9))) for n in (1, 2)]

    write_records([History(cohort_of("u1"), [ROUNDS[0], *nothing])], PROTOCOL, tmp_path)

    # nobody proposed a thing, which is a failure; with one that was left out on purpose, it is a search
    assert query(tmp_path, "SELECT stop_reason, iterations, renders, final_prompt FROM trajectories") == [
        ("failed: nothing that was proposed could be rendered and scored: no proposal", 2, 1, "a cat")
    ]
    left_out = [replace(each, proposed=proposed(Candidate(prompt="a dog", rejected=NO))) for each in nothing]
    write_records([History(cohort_of("u1"), [ROUNDS[0], *left_out])], PROTOCOL, tmp_path)
    assert query(tmp_path, "SELECT stop_reason, iterations, renders, final_prompt FROM trajectories") == [
        ("patience", 2, 1, "a cat")
    ]


def test_whoever_has_no_score_of_the_base_image_has_failed_and_the_others_have_not(tmp_path: Path) -> None:
    rounds = [base_round(AB, math.nan, 0.5), searched(1, {"b": {"x": (0.9, 0.75)}}), searched(2, {"b": {}})]
    pooled = History(AB, rounds)

    write_records([pooled], POOL, tmp_path)

    assert query(
        tmp_path, "SELECT user, stop_reason, initial_prompt, initial_image, final_image, final_score FROM trajectories"
    ) == [
        ("a", "failed: the score of the base prompt's image is not a number", "a cat", None, None, None),
        ("b", "iterations", "a cat", "base", "x", 0.75),
    ]
    assert query(tmp_path, "SELECT user, image, score, best FROM candidates") == [
        ("a", "base", None, False),
        ("b", "base", 0.5, True),
        ("b", "x", 0.75, True),
    ]
    assert query(tmp_path, "SELECT user FROM winners") == [("b",)]
    (failed, done) = outcomes(pooled, POOL)
    assert (failed.bests, failed.gain, failed.stop_reason, failed.finished) == ((), None, StopReason.FAILED, False)
    assert (done.gain, done.stop_reason, done.finished) == (0.25, StopReason.ITERATIONS, True)


def test_the_rows_are_in_the_order_of_the_trajectories(tmp_path: Path) -> None:
    users = ["u10", "u2", "*", "u1"]

    write_records([history(user=user) for user in users], PROTOCOL, tmp_path)

    assert pq.read_table(tmp_path / "trajectories.parquet")["user"].to_pylist() == users
    candidates = pq.read_table(tmp_path / "candidates.parquet")
    assert candidates["user"].to_pylist() == [user for user in users for _ in range(8)]
    assert candidates["iteration"].to_pylist() == [0, 1, 1, 1, 2, 2, 2, 2] * 4


def test_the_same_records_come_out_whenever_they_are_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_records([history(2)], PROTOCOL, tmp_path)

    write_records([history(), History(AB, POOLED)], PROTOCOL, tmp_path)
    first = contents(tmp_path)
    write_records([history(), History(AB, POOLED)], PROTOCOL, tmp_path)

    assert contents(tmp_path) == first
    assert sorted(first) == [f"{name}.parquet" for name in TABLES]


@settings(max_examples=25)
@given(some_settings, st.data())
def test_the_same_records_come_out_in_whatever_order_the_rounds_of_several_cohorts_were_journalled(
    protocol: SearchSettings, data: st.DataObject
) -> None:
    recorded = data.draw(journals(protocol))
    queues = {cohort.id: [each for each in recorded if each[0] == cohort.id] for cohort in TODO}
    orders = [
        [each for queue in queues.values() for each in queue],
        [queues[name].pop(0) for name in data.draw(st.permutations([name for name, _ in recorded]))],
    ]
    with TemporaryDirectory() as folder:
        found = []
        for place, order in enumerate([recorded, *orders]):
            tables = Path(folder) / f"{place}"
            tables.mkdir()
            path = write(Path(folder) / f"{place}.jsonl", order)
            write_records(in_order(path, TODO, protocol), protocol, tables)
            found.append(contents(tables))

    assert found[0] == found[1] == found[2]


@settings(max_examples=40)
@given(some_settings, st.data())
def test_the_tables_agree_with_one_another(protocol: SearchSettings, data: st.DataObject) -> None:
    cohort = cohort_of("a", "b", "c")
    searched_so_far = History(cohort, data.draw(recordings(cohort, protocol)))
    with TemporaryDirectory() as folder:
        write_records([searched_so_far], protocol, Path(folder))
        scores, candidates, trajectories, judgements = (
            pq.read_table(Path(folder) / f"{name}.parquet").to_pylist()
            for name in ("scores", "candidates", "trajectories", "judgements")
        )

    assert [row["image"] for row in scores] == [image.key for image in searched_so_far.images]
    assert (
        np.array([row["scores"] for row in scores], np.float32).T.tobytes()
        == np.ascontiguousarray(searched_so_far.scores).tobytes()
    )
    of_image = {row["image"]: dict(zip(row["users"], row["scores"], strict=True)) for row in scores}
    proposed_for = {row["image"]: row["proposed_for"] for row in scores}
    for row in candidates:
        score = of_image.get(row["image"], {}).get(row["user"], math.nan)
        assert row["score"] in (None, score)
        assert (row["score"] is None) == (math.isnan(score) or bool(error_of(judgements, row)))
    for row in trajectories:
        assert row["renders"] == sum(c["user"] == row["user"] and c["image"] is not None for c in candidates)
        if row["final_image"] is not None:
            assert row["final_score"] == of_image[row["final_image"]][row["user"]]
            assert row["final_proposed_for"] == proposed_for[row["final_image"]]
    numbered = [(j["user"], j["iteration"], j["candidate"]) for j in judgements if j["candidate"] is not None]
    assert numbered == [(c["user"], c["iteration"], c["candidate"]) for c in candidates]


def test_every_proposal_is_judged_and_numbered_as_its_candidate_where_there_is_one(tmp_path: Path) -> None:
    measured = {"held_out": 0.25, "saturation": 60.0, "sharpness": 2.0, "subject_similarity": 0.5}
    candidates = (
        Candidate(prompt="a dog", rejected=LOST),
        Candidate(prompt="a cat, x", image="x", preview="v", preview_score=0.5),
        Candidate(prompt="a cat, unfinished", preview="w", preview_score=0.25, rejected=NO),
        Candidate(prompt="a kitten", image="y", warnings=(LOST,)),
        Candidate(prompt="a cat, z", image="z"),
        Candidate(prompt="a cat, lost", error="the renderer died"),
    )
    verdicts = {
        "x": GuardVerdict(measured=measured, rejected=NO),
        "y": GuardVerdict(measured=measured, warnings=(NO,)),
        "z": GuardVerdict(error="it could not be guarded: it died"),
    }
    done = Round(number=1, proposed=proposed(*candidates), scores=scored(0.9, 0.75, 0.9), verdicts=verdicts)

    write_records([History(cohort_of("u1"), [ROUNDS[0], done])], PROTOCOL, tmp_path)

    drift, subject = str(NO), str(LOST)
    asked = "prompt, candidate, preview_image, preview_score, held_out, warnings, rejected, error"
    assert query(tmp_path, f"SELECT {asked} FROM judgements WHERE iteration = 1") == [
        ("a dog", None, None, None, None, [], subject, None),
        ("a cat, x", 0, "v", 0.5, 0.25, [], drift, None),
        ("a cat, unfinished", None, "w", 0.25, None, [], drift, None),
        ("a kitten", 1, None, None, 0.25, [subject, drift], None, None),
        ("a cat, z", 2, None, None, None, [], None, "it could not be guarded: it died"),
        ("a cat, lost", 3, None, None, None, [], None, "the renderer died"),
    ]
    assert query(tmp_path, "SELECT saturation, sharpness, subject_similarity FROM judgements WHERE candidate = 1") == [
        (60.0, 2.0, 0.5)
    ]
    assert query(tmp_path, "SELECT image, score, best FROM candidates WHERE iteration = 1") == [
        ("x", pytest.approx(0.9), False),
        ("y", 0.75, True),
        ("z", pytest.approx(0.9), False),
        (None, None, False),
    ]


def test_a_winner_from_the_pool_has_the_warnings_about_its_prompt_and_its_image(tmp_path: Path) -> None:
    warned = Candidate(prompt="a dog", image="x", warnings=(LOST,))
    for_a = Proposed(users=("a",), candidates=(warned,))
    base = GuardVerdict(measured={"held_out": 0.5})
    verdict = GuardVerdict(measured={"held_out": 0.25}, warnings=(NO,))
    start = base_round(AB, 0.5, 0.5, verdicts={"base": base})
    rounds = [
        start,
        Round(number=1, proposed=(for_a,), scores=np.full((2, 1), 0.75, np.float32), verdicts={"x": verdict}),
    ]
    pooled = History(AB, rounds)

    write_records([pooled], POOL, tmp_path)

    asked = "user, final_image, warnings, initial_held_out, final_held_out"
    both = [str(LOST), str(NO)]
    assert query(tmp_path, f"SELECT {asked} FROM winners") == [
        ("a", "x", both, 0.5, 0.25),
        ("b", "x", both, 0.5, 0.25),
    ]
    assert [outcome.warnings for outcome in outcomes(pooled, POOL)] == [[LOST, NO]] * 2


def test_a_winner_has_its_scores_with_fresh_seeds(tmp_path: Path) -> None:
    guarded = SearchSettings(iterations=2, share="pool", guards=GuardSettings(reseed="reject"))
    rounds = [
        base_round(AB, 0.5, 0.5),
        searched(1, {"a": {"x": (0.625, 0.1)}, "b": {"y": (0.1, 0.75)}}),
        searched(2, {"a": {"z": (0.875, 0.1)}, "b": {}}),
        Round(
            number=3,
            reseeded={
                "a": again("a cat, z", BETTER_BY_CHANCE, 0.5, 0.25),
                "b": replace(again("a cat, y"), warnings=(BETTER_BY_CHANCE,)),
            },
        ),
        reseeded(4, kept={"a": "x"}),
    ]
    pooled = History(AB, rounds)

    write_records([pooled], guarded, tmp_path)

    asked = "user, final_image, fresh_seeds, initial_images, final_images, initial_mean, final_mean, warnings"
    rest = ([3], ["fresh base"], ["fresh winner"], 0.4, 0.5)
    assert query(tmp_path, f"SELECT {asked} FROM winners") == [
        ("a", "x", *rest, []),
        ("b", "y", *rest, [str(BETTER_BY_CHANCE)]),
    ]
    assert query(tmp_path, "SELECT final_image, iterations, renders, stop_reason FROM trajectories") == [
        ("x", 2, 3, "iterations"),
        ("y", 2, 2, "iterations"),
    ]
    (a, b) = outcomes(pooled, guarded)
    assert [best.image for best in a.bests] == ["base", "x", "z", "x", "x"]
    assert [best.image for best in a.search_bests] == ["base", "x", "z"]
    assert (a.gain, b.gain) == (0.125, 0.25)
    without = outcomes(History(AB, rounds[:3]), guarded)
    assert [outcome.reseeded for outcome in without] == [None, None]


def test_a_winner_whose_fresh_seeds_were_refused_has_no_mean(tmp_path: Path) -> None:
    guarded = SearchSettings(iterations=1, guards=GuardSettings(reseed="warn"))
    alone, refused = cohort_of("a"), (FreshImage(error="content policy"),)
    seen = Reseeded(prompt="a cat, x", seeds=(3,), initial=refused, final=(FreshImage(image="fresh", score=0.5),))
    rounds = [base_round(alone, 0.5), searched(1, {"a": {"x": (0.6,)}}), Round(number=2, reseeded={"a": seen})]

    write_records([History(alone, rounds)], guarded, tmp_path)

    assert query(tmp_path, "SELECT final_images, initial_mean, final_mean FROM winners") == [(["fresh"], None, None)]


def test_a_winner_whose_fresh_seeds_were_another_prompts_has_none(tmp_path: Path) -> None:
    guarded = SearchSettings(iterations=1, guards=GuardSettings(reseed="reject"))
    alone = cohort_of("a")
    rounds = [base_round(alone, 0.5), searched(1, {"a": {"x": (0.6,)}}), reseeded(2, rejected={"a": "x"})]

    write_records([History(alone, rounds)], guarded, tmp_path)

    assert query(tmp_path, "SELECT final_image, fresh_seeds, initial_mean, final_mean FROM winners") == [
        ("base", None, None, None)
    ]


def test_an_error_while_the_tables_are_written_leaves_those_of_before_as_they_were(tmp_path: Path) -> None:
    write_records([history(2)], PROTOCOL, tmp_path)
    before = contents(tmp_path)

    def broken() -> Iterable[History]:
        yield history()
        raise RuntimeError("the journal was edited")

    with pytest.raises(RuntimeError, match="the journal was edited"):
        write_records(broken(), PROTOCOL, tmp_path)

    assert contents(tmp_path) == before


def test_small_cohorts_share_a_row_group(tmp_path: Path) -> None:
    write_records([history(user=f"u{number}") for number in range(50)], PROTOCOL, tmp_path)

    assert {name: pq.ParquetFile(tmp_path / f"{name}.parquet").num_row_groups for name in TABLES} == dict.fromkeys(
        TABLES, 1
    )


def test_the_best_after_each_iteration_is_none_of_the_failed() -> None:
    (found,) = outcomes(history(), PROTOCOL)

    assert [best.image for best in found.bests] == ["i0", "i2", "i2", "i2"]
    assert found.bests == found.search_bests


def error_of(judgements: Sequence[dict[str, Any]], row: dict[str, Any]) -> str | None:
    """Why a candidate's image has no scores, where it has none."""
    key = ("user", "iteration", "candidate")
    (found,) = (judged for judged in judgements if all(judged[name] == row[name] for name in key))
    return found["error"] if found["error"] in ("no scores", "the renderer died") else None


def columns(path: Path) -> dict[str, str]:
    relation = duckdb.read_parquet(str(path))
    return dict(zip(relation.columns, map(str, relation.types), strict=True))


def query(folder: Path, sql: str) -> Sequence[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        for name in TABLES:
            connection.execute(f"CREATE VIEW {name} AS FROM '{folder}/{name}.parquet'")
        return connection.execute(sql).fetchall()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
