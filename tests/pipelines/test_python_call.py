"""`pipelines.steer`: what steer-batch does, as a call whose events are read as they come."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines import steer
from pipelines.background_run import BackgroundRun
from pipelines.events import Rendered, RoundFinished, TrajectoryFailed, TrajectoryFinished
from tests.pipelines.conftest import without_ray
from tests.pipelines.test_finished_run import assert_same_records

PROMPTS = ["a cup of coffee", "a pagoda above a lake"]
SMALL = {"renderer.size": 64, "scorer.actors": 1}


@pytest.fixture(autouse=True)
def in_process() -> Iterator[None]:
    with without_ray():
        yield


def small(checkpoint: Path, out: Path, *prompts: str, **options: int) -> BackgroundRun:
    chosen: dict[str, Any] = {"candidates": 3, "iterations": 1, "settings": SMALL} | options
    return steer(prompts or PROMPTS, "u01,u02", predictor=checkpoint, out=out, **chosen)


def test_the_events_of_a_run_come_in_order_and_its_result_has_every_trajectory(
    checkpoint: Path, tmp_path: Path
) -> None:
    run = small(checkpoint, tmp_path / "run")
    events = list(run)
    result = run.result()

    rounds = [e for e in events if isinstance(e, RoundFinished) and e.prompt_id == "p01"]
    assert [e.round for e in rounds] == list(range(len(rounds)))
    assert rounds[0].users == ("u01", "u02")
    assert [e.images for e in events if isinstance(e, Rendered)] == list(range(1, result.images + 1))
    gains = {e.trajectory_id: e.gain for e in events if isinstance(e, TrajectoryFinished)}
    assert gains == {o.trajectory.id: pytest.approx(o.gain) for o in result.outcomes}
    assert result.gallery.is_file()


def test_a_run_by_call_has_the_records_of_the_command(checkpoint: Path, finished: Path, tmp_path: Path) -> None:
    import json

    about = json.loads((finished / "run.json").read_text())
    users = [row["user"] for row in about["users"]]
    settings = {
        key: value
        for section in ("renderer", "protocol")
        for key, value in ((f"{section}.{name}", v) for name, v in about["settings"][section].items())
        if key not in ("renderer.kind", "protocol.name")
    }
    run = steer(finished.parent / "prompts.txt", users, predictor=checkpoint, settings=settings, out=tmp_path / "run")
    run.result()

    assert_same_records(tmp_path / "run", finished)


def test_a_run_that_is_stopped_goes_on_to_the_records_of_an_undisturbed_one(checkpoint: Path, tmp_path: Path) -> None:
    small(checkpoint, tmp_path / "whole").result()
    with small(checkpoint, tmp_path / "stopped") as run:
        for event in run:
            if isinstance(event, RoundFinished):
                break
    assert run.result().interrupted
    with pytest.raises(ValueError, match="other settings than the run was started with"):
        steer(resume=True, out=tmp_path / "stopped", seed=1)

    resumed = steer(resume=True, out=tmp_path / "stopped").result()

    assert not resumed.interrupted
    assert_same_records(tmp_path / "stopped", tmp_path / "whole")


def test_an_event_is_read_once_and_a_run_that_ended_has_none_left(checkpoint: Path, tmp_path: Path) -> None:
    run = small(checkpoint, tmp_path / "run", PROMPTS[0], iterations=0)

    assert list(run)
    assert list(run) == []
    assert list(steer(resume=True, out=tmp_path / "run")) == []


def test_wrong_input_is_the_line_of_the_command(checkpoint: Path, tmp_path: Path) -> None:
    for options, line in (
        ({"users": "u99"}, "unknown user 'u99'"),
        ({"users": []}, "--users names nobody; try all"),
        ({"prompts": "nowhere.txt"}, "nowhere.txt: no such prompts file"),
        ({"prompts": ["a cup", " "]}, "must be texts that say what to draw"),
        ({"settings": {"renderer.sise": 64}}, "renderer.sise"),
        ({"iterations": -1}, "iterations"),
        ({"resume": True}, "--resume needs --out"),
    ):
        given: dict[str, Any] = {"prompts": PROMPTS, "users": "u01", "predictor": checkpoint} | options
        with pytest.raises(ValueError, match=line):
            steer(**given)
    assert not list(tmp_path.iterdir())


def test_a_prompt_that_cannot_be_scored_is_an_event_and_a_failure(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from actors.renderers.darkroom.darkroom import Darkroom

    def refuse(*_: object) -> None:
        raise ValueError("no such light")

    monkeypatch.setattr(Darkroom, "render", refuse)
    run = small(checkpoint, tmp_path / "run", PROMPTS[0])
    failed = [event for event in run if isinstance(event, TrajectoryFailed)]

    assert [event.user for event in failed] == ["u01", "u02"]
    assert all("no such light" in event.reason for event in failed)
    assert set(run.result().failures) == {event.trajectory_id for event in failed}


def test_importing_it_loads_no_model_library() -> None:
    heavy = "import sys, pipelines; print(sorted({'torch', 'ray', 'numpy', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", heavy], check=True, capture_output=True, text=True)

    assert done.stdout.strip() == "[]"
