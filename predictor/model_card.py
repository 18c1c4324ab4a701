"""The model card of a checkpoint: training data, recipe, and metrics on unseen images."""

from predictor.data.dataset import Dataset
from predictor.metrics import METRICS, Interval
from predictor.predictor import PamelaPredictor
from predictor.transformer.training import Recipe


def card(predictor: PamelaPredictor, dataset: Dataset, recipe: Recipe) -> str:
    """The card of a predictor that has its metrics, in Markdown."""
    metrics = predictor.metrics
    lines = [
        f"# PAMELA predictor: {dataset.name}",
        "",
        f"Predicts how each of {len(dataset.users)} people would rate an image (0 to 1). Weight of the transformer in "
        f"the ensemble: {predictor.transformer_weight:g}; the taste model has the rest. Recipe: {recipe}.",
        "",
    ]
    if metrics["n_ratings"]:
        lines += [
            f"Unseen images of seen users, {metrics['n_ratings']} ratings of {metrics['n_images']} images by "
            f"{metrics['n_users']} users; means within users with 95% intervals over users:",
            "",
            "| | SROCC | PLCC | pairwise accuracy |",
            "|---|---|---|---|",
            _line("personal", metrics["user"]),
            _line("the same model for the population", metrics["baselines"]["population"]["user"]),
            _line("generic head: no user at all", metrics["baselines"]["generic_head"]["user"]),
            _line("personal − generic head, paired", metrics["differences"]["generic_head"]),
            *(_line(f"personal, {name}", own["user"]) for name, own in metrics.get("datasets", {}).items()),
            "",
            f"Among images of one prompt, the ranking that steering makes: SROCC "
            f"{Interval.from_dict(metrics['user_within_prompt']['srocc'])}.",
            "",
        ]
    if known := metrics.get("reliability"):
        held = ", ".join(f"{row['level']:.0%} intervals hold {row['covered']:.1%}" for row in known["intervals"])
        lines += [
            f"On the same images, {held} of the ratings; the calibration error of predicted preferences is "
            f"{known['calibration_error']:.3f}."
            if known["calibration_error"] is not None
            else f"On the same images, {held} of the ratings.",
            "",
        ]
    lines += [f"Data: {dataset.name}. Load by `PamelaPredictor.from_pretrained(folder)`.", ""]
    return "\n".join(lines)


def _line(label: str, values: dict[str, dict[str, float | None]]) -> str:
    return f"| {label} | {' | '.join(str(Interval.from_dict(values[name])) for name in METRICS)} |"
