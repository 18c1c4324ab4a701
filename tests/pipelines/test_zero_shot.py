"""steer-batch with a predictor that knows categories of images: what is found is recorded, and scored by."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from predictor.encoders.encoding import EncoderNames
from tests.checkpoints import tiny_siglip
from tests.pipelines.conftest import Steer
from tests.pipelines.console import small
from tests.pipelines.predictors import CONTENTS, train


@pytest.fixture
def described(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.csv"
    path.write_text("prompt_id,prompt,style\ncup,a cup of coffee,\ncat,a cat,etching\n", "utf-8")
    return path


def test_what_the_base_prompts_image_shows_is_recorded_unless_the_prompts_file_says_it(
    steer: Steer, tmp_path: Path, described: Path
) -> None:
    siglip = tiny_siglip(tmp_path / "siglip", text_dimensions=32)
    checkpoint = train(tmp_path, EncoderNames(image=str(siglip)))

    done = steer(*small(checkpoint, described, tmp_path / "run"), "--iterations", 1, "--candidates", 2)
    before = pq.read_table(tmp_path / "run" / "candidates.parquet")
    (tmp_path / "run" / "journal.jsonl").write_text("", "utf-8")
    again = steer("--resume", "--out", tmp_path / "run")

    assert (done.returncode, again.returncode) == (0, 0), done.stderr + again.stderr
    about = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    assert set(about["zero_shot"]) == {"cup", "cat"}
    assert set(about["zero_shot"]["cup"]) == {"content", "style"}
    assert set(about["zero_shot"]["cat"]) == {"content"}
    assert all(found["content"] in CONTENTS for found in about["zero_shot"].values())
    assert about["warnings"] == []
    assert pq.read_table(tmp_path / "run" / "candidates.parquet").equals(before)


def test_what_cannot_be_had_here_is_said_plainly(steer: Steer, tmp_path: Path, described: Path) -> None:
    checkpoint = train(tmp_path, EncoderNames())

    beyond = ("--set", "protocol.guards.image=warn", "--set", "protocol.previews=2")

    done = steer(*small(checkpoint, described, tmp_path / "run"), "--iterations", 0, *beyond)

    assert done.returncode == 0, done.stderr
    about = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    guard, previews, warning = about["warnings"]
    assert "image guard is off: efficientnet-lite0 has no text half" in guard
    assert "no previews" in previews  # of 64 pixels, where images have as many
    assert "image metadata (content, style) stays unknown: the predictor's image encoder efficientnet-lite0" in warning
    assert "zero_shot" not in about
