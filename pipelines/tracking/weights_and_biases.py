"""Runs in Weights & Biases: with WANDB_MODE=offline they stay in the run folder, for `wandb sync`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.tracking.tracker import Beginning


class WeightsAndBiases:
    """A run of the project; account, entity and server are the client's own settings."""

    _run: Any

    def begin(self, run: Beginning) -> None:
        import wandb

        self._run = wandb.init(
            project=run.project,
            name=run.folder.resolve().name,
            id=run.key,
            resume="allow",
            config=dict(run.params),
            dir=run.folder,
            settings=wandb.Settings(console="off", silent=True, x_disable_stats=True),
        )

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log({**values, "rounds": step})

    def end(self, summary: Mapping[str, float], files: Sequence[Path], *, succeeded: bool) -> None:
        import wandb

        self._run.summary.update(dict(summary))
        for file in files:
            self._run.log({file.stem: wandb.Html(str(file), inject=False)})
        self._run.finish(exit_code=0 if succeeded else 1)
