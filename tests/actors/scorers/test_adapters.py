"""What holds of every adapter, without its library."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import actors.scorers
from actors.scorers.deqa import DeQAScorer
from actors.scorers.hps import HPSv3Scorer
from actors.scorers.image_reward import ImageRewardScorer
from actors.scorers.iqa import LaionScorer, QAlignScorer
from actors.scorers.scales import SCORERS

ADAPTERS = sorted(Path(str(actors.scorers.__file__)).parent.glob("*.py"))


@pytest.mark.parametrize("path", [path for path in ADAPTERS if path.stem != "pamela"], ids=lambda path: path.stem)
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
        (LaionScorer(), r"scorer laion: no module 'pyiqa' .* pip install 'pamela-steer\[pyiqa\]'"),
        (QAlignScorer(name="q-align", task="aesthetic", dtype="fp16"), r"scorer q-align: no module 'pyiqa'"),
        (
            ImageRewardScorer(model="x", med_config=None),
            r"scorer imagereward: no module 'ImageReward' .*transformers==",
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


def test_every_scorer_says_what_its_numbers_mean_and_what_to_do_where_it_is_missing() -> None:
    for name, scale in SCORERS.items():
        assert scale.of
        assert scale.values
        assert scale.install or name in ("pamela", "population")
