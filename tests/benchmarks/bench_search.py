"""What settings of the search find, and at how many renders, within a minute: the real driver on a model of the scores.

The model is made of a finished run of the preset embedded whose users pooled their images. For each prompt it is a
kernel ridge regression from the darkroom's parameters to all users' scores, and residuals that are drawn at random, but
the same for the same prompt. So it says which settings find higher scores, not what anybody likes: bench_protocols.py
does. Residuals without any pattern also reward sheer numbers of images more than real ones do.

    python tests/benchmarks/bench_search.py RUN screen=8 screen=3,iterations=7 screen=4,novelty=0.02

The first settings are what the others are compared with, prompt by prompt and seed by seed. All are of a pool.
"""

import argparse
import zlib
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import cross_val_predict

from actors.messages import ProposalRequest, Proposals, Rendering, ScoreRequest
from actors.proposers.lexicon import Lexicon
from actors.renderers.darkroom.vocabulary import development_of, find_terms
from pipelines.search.trajectory import Trajectory, image_seed
from pipelines.settings.search import SearchSettings
from predictor.metrics import bootstrap_mean
from tests.benchmarks.bench_scheduling import drive_virtually
from tests.benchmarks.simulated_roles import Watcher, report

_WIDTH = 6.0
"""Of the kernel, in standard deviations of a parameter: of 3, 6 and 10 the best by five-fold cross-validation."""
_PENALTY = 0.01
_RENDERERS = 32
"""On the virtual cluster; what is found does not depend on it."""


class ModelledScores:
    """All users' scores of any prompt about one subject."""

    def __init__(self, prompts: Sequence[str], scores: NDArray[np.floating]) -> None:
        """`scores`: shape (len(prompts), users)."""
        parameters = _parameters(prompts)
        self._centre, self._scale = parameters.mean(0), np.maximum(parameters.std(0), 1e-6)
        self._level = scores.mean(0)
        ridge = KernelRidge(kernel="rbf", gamma=0.5 / _WIDTH**2, alpha=_PENALTY)
        inputs, targets = (parameters - self._centre) / self._scale, scores - self._level
        residuals = targets - cross_val_predict(ridge, inputs, targets, cv=5)
        self._ridge = ridge.fit(inputs, targets)
        self._factor = np.linalg.cholesky(np.cov(residuals.T) + 1e-8 * np.eye(scores.shape[1]))
        self.explained = 1 - float((residuals**2).sum() / (targets**2).sum())

    def of(self, prompt: str) -> list[float]:
        inputs = (_parameters([prompt]) - self._centre) / self._scale
        residual = self._factor @ np.random.default_rng(zlib.crc32(prompt.encode())).standard_normal(len(self._level))
        return (self._ridge.predict(inputs)[0] + self._level + residual).tolist()


class Gains(Watcher):
    """Remembers what each trajectory gained in score."""

    def __init__(self) -> None:
        super().__init__()
        self.by_prompt: dict[str, list[float]] = {}

    def finished(self, trajectory: Trajectory, gain: float) -> None:
        self.by_prompt.setdefault(trajectory.prompt_id, []).append(gain)


def _parameters(prompts: Sequence[str]) -> NDArray[np.float64]:
    """What a darkroom would develop by, shape (len(prompts), parameters)."""
    return np.array([astuple(development_of(find_terms(prompt))) for prompt in prompts])


def modelled(run: Path) -> tuple[list[str], dict[str, ModelledScores]]:
    """The users of a run, and the models by base prompt."""
    scored: dict[str, list[dict[str, Any]]] = {}
    rows = pq.read_table(run / "scores.parquet").to_pylist()
    for row in rows:
        scored.setdefault(row["prompt_id"], []).append(row)
    models = {
        next(row["prompt"] for row in of_prompt if row["iteration"] == 0): ModelledScores(
            [row["prompt"] for row in of_prompt], np.array([row["scores"] for row in of_prompt])
        )
        for of_prompt in scored.values()
    }
    return rows[0]["users"], models


def search(
    users: Sequence[str], models: dict[str, ModelledScores], settings: SearchSettings, seed: int
) -> tuple[list[float], int, int]:
    """The mean gain of each prompt's users, the renders, and the proposals."""
    lexicon, proposed = Lexicon(), 0

    def propose(request: ProposalRequest) -> Proposals:
        nonlocal proposed
        proposed += request.count
        return lexicon.propose(request)

    def score(request: ScoreRequest, rendering: Rendering) -> list[float]:
        return models[request.base_prompt].of(rendering.png.decode())

    work = [
        Trajectory(
            user=user,
            user_ids=(user,),
            prompt_id=prompt,
            base_prompt=prompt,
            scorer="pamela",
            run=1,
            image_seed=image_seed(seed, prompt),
            seed=seed,
        )
        for prompt in models
        for user in users
    ]
    gains = Gains()
    drive_virtually(work, gains, renderers=_RENDERERS, settings=settings, proposals=propose, scores=score)
    return [float(np.mean(gains.by_prompt[prompt])) for prompt in models], len(gains.rendered_at), proposed


def settings_of(text: str) -> SearchSettings:
    """Those of "name=value,name=value"."""
    given = dict(each.split("=", 1) for each in text.split(",") if each)
    return SearchSettings(share="pool", **{name: yaml.safe_load(value) for name, value in given.items()})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("settings", nargs="+")
    parser.add_argument("--seed", type=int, action="append")
    asked = parser.parse_args()
    seeds = asked.seed or list(range(6))
    users, models = modelled(asked.run)
    report("model", {"explained": round(float(np.mean([model.explained for model in models.values()])), 3)})
    first: NDArray[np.float64] | None = None
    for text in asked.settings:
        found = [search(users, models, settings_of(text), seed) for seed in seeds]
        gains = np.array([each[0] for each in found]).ravel()
        first = gains if first is None else first
        report(
            "search",
            {
                "settings": text,
                "renders": round(float(np.mean([each[1] for each in found]))),
                "proposals": round(float(np.mean([each[2] for each in found]))),
                "gain in score": round(float(gains.mean()), 4),
                "minus the first": str(bootstrap_mean(gains - first, seed=0)),
            },
        )


if __name__ == "__main__":
    main()
