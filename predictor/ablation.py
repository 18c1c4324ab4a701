"""Table 3 of the paper: a predictor without each of its inputs, on seen and unseen users, and the gap between them.

Each variant is trained anew. Its checkpoint is kept, so that an interrupted ablation resumes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from predictor.adaptation import Rule
from predictor.data.dataset import Dataset, join
from predictor.data.output_folder import holds_something
from predictor.encoders.encoding import EncoderNames, Progress
from predictor.evaluation.evaluator import EvaluationConfig
from predictor.evaluation.protocol import evaluate
from predictor.fitting import fit
from predictor.metrics import METRICS
from predictor.predictor import PamelaPredictor
from predictor.transformer.training import Recipe
from predictor.transformer.training_state import FILE

VARIANTS: dict[str, tuple[str, ...]] = {
    "full model": (),
    "no text": ("prompt",),
    "no demographics": ("demographics",),
    "no metadata": ("metadata",),
    "no demographics, no metadata": ("demographics", "metadata"),
    "no user": ("user",),
}

SPLITS = ("test_seen", "test_unseen")
SETTINGS = "settings.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Metrics of one variant: means over users, averaged over datasets as in the paper."""

    name: str
    seen: dict[str, float]
    unseen: dict[str, float]


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
        for split in SPLITS:
            if not len(data.rows(split)):
                raise ValueError(f"{data.name}: no rating of split {split!r}, which an ablation is measured on")
    _check_same_settings(out, _settings(datasets, recipe, seed, encoders))
    results = []
    for number, (name, without) in enumerate(VARIANTS.items()):
        progress("variants", number, len(VARIANTS))
        folder = out / name.replace(", ", "-").replace(" ", "-")
        if (folder / "config.json").is_file():
            predictor = PamelaPredictor.from_pretrained(folder, trust_remote_code=encoders.trust_remote_code)
        else:
            predictor = fit(
                join(datasets),
                recipe,
                seed=seed,
                encoders=encoders,
                without=without,
                state=folder,
                progress=_prefixed(name, progress),
            )
            predictor.save_pretrained(folder)
            (folder / FILE).unlink(missing_ok=True)
        measured = {
            split: [
                evaluate(predictor, data, EvaluationConfig(split=split, rule=rule, details=False)) for data in datasets
            ]
            for split in SPLITS
        }
        results.append(
            Variant(name=name, seen=_dataset_mean(measured["test_seen"]), unseen=_dataset_mean(measured["test_unseen"]))
        )
        progress("variants", number + 1, len(VARIANTS))
    (out / "ablation.json").write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n", "utf-8")
    (out / "ablation.md").write_text(table(results), "utf-8")
    return results


def table(results: Sequence[Variant]) -> str:
    """Markdown, in the columns of the paper's Table 3."""
    head = ["", *(f"{where} {name}" for where in ("seen", "unseen", "gap") for name in METRICS)]
    rows = [head, ["---"] * len(head)]
    for result in results:
        gap = [result.seen[name] - result.unseen[name] for name in METRICS]
        values = [*(result.seen[name] for name in METRICS), *(result.unseen[name] for name in METRICS), *gap]
        rows.append([result.name, *(f"{value:.4f}" for value in values)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


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


def _dataset_mean(results: Sequence[dict[str, Any]]) -> dict[str, float]:
    values = {name: [result["user"][name]["value"] for result in results] for name in METRICS}
    return {name: sum(of) / len(of) if None not in of else float("nan") for name, of in values.items()}
