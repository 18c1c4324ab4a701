from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from pipelines.records.tables import Outcome, outcome, write_records
from pipelines.search.state_machine import StopReason
from pipelines.search.trajectory import Candidate, Iteration, Trajectory
from pipelines.settings.search import SearchSettings

PROTOCOL = SearchSettings(candidates=2, iterations=3, patience=2)

HISTORY = (
    Iteration(number=0, candidates=(Candidate(prompt="a cat", image="i0", score=0.5),)),
    Iteration(
        number=1,
        candidates=(
            Candidate(prompt="a cat, warm", image="i1", score=0.6),
            Candidate(prompt="a cat, “so\ndim” ☃", image="i2", score=0.75),
            Candidate(prompt="a cat, late", image="i3", score=0.75),
        ),
        seeds=(7,),
    ),
    Iteration(
        number=2,
        candidates=(
            Candidate(prompt="a cat, lost", error="the renderer died"),
            Candidate(prompt="a cat, unscored", image="i4", error="the scorer died"),
            Candidate(prompt="a cat, foggy", image="i0", score=0.7),
            Candidate(prompt="a cat, “so\ndim” ☃", image="i2", score=0.75),
        ),
        seeds=(7, 8, 9),
    ),
    Iteration(number=3, candidates=(), seeds=(7, 8, 9)),
)


def test_the_tables_have_exactly_the_columns_that_are_promised(tmp_path: Path) -> None:
    write_records([], tmp_path)

    assert columns(tmp_path / "candidates.parquet") == {
        "trajectory_id": "VARCHAR",
        "user": "VARCHAR",
        "prompt_id": "VARCHAR",
        "run": "INTEGER",
        "scorer": "VARCHAR",
        "iteration": "INTEGER",
        "candidate": "INTEGER",
        "prompt": "VARCHAR",
        "seed": "BIGINT",
        "image": "VARCHAR",
        "score": "DOUBLE",
        "best": "BOOLEAN",
    }
    assert columns(tmp_path / "trajectories.parquet") == {
        "trajectory_id": "VARCHAR",
        "user": "VARCHAR",
        "prompt_id": "VARCHAR",
        "run": "INTEGER",
        "scorer": "VARCHAR",
        "initial_prompt": "VARCHAR",
        "initial_image": "VARCHAR",
        "initial_score": "DOUBLE",
        "final_prompt": "VARCHAR",
        "final_image": "VARCHAR",
        "final_score": "DOUBLE",
        "iterations": "INTEGER",
        "renders": "INTEGER",
        "stop_reason": "VARCHAR",
    }


def test_every_candidate_is_a_row_and_the_best_is_marked_only_where_it_was_found(tmp_path: Path) -> None:
    write_records([outcome(trajectory("u1"), HISTORY, PROTOCOL)], tmp_path)

    assert query(tmp_path, "SELECT iteration, candidate, prompt, image, score, best FROM candidates") == [
        (0, 0, "a cat", "i0", 0.5, True),
        (1, 0, "a cat, warm", "i1", 0.6, False),
        (1, 1, "a cat, “so\ndim” ☃", "i2", 0.75, True),
        (1, 2, "a cat, late", "i3", 0.75, False),
        (2, 0, "a cat, lost", None, None, False),
        (2, 1, "a cat, unscored", "i4", None, False),
        (2, 2, "a cat, foggy", "i0", 0.7, False),
        (2, 3, "a cat, “so\ndim” ☃", "i2", 0.75, False),
    ]
    assert query(tmp_path, "SELECT DISTINCT trajectory_id, user, prompt_id, run, scorer, seed FROM candidates") == [
        ("p1/pamela/2/u1", "u1", "p1", 2, "pamela", 2**63 - 1)
    ]


def test_a_trajectory_is_a_row_from_its_initial_to_its_final_prompt(tmp_path: Path) -> None:
    write_records([outcome(trajectory("u1"), HISTORY, PROTOCOL)], tmp_path)

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
        "iterations": 3,
        "renders": 7,
        "stop_reason": "iterations",
    }


def test_the_last_best_candidate_is_the_final_one(tmp_path: Path) -> None:
    write_records([outcome(trajectory(user), HISTORY, PROTOCOL) for user in ("u1", "u2")], tmp_path)

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
    write_records([outcome(trajectory("u1"), HISTORY[:length], PROTOCOL, failure)], tmp_path)

    assert query(
        tmp_path, "SELECT stop_reason, initial_prompt, initial_image, final_image, iterations FROM trajectories"
    ) == [(reason, "a cat", "i0" if length else None, final, iterations)]
    assert query(tmp_path, "SELECT count(*) FROM candidates") == [(sum(len(i.candidates) for i in HISTORY[:length]),)]


def test_a_search_without_a_better_best_stops_for_lack_of_patience(tmp_path: Path) -> None:
    history = [HISTORY[0], *(Iteration(number=n, candidates=(), seeds=(7, 8, 9)) for n in (1, 2))]

    write_records([outcome(trajectory("u1"), history, PROTOCOL)], tmp_path)

    assert query(tmp_path, "SELECT stop_reason, iterations, renders, final_prompt FROM trajectories") == [
        ("patience", 2, 1, "a cat")
    ]


def test_the_rows_are_in_the_order_of_the_trajectories(tmp_path: Path) -> None:
    users = ["u10", "u2", "*", "u1"]

    write_records([outcome(trajectory(user), HISTORY, PROTOCOL) for user in users], tmp_path)

    assert pq.read_table(tmp_path / "trajectories.parquet")["user"].to_pylist() == users
    candidates = pq.read_table(tmp_path / "candidates.parquet")
    assert candidates["user"].to_pylist() == [user for user in users for _ in range(8)]
    assert candidates["iteration"].to_pylist() == [0, 1, 1, 1, 2, 2, 2, 2] * 4


def test_the_same_records_come_out_whenever_they_are_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    outcomes = [outcome(trajectory("u1"), HISTORY, PROTOCOL)]
    write_records([outcome(trajectory("u1"), HISTORY[:2], PROTOCOL)], tmp_path)

    write_records(outcomes, tmp_path)
    first = contents(tmp_path)
    write_records(outcomes, tmp_path)

    assert contents(tmp_path) == first
    assert sorted(first) == [f"{name}.parquet" for name in ("candidates", "judgements", "trajectories", "winners")]


def test_the_best_after_each_iteration_is_none_of_the_failed() -> None:
    bests = Outcome(trajectory=trajectory("u1"), history=HISTORY, stop_reason=StopReason.ITERATIONS).bests

    assert [best.image for best in bests] == ["i0", "i2", "i2", "i2"]


def columns(path: Path) -> dict[str, str]:
    relation = duckdb.read_parquet(str(path))
    return dict(zip(relation.columns, map(str, relation.types), strict=True))


def query(folder: Path, sql: str) -> Sequence[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        for name in ("candidates", "trajectories"):
            connection.execute(f"CREATE VIEW {name} AS FROM '{folder}/{name}.parquet'")
        return connection.execute(sql).fetchall()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def trajectory(user: str) -> Trajectory:
    return Trajectory(
        user=user,
        members=(user,),
        prompt_id="p1",
        base_prompt="a cat",
        scorer="pamela",
        run=2,
        image_seed=2**63 - 1,
        seed=0,
    )
