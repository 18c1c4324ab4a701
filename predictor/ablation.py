"""Table 3 of the paper: a predictor without each of its inputs, on seen and unseen users, and the gap between them.

Each variant is trained anew. Its checkpoint is kept, so that an interrupted ablation resumes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from predictor.data.dataset import Dataset, join
from predictor.data.output_folder import holds_something
from predictor.encoders.encoding import EncoderNames
from predictor.evaluation.adaptation import Rule
from predictor.evaluation.evaluator import EvaluationConfig
from predictor.evaluation.levels import compare_datasets
from predictor.evaluation.protocol import values_by_user
from predictor.fitting import fit_in
from predictor.metrics import METRICS, Interval, Vector, means_over_users
from predictor.predictor import PamelaPredictor
from predictor.progress import Progress
from predictor.transformer.training import Recipe

VARIANTS: dict[str, tuple[str, ...]] = {
    "full model": (),
    "no text": ("prompt",),
    "no demographics": ("demographics",),
    "no metadata": ("metadata",),
    "no demographics, no metadata": ("demographics", "metadata"),
    "no user": ("user",),
}

SPLITS = {"seen": "test_seen", "unseen": "test_unseen"}
SETTINGS = "settings.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Metrics of one variant: means over users, averaged over datasets as in the paper."""

    name: str
    seen: dict[str, float]
    unseen: dict[str, float]
    minus_full: dict[str, dict[str, Interval]] = field(default_factory=dict)
    """`seen` and `unseen` minus those of the full model, by the same users; nothing of the full model itself."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        differences = {
            where: {name: interval.as_dict() for name, interval in own.items()}
            for where, own in self.minus_full.items()
        }
        return {"name": self.name, "seen": self.seen, "unseen": self.unseen, "minus_full": differences}


def ablate(
    datasets: Sequence[Dataset],
    recipe: Recipe,
    out: Path,
    *,
    rule: Rule,
    seed: int = 0,
    encoders: EncoderNames = EncoderNames(),
    progress: Progress = lambda what, done, total: None,
) -> list[Variant]:
    """Train and measure every variant; checkpoints, `ablation.json` and `ablation.md` go to `out`.

    Raises
    ------
    ValueError
        A dataset has no seen or no unseen test users, or cannot be trained on; or `out` holds an ablation of other data
        or settings.
    """
    for data in datasets:
        for split in SPLITS.values():
            if not len(data.rows(split)):
                raise ValueError(f"{data.name}: no rating of split {split!r}, which an ablation is measured on")
    _check_same_settings(out, _settings(datasets, recipe, seed, encoders))
    results, full = [], dict[str, list[dict[str, Vector]]]()
    for number, (name, without) in enumerate(VARIANTS.items()):
        progress("variants", number, len(VARIANTS))
        folder = out / name.replace(", ", "-").replace(" ", "-")
        if (folder / "config.json").is_file():
            predictor = PamelaPredictor.from_pretrained(folder, trust_remote_code=encoders.trust_remote_code)
        else:
            predictor = fit_in(
                folder,
                join(datasets),
                recipe,
                seed=seed,
                encoders=encoders,
                without=without,
                progress=_prefixed(name, progress),
            )
        measured = {
            where: [values_by_user(predictor, data, EvaluationConfig(split=split, rule=rule)) for data in datasets]
            for where, split in SPLITS.items()
        }
        minus_full = {where: compare_datasets(own, full[where]) for where, own in measured.items() if full}
        full = full or measured
        means = {where: _dataset_mean(own) for where, own in measured.items()}
        results.append(Variant(name=name, **means, minus_full=minus_full))
        progress("variants", number + 1, len(VARIANTS))
    (out / "ablation.json").write_text(json.dumps([result.as_dict() for result in results], indent=2) + "\n", "utf-8")
    (out / "ablation.md").write_text(table(results), "utf-8")
    return results


def table(results: Sequence[Variant]) -> str:
    """Markdown: the paper's Table 3, and below it each variant minus the full model, with intervals over users."""
    head = ["", *(f"{where} {name}" for where in ("seen", "unseen", "gap") for name in METRICS)]
    rows = [head, ["---"] * len(head)]
    for result in results:
        gap = [result.seen[name] - result.unseen[name] for name in METRICS]
        values = [*(result.seen[name] for name in METRICS), *(result.unseen[name] for name in METRICS), *gap]
        rows.append([result.name, *(f"{value:.4f}" for value in values)])
    head = ["minus the full model", *(f"{where} {name}" for where in SPLITS for name in METRICS)]
    differences = [head, ["---"] * len(head)]
    for result in results:
        if result.minus_full:
            cells = [str(result.minus_full[where][name]) for where in SPLITS for name in METRICS]
            differences.append([result.name, *cells])
    return f"{_lines(rows)}\n{_lines(differences)}"


def _lines(rows: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _settings(datasets: Sequence[Dataset], recipe: Recipe, seed: int, encoders: EncoderNames) -> dict[str, Any]:
    """What the checkpoints of an ablation depend on."""
    digests = {name: digest for data in datasets for name, digest in data.training_digests.items()}
    return {"recipe": asdict(recipe), "seed": seed, "encoders": asdict(encoders), "datasets": digests}


def _check_same_settings(out: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a folder whose checkpoints are of another ablation; a new folder gets this one's settings."""
    file = out / SETTINGS
    if not holds_something(out):
        out.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
        return
    try:
        before = json.loads(file.read_text("utf-8"))
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"--out {out}: is not empty, and no ablation to go on with; name a new folder") from error
    if other := [name for name in settings if before.get(name) != settings[name]]:
        raise ValueError(f"--out {out}: holds an ablation with other {' and '.join(other)}; name a new folder")


def _prefixed(name: str, progress: Progress) -> Progress:
    return lambda what, done, total: progress(f"{name}: {what}", done, total)


def _dataset_mean(values: Sequence[Mapping[str, Vector]]) -> dict[str, float]:
    """Mean over datasets of each one's mean over users."""
    of_each = [means_over_users(own, replicates=1) for own in values]
    return {name: float(np.mean([means[name].value for means in of_each])) for name in METRICS}
