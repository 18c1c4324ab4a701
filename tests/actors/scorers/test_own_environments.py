"""Adapters run by their real libraries, each in an environment of its own, as actors of a real Ray.

Weights are random, in the libraries' own formats. Skipped where `make scorer-environments` has not been run.
"""

import asyncio
import io
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from actors.messages import Rendering, ScoreRequest
from actors.pool.actor_pool import ActorPool
from actors.pool.role import Role
from actors.scorers.hps import HPSv3Scorer
from actors.scorers.image_reward import ImageRewardScorer
from actors.scorers.iqa import QAlignScorer

ROOT = Path(__file__).parents[3]
ENVIRONMENTS = {
    "laion": "pyiqa",
    "q-align": "pyiqa",
    "q-align-iqa": "pyiqa",
    "imagereward": "imagereward",
    "hpsv3": "hpsv3",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("scorers in their own environments"),
    pytest.mark.usefixtures("hub", "ray_of_its_own"),
]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where Ray's actors, which are started after this, find what the libraries would download."""
    folder = tmp_path_factory.mktemp("hub")
    before = dict(os.environ)
    os.environ |= {"HF_HOME": str(folder), "HF_HUB_OFFLINE": "1"}
    yield folder
    os.environ.clear()
    os.environ.update(before)


def python_of(scorer: str) -> Path:
    return ROOT / ".venv-scorers" / ENVIRONMENTS[scorer] / "bin" / "python"


def needs(scorer: str) -> pytest.MarkDecorator:
    """Skip the test before a Ray is started for it."""
    reason = f"no environment for {scorer}: make scorer-environments"
    return pytest.mark.skipif(not python_of(scorer).is_file(), reason=reason)


def make_weights(scorer: str, hub: Path) -> Path:
    script = ROOT / "tests" / "actors" / "scorers" / "random_weights.py"
    done = subprocess.run([python_of(scorer), script, scorer, hub], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return hub / scorer


def noise() -> Rendering:
    encoded = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((50, 40)).save(encoded, "PNG")
    return Rendering(png=encoded.getvalue())


def scores_of(scorer: str, make: type, arguments: dict[str, Any], *prompts: str) -> list[float]:
    role = Role(name=f"scorer {scorer}", make=make, arguments=arguments, python=str(python_of(scorer)))

    async def main() -> list[float]:
        pool = ActorPool(role)
        try:
            await pool.start()
            requests = [ScoreRequest(audiences=((),), base_prompt=prompt) for prompt in prompts]
            return [(await pool.call("score", request, noise()))[1] for request in requests]
        finally:
            pool.stop()

    return asyncio.run(main())


@needs("laion")
def test_laion_gives_one_number_whatever_the_prompt(tmp_path: Path) -> None:
    script = ROOT / "tests" / "actors" / "scorers" / "laion_by_library.py"
    homes = {"HOME": str(tmp_path / "home"), "TORCH_HOME": str(tmp_path / "torch")}
    done = subprocess.run(
        [python_of("laion"), script, tmp_path], check=False, capture_output=True, text=True, env={**os.environ, **homes}
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()[-1].split()
    assert first == second
    assert -100 < float(first) < 100


@needs("q-align")
def test_q_align_gives_a_level_for_each_task_whatever_the_prompt(hub: Path) -> None:
    make_weights("q-align", hub)
    levels = [
        scores_of(name, QAlignScorer, {"name": name, "task": task, "dtype": "fp16"}, "a cat", "a dog")
        for name, task in (("q-align", "aesthetic"), ("q-align-iqa", "quality"))
    ]
    assert all(1 <= level <= 5 for both in levels for level in both)
    assert all(first == second for first, second in levels)
    assert levels[0] != levels[1]


@needs("imagereward")
def test_imagereward_gives_one_number(hub: Path) -> None:
    own = make_weights("imagereward", hub)
    arguments = {"model": str(own / "ImageReward.pt"), "med_config": str(own / "med_config.json")}
    (score,) = scores_of("imagereward", ImageRewardScorer, arguments, "a cat")
    assert isinstance(score, float)
    assert abs(score) < 1000


@needs("hpsv3")
def test_hpsv3_gives_the_mean_of_the_preference_which_depends_on_the_prompt(hub: Path) -> None:
    own = make_weights("hpsv3", hub)
    arguments = {"checkpoint": str(own / "HPSv3.safetensors"), "config": str(own / "config.yaml")}
    first, again, other = scores_of("hpsv3", HPSv3Scorer, arguments, "a cat", "a cat", "fog and bridges at night")
    assert first == again != other
