"""Table 3 of the paper: the predictor without each of its inputs, on seen and on unseen users, and the gap between.

Every variant is trained afresh and kept, so that a run that was stopped goes on where it stood.
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
from predictor.evaluation.evaluator import Question
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
    """Means over users, averaged over datasets as in the paper."""

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
        A dataset has no seen or no unseen test users, or cannot be trained on; or `out` holds an ablation of
        other data or other settings.
    """
    for data in datasets:
        for split in SPLITS:
            if not len(data.rows(split)):
                raise ValueError(f"{data.name}: no rating of split {split!r}, which an ablation is measured on")
    _belongs(out, _settings(datasets, recipe, seed, encoders))
    lines = []
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
                progress=_under(name, progress),
            )
            predictor.save_pretrained(folder)
            (folder / FILE).unlink(missing_ok=True)
        measured = {
            split: [evaluate(predictor, data, Question(split=split, rule=rule, details=False)) for data in datasets]
            for split in SPLITS
        }
        lines.append(
            Variant(name=name, seen=_averaged(measured["test_seen"]), unseen=_averaged(measured["test_unseen"]))
        )
        progress("variants", number + 1, len(VARIANTS))
    (out / "ablation.json").write_text(json.dumps([asdict(line) for line in lines], indent=2) + "\n", "utf-8")
    (out / "ablation.md").write_text(table(lines), "utf-8")
    return lines


def table(lines: Sequence[Variant]) -> str:
    """Markdown, in the columns of the paper's Table 3."""
    head = ["", *(f"{where} {name}" for where in ("seen", "unseen", "gap") for name in METRICS)]
    rows = [head, ["---"] * len(head)]
    for line in lines:
        gap = [line.seen[name] - line.unseen[name] for name in METRICS]
        values = [*(line.seen[name] for name in METRICS), *(line.unseen[name] for name in METRICS), *gap]
        rows.append([line.name, *(f"{value:.4f}" for value in values)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _settings(datasets: Sequence[Dataset], recipe: Recipe, seed: int, encoders: EncoderNames) -> dict[str, Any]:
    """What decides the checkpoints of an ablation."""
    digests = {name: digest for data in datasets for name, digest in data.training_digests.items()}
    return {"recipe": asdict(recipe), "seed": seed, "encoders": asdict(encoders), "datasets": digests}


def _belongs(out: Path, settings: Mapping[str, Any]) -> None:
    """Checkpoints that are there are used again, so that they must be of this ablation."""
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


def _under(name: str, progress: Progress) -> Progress:
    return lambda what, done, total: progress(f"{name}: {what}", done, total)


def _averaged(results: Sequence[dict[str, Any]]) -> dict[str, float]:
    values = {name: [result["user"][name]["value"] for result in results] for name in METRICS}
    return {name: sum(of) / len(of) if None not in of else float("nan") for name, of in values.items()}
