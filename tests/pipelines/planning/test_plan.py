"""The most renders of a plan: what a driver draws that is spared nothing, with toy roles."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipelines.planning.plan import Plan
from pipelines.planning.prompts import Prompt
from pipelines.planning.roles import make_renderer
from pipelines.planning.users import Audience
from pipelines.settings.settings import load_settings
from tests.pipelines.execution.test_driver import drive

PROMPTS = [Prompt(id=f"p{number}", text=text) for number, text in enumerate(["a cat", "fog", "a lake"])]


def plan(*overrides: str, checkpoint: Path | None = None, prompts: Sequence[Prompt] = PROMPTS) -> Plan:
    keys = [f"protocol.{override}" for override in overrides]
    settings = load_settings("embedded", keys, {"protocol.name": "paper", "protocol.patience": 5})
    return Plan(
        settings=settings,
        checkpoint=checkpoint,
        checkpoint_fingerprint=None,
        renderer=make_renderer(settings),
        people={},
        audiences=tuple(Audience(name=user, user_ids=(user,)) for user in ("u1", "u2")),
        prompts=tuple(prompts),
    )


def on(encoder: str, folder: Path) -> Path:
    """As much of a checkpoint as a plan reads."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"image_encoder": encoder}), "utf-8")
    return folder


@pytest.mark.parametrize("guards", ["{image: warn}", "{image: warn, reseed: warn}", "{reseed: warn, reseeds: 5}"])
def test_a_driver_that_is_spared_nothing_draws_the_most_renders(guards: str, tmp_path: Path) -> None:
    settled = plan("candidates=1", "iterations=4", f"guards={guards}", checkpoint=on("siglip", tmp_path / "checkpoint"))
    run = drive(tmp_path / "run", settled.trajectories, protocol=settled.protocol, beholds=True)
    assert run.failures == {}
    assert run.watcher.renders == settled.most_renders


def test_base_images_for_the_image_guard_are_counted_where_a_predictor_may_see_them(tmp_path: Path) -> None:
    guarded = ("candidates=4", "iterations=0", "guards={image: warn, image_seeds: 4}")
    assert plan(*guarded, checkpoint=on("siglip", tmp_path / "sees")).most_renders == 3 + 3 * 4
    assert plan(*guarded, checkpoint=on("efficientnet-lite0", tmp_path / "blind")).most_renders == 3
    assert plan(*guarded).most_renders == 3 + 3 * 4  # a dry run, before there is a predictor
    assert "most renders  15 " in plan(*guarded).describe({})


def test_a_screen_spares_nothing_before_it_has_scores_to_rank_by() -> None:
    assert plan("candidates=7", "iterations=3", "screen=2").most_renders == 3 + 6 * (7 + 2 + 2)
    assert plan("candidates=6", "iterations=3", "screen=2").most_renders == 3 + 6 * (6 + 6 + 2)
