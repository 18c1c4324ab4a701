import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from predictor.ablation import VARIANTS, ablate, table
from predictor.data.dataset import Dataset, read_dataset
from predictor.evaluation.evaluator import EvaluationConfig
from predictor.evaluation.protocol import evaluate
from predictor.metrics import METRICS
from predictor.predictor import PamelaPredictor
from predictor.transformer.training import Recipe

BRIEF = Recipe(epochs=1, batch_size=128, learning_rate=1e-3, transformer_weight=0.4)


@pytest.fixture(scope="module")
def data(rated_by_many: Path) -> Dataset:
    return read_dataset(rated_by_many)


@pytest.fixture(scope="module")
def ablated(data: Dataset, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ablation")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PAMELA_CACHE", str(cache))
        ablate([data], BRIEF, out, rule="default")
    return out


def test_every_row_of_table_3_is_what_its_checkpoint_reaches(ablated: Path, data: Dataset) -> None:
    lines = json.loads((ablated / "ablation.json").read_text("utf-8"))
    assert [line["name"] for line in lines] == list(VARIANTS)
    line = lines[list(VARIANTS).index("no demographics, no metadata")]
    checkpoint = PamelaPredictor.from_pretrained(ablated / "no-demographics-no-metadata")
    assert checkpoint.model.config.without == ("demographics", "metadata")
    for split in ("seen", "unseen"):
        reached = evaluate(checkpoint, data, EvaluationConfig(split=f"test_{split}", details=False))["user"]
        assert line[split] == {name: reached[name]["value"] for name in METRICS}
    assert len({line["seen"]["srocc"] for line in lines}) == len(VARIANTS)


def test_the_table_has_the_gap_between_seen_and_unseen_users(ablated: Path, data: Dataset) -> None:
    text = (ablated / "ablation.md").read_text("utf-8")
    assert text == table(ablate([data], BRIEF, ablated, rule="default"))  # all checkpoints are there: in no time
    full = [float(cell) for cell in text.splitlines()[2].split("|")[2:-1]]
    assert full[6:] == pytest.approx(
        [seen - unseen for seen, unseen in zip(full[:3], full[3:6], strict=True)], abs=1e-4
    )


def test_each_variant_is_compared_with_the_full_model_on_the_same_users(ablated: Path, data: Dataset) -> None:
    full, *variants = json.loads((ablated / "ablation.json").read_text("utf-8"))
    assert full["minus_full"] == {}
    for line in variants:
        for where in ("seen", "unseen"):
            difference = line["minus_full"][where]["srocc"]
            assert difference["value"] == pytest.approx(line[where]["srocc"] - full[where]["srocc"])
            assert difference["ci_low"] <= difference["value"] <= difference["ci_high"]
    table = (ablated / "ablation.md").read_text("utf-8").partition("\n\n")[2]
    assert table.startswith("| minus the full model | seen srocc |")
    assert len(table.splitlines()) == 2 + len(variants)


@pytest.mark.slow
def test_an_ablation_goes_on_where_it_stood_and_to_the_same_table(ablated: Path, data: Dataset, tmp_path: Path) -> None:
    out = Path(shutil.copytree(ablated, tmp_path / "stopped"))
    shutil.rmtree(out / "no-user")
    (out / "ablation.json").unlink()
    kept = (out / "full-model" / "config.json").stat().st_mtime_ns
    ablate([data], BRIEF, out, rule="default")
    assert (out / "ablation.json").read_bytes() == (ablated / "ablation.json").read_bytes()
    assert (out / "full-model" / "config.json").stat().st_mtime_ns == kept


def test_checkpoints_of_another_ablation_are_never_taken_for_ones_own(
    ablated: Path, data: Dataset, rated_by_many: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"--out {ablated}: holds an ablation with other recipe; name a new folder"):
        ablate([data], replace(BRIEF, epochs=2), ablated, rule="default")
    with pytest.raises(ValueError, match="holds an ablation with other seed and datasets; name a new folder"):
        ablate([read_dataset(rated_by_many, seed=1)], BRIEF, ablated, rule="default", seed=1)
    (tmp_path / "thesis.txt").write_text("x", "utf-8")
    with pytest.raises(ValueError, match=f"--out {tmp_path}: is not empty, and no ablation to go on with; name a new"):
        ablate([data], BRIEF, tmp_path, rule="default")


def test_what_has_no_unseen_users_is_refused_before_anything_is_trained(data: Dataset, tmp_path: Path) -> None:
    split = np.where(data.split == "test_unseen", "val_unseen", data.split)
    with pytest.raises(ValueError, match=f"{data.name}: no rating of split 'test_unseen', which an ablation is"):
        ablate([replace(data, split=split)], BRIEF, tmp_path / "out", rule="default")
    assert not (tmp_path / "out").exists()
