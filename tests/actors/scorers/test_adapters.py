"""What holds of every adapter, without its library."""

import ast
import io
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from PIL import Image

import actors.scorers
from actors.messages import Rendering, ScoreRequest
from actors.scorers.deqa import DeQAScorer
from actors.scorers.hps import HPSv3Scorer
from actors.scorers.image_reward import ImageRewardScorer
from actors.scorers.iqa import LaionScorer, QAlignScorer
from actors.scorers.registry import SCORERS

OWN = ("feature_extractor", "pamela", "plugins")
"""Modules that run in this project's own environment."""
ADAPTERS = sorted(Path(str(actors.scorers.__file__)).parent.glob("*.py"))


@pytest.mark.parametrize("path", [path for path in ADAPTERS if path.stem not in OWN], ids=lambda path: path.stem)
def test_an_adapter_imports_with_nothing_but_numpy_and_pillow(path: Path) -> None:
    """So that it runs in an environment that was made for its library alone."""
    top = [node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in top if isinstance(node, ast.ImportFrom)}
    foreign = {name for name in names if name.split(".")[0] not in sys.stdlib_module_names}
    assert {name for name in foreign if not name.startswith(("actors.messages", "actors.scorers"))} <= {"numpy", "PIL"}


def test_adapters_are_imported_without_torch_or_ray() -> None:
    code = (
        "import sys, actors.scorers.deqa, actors.scorers.hps, actors.scorers.image_reward, actors.scorers.iqa, "
        "actors.scorers.pickscore; print([n for n in ('torch', 'ray', 'predictor') if n in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


@pytest.mark.parametrize(
    "scorer, said",
    [
        (LaionScorer(), r"scorer laion: no module 'pyiqa' .*environments/pyiqa\.txt"),
        (QAlignScorer(name="q-align", task="aesthetic", dtype="fp16"), r"scorer q-align: no module 'pyiqa'"),
        (
            ImageRewardScorer(model="x", med_config=None),
            r"scorer imagereward: no module 'ImageReward' .*imagereward\.txt",
        ),
        (HPSv3Scorer(checkpoint=None, config=None), r"scorer hpsv3: no module 'hpsv3' .*--set generic\.hpsv3\.python="),
    ],
)
def test_a_missing_library_is_one_line_that_says_what_to_install(
    scorer: LaionScorer | QAlignScorer | ImageRewardScorer | HPSv3Scorer, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pyiqa", "ImageReward", "hpsv3"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[3])])
    with pytest.raises(ModuleNotFoundError, match=said) as refused:
        scorer.setup()
    assert "\n" not in str(refused.value)


def test_code_that_a_checkpoint_brings_is_not_run_unless_it_is_trusted(tmp_path: Path) -> None:
    scorer = DeQAScorer(model=str(tmp_path), revision=None, dtype="float32", trust_remote_code=False)
    with pytest.raises(ValueError, match=r"brings its own code.*generic\.deqa\.trust_remote_code=true"):
        scorer.setup()


def test_deqa_asks_the_code_of_its_checkpoint_for_the_score_of_one_picture(tmp_path: Path) -> None:
    """A stand-in with the signature of the real one: `score(images)`, which returns a tensor of one level an image."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2
    )
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text("utf-8"))
    settings |= {
        "model_type": "deqa_stand_in",
        "auto_map": {"AutoConfig": "stand_in.StandInConfig", "AutoModelForCausalLM": "stand_in.StandIn"},
    }
    (tmp_path / "config.json").write_text(json.dumps(settings), "utf-8")
    (tmp_path / "stand_in.py").write_text(
        """import torch
from transformers import LlamaConfig, LlamaForCausalLM

class StandInConfig(LlamaConfig):
    model_type = "deqa_stand_in"

class StandIn(LlamaForCausalLM):
    config_class = StandInConfig

    def score(self, images):
        return torch.stack([torch.tensor(1 + 4 * image.getpixel((0, 0))[0] / 255) for image in images])
""",
        "utf-8",
    )
    scorer = DeQAScorer(model=str(tmp_path), revision=None, dtype="float32", trust_remote_code=True)
    scorer.setup()
    encoded = io.BytesIO()
    Image.new("L", (9, 7), 255).save(encoded, "PNG")
    assert scorer.score(ScoreRequest(audiences=((),), base_prompt="a cat"), Rendering(png=encoded.getvalue())) == 5.0


def test_the_check_against_published_scores_says_in_a_line_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = Path(__file__).parents[3] / "tests" / "benchmarks" / "check_scorers.py"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path), "pickscore"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    (line,) = capsys.readouterr().out.splitlines()
    assert ended.value.code == 1
    assert line.startswith("pickscore    scorer pickscore: cannot be loaded: ")


def test_every_scorer_says_what_its_numbers_mean_and_what_to_do_where_it_is_missing() -> None:
    for name, scale in SCORERS.items():
        assert scale.of
        assert scale.values
        assert scale.install or name in ("pamela", "population")
