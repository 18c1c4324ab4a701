"""Several groups steered in one run, as a user asks for them: a process of its own, real Ray, real images."""

import json
from pathlib import Path

import pyarrow.parquet as pq

from pipelines.planning.users import resolve_users
from predictor.checkpoint import checkpoint_users
from predictor.simulation.attributes import ATTRIBUTES
from tests.pipelines.conftest import Steer
from tests.pipelines.console import small

YOUNG, OLD = "group:age < 50", "group:age >= 50"


def said(*specs: str) -> list[str]:
    return [part for spec in specs for part in ("--users", spec)]


def test_groups_are_steered_in_one_run_and_compared(
    steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    others = small(checkpoint, prompts, run)[2:]

    done = steer(*said(YOUNG, OLD, "u01"), *others)

    assert done.returncode == 0, done.stderr
    rows = pq.read_table(run / "trajectories.parquet").to_pylist()
    assert [row["user"] for row in rows] == [YOUNG, OLD, "u01"] * 2
    trends = json.loads((run / "trends.json").read_text())
    members = [a.user_ids for a in resolve_users([YOUNG, OLD, "u01"], checkpoint_users(checkpoint))]
    assert [a["people"] for a in trends["audiences"]] == [len(m) for m in members]
    assert [(d["a"], d["b"], d["prompts"]) for d in trends["differences"]] == [(OLD, YOUNG, 2)]
    assert list(trends["differences"][0]["a - b"]) == list(ATTRIBUTES)
    assert trends["caveats"] == ["Only 2 prompts: a bootstrap over so few gives intervals that are too narrow."]
    assert "What groups and people were steered to" in (run / "gallery.html").read_text()

    gallery = (run / "gallery.html").read_bytes()
    again = steer("--resume", "--out", run, *said(YOUNG, OLD, "u01"))
    other = steer("--resume", "--out", run, *said(YOUNG, OLD))
    assert again.returncode == 0, again.stderr
    assert (run / "gallery.html").read_bytes() == gallery
    assert other.returncode == 2
    assert "users" in other.stderr


def test_an_audience_said_twice_is_refused_in_one_line(
    steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    done = steer(*said(YOUNG, OLD, YOUNG), *small(checkpoint, prompts, tmp_path / "run")[2:])

    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "group 'group:age < 50' is named twice" in done.stderr
    assert not (tmp_path / "run").exists()
