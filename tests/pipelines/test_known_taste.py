"""The whole chain against the truth: what `make demo` does, judged by the raters' known taste."""

import json
from pathlib import Path

import pytest

from actors.renderers.darkroom.darkroom import Darkroom
from pipelines.planning.embedded_predictor import embedded_checkpoint
from studies.cli.main import main as steer_study
from tests.in_this_process import call

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("embedded checkpoint")]


def test_the_embedded_predictor_has_learnt_each_persons_taste_from_ratings() -> None:
    metrics = json.loads((embedded_checkpoint(Darkroom()) / "metrics.json").read_text())
    personal = metrics["user"]["srocc"]["value"]
    generic = metrics["baselines"]["generic_head"]["user"]["srocc"]["value"]
    assert personal > 0.75
    assert personal - generic > 0.15
    assert metrics["differences"]["generic_head"]["srocc"]["ci_low"] > 0.15


def test_people_truly_like_what_was_steered_for_them_best(demo: Path) -> None:
    truth = json.loads((demo / "truth.json").read_text())
    means = {name: interval["value"] for name, interval in truth["means"].items()}
    assert means["own"] > means["other"] > means["initial"]
    assert truth["differences"]["own - other"]["ci_low"] > 0
    assert truth["differences"]["own - initial"]["ci_low"] > 0
    assert truth["n_raters"] == 12


def test_steer_study_judges_the_run_as_the_run_itself_did(demo: Path, tmp_path: Path) -> None:
    verdict = tmp_path / "verdict.json"
    assert call(steer_study, "steer-study", "truth", demo, "--json", verdict).returncode == 0
    assert json.loads(verdict.read_text()) == json.loads((demo / "truth.json").read_text())
