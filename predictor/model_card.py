"""The model card of a checkpoint, and the metrics on unseen images that it reports."""

from typing import Any

import numpy as np

from predictor.data.dataset import Dataset
from predictor.encoders.encoding import Images
from predictor.evaluation.evaluator import EvaluationConfig, Evaluator
from predictor.evaluation.protocol import evaluate
from predictor.metrics import METRICS, Interval, group_rows, mean_over_users, per_user, srocc
from predictor.predictor import PamelaPredictor
from predictor.transformer.training import Recipe


def metrics_of(predictor: PamelaPredictor, dataset: Dataset, images: Images, seed: int) -> dict[str, Any]:
    """The evaluation on the seen users' test images, and what the predictor was trained on."""
    rows = dataset.rows("test_seen")
    trained = {"seed": seed, "n_ratings": len(dataset.rows("train")), "datasets": dict(dataset.training_digests)}
    if choices := sum(choice.split == "train" for choice in dataset.choices):
        trained["n_choices"] = choices
    seen = np.flatnonzero(predictor.users["n_ratings"].to_numpy())
    if not len(np.intersect1d(dataset.user[rows], seen)):
        counts = {"n_users": 0, "n_images": 0, "n_ratings": 0}
        return {"split": "test_seen", **counts, "warnings": ["no test ratings of seen users"], "training": trained}
    config = EvaluationConfig(split="test_seen", details=False)
    measured = evaluate(predictor, dataset, config, images=images)
    within = {"srocc": _within_prompts(Evaluator(predictor, dataset, images, config)).as_dict()}
    return {**measured, "user_within_prompt": within, "training": trained}


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


def _within_prompts(evaluator: Evaluator) -> Interval:
    """SROCC among images of one prompt, averaged within users: what steering needs, which compares only those."""
    dataset, rows = evaluator.dataset, evaluator.rows
    prompt = np.unique([str(p) for p in dataset.prompts], return_inverse=True)[1][dataset.image[rows]]
    user, rating, score = dataset.user[rows], dataset.rating[rows], evaluator.score_by_user()
    means = []
    for own in group_rows(user):
        values = per_user(srocc, prompt[own], rating[own], score[own])
        means.append(np.nanmean(values) if not np.isnan(values).all() else np.nan)
    return mean_over_users(np.array(means))
