"""The paper's evaluation of a predictor on one split of a dataset (sections 4 and 7, appendix A).

Owns which measures are taken, and their place in the result; the scores come from `evaluator`, the statistics from
`levels`, `two_way`, `margins` and `diverging`.

Seen users are scored by what was learnt of them. Unseen users are adapted to by k of their ratings and evaluated on
others; every user has several episodes with different contexts, and a user's metric is the mean over these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictor.data.dataset import Dataset
from predictor.encoders.encoding import Images
from predictor.evaluation.adaptation import Rule
from predictor.evaluation.diverging import diverging_preferences
from predictor.evaluation.evaluator import EvaluationConfig, Evaluator, ScoredRatings, mean_of_draws
from predictor.evaluation.levels import compare, population_level, user_level
from predictor.evaluation.margins import near_tie_curve
from predictor.evaluation.reliability import reliability
from predictor.evaluation.two_way import image_folds, left_out_values, over_people_and_images
from predictor.metrics import METRICS, Vector, as_dicts, means_over_users
from predictor.predictor import PamelaPredictor
from predictor.progress import Progress
from predictor.threads import one_thread

CURVES: dict[Rule, tuple[int, ...]] = {"default": (0, 1, 2, 5, 10, 15, 25), "paper": (5, 10, 15, 20, 25)}
"""Numbers of context ratings of the two curves (paper, Figure 12)."""

GRID = ((5, 10, 15, 20, 25), (1, 5, 10), (0.05, 0.1, 0.2))
"""Context ratings, neighbours and tau of Table 4."""

MOST_ADAPTED = 200
"""Users of whom curves and grid are: each of their points adapts to every user anew."""


def evaluate(
    predictor: PamelaPredictor,
    dataset: Dataset,
    config: EvaluationConfig,
    *,
    images: Images | None = None,
    progress: Progress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Measure a predictor on one split; the result is what `report.write_report` takes.

    Parameters
    ----------
    images
        The vectors of the dataset's images, if they are encoded already.

    Raises
    ------
    ValueError
        The split has no ratings, the predictor knows none of its users, or nobody has as many ratings as the
        context asks for.
    """
    if not len(dataset.rows(config.split)):
        there = ", ".join(sorted(set(dataset.split.tolist())))
        raise ValueError(f"{dataset.name}: no rating of split {config.split!r}; there are {there}")
    seen = _encoded(predictor, dataset, progress) if images is None else images
    with one_thread():
        return _measure(Evaluator(predictor, dataset, seen, config, progress))


def values_by_user(
    predictor: PamelaPredictor, dataset: Dataset, config: EvaluationConfig, *, images: Images | None = None
) -> dict[str, Vector]:
    """The user level of the predictor alone: metric -> (U,), in the order of the users that are evaluated on.

    It depends on the predictor's users and on the ratings which users these are, so that predictors that were trained
    on the same ratings have values of the same users.

    Raises
    ------
    ValueError
        See `evaluate`.
    """
    seen = _encoded(predictor, dataset) if images is None else images
    with one_thread():
        evaluator = Evaluator(predictor, dataset, seen, config)
        scored = evaluator.score_unseen([]) if config.split.endswith("unseen") else [evaluator.score_seen([])]
        return _values(dataset, scored, "model")


def _encoded(
    predictor: PamelaPredictor, dataset: Dataset, progress: Progress = lambda what, done, total: None
) -> Images:
    return predictor.encoders.encode_files(dataset.image_paths, dataset.prompts, dataset.images.to_pylist(), progress)


def _values(dataset: Dataset, scored: Sequence[ScoredRatings], name: str) -> dict[str, Vector]:
    """Each user's metrics by one score, means over the draws."""
    return mean_of_draws(
        [user_level(dataset.user[each.rows], dataset.rating[each.rows], each.scores[name]) for each in scored]
    )


def _measure(evaluator: Evaluator) -> dict[str, Any]:
    config = evaluator.config
    unseen = config.split.endswith("unseen")
    warnings = _training_warnings(evaluator)
    scored = evaluator.score_unseen(warnings) if unseen else [evaluator.score_seen(warnings)]
    result = _levels(evaluator, scored)
    result["people_and_images"] = _people_and_images(evaluator, scored[0])
    result["reliability"] = _reliability(evaluator, scored[0])
    if config.details:
        result |= _details(evaluator, scored[0])
    if unseen and config.details:
        result["contexts"] = _curves(evaluator, warnings)
        result["grid"] = _grid(evaluator)
        result["gap"] = _gap(evaluator, result["user"])
    settings = {name: value for name, value in asdict(config).items() if name not in ("split", "details")}
    result["settings"] = settings | {
        "dataset": evaluator.dataset.name,
        "transformer_share": evaluator.predictor.transformer_weight,
    }
    result["warnings"] = warnings
    return result


def _training_warnings(evaluator: Evaluator) -> list[str]:
    """A warning where the checkpoint was trained on other ratings than those that are split 'train' here."""
    name, digests = evaluator.dataset.name, evaluator.predictor.metrics.get("training", {}).get("datasets", {})
    if digests and name not in digests and not evaluator.config.split.endswith("unseen"):
        return [
            f"the checkpoint was trained on {', '.join(digests)}, not on {name}: users are taken for the same people "
            "where their ids are the same"
        ]
    if digests.get(name) in (None, evaluator.dataset.training_digests.get(name)):
        return []
    return [
        f"the checkpoint was trained on other ratings of {name} than are split 'train' here: it may have seen what it "
        "is measured on; give the dataset the splits, or --seed the number, that it was trained with"
    ]


def _curves(evaluator: Evaluator, warnings: list[str]) -> list[dict[str, Any]]:
    """User-level metrics by the number of context ratings, for both rules, all evaluated on the same ratings."""
    most, able = evaluator.largest_context(max(max(ks) for ks in CURVES.values()))
    users, everybody = _some_of(able), len(evaluator.episodes(0))
    if len(able) < everybody:
        warnings.append(
            f"context curves are of the {len(able)} of {everybody} users who have {most} ratings and two more"
        )
    if len(users) < len(able):
        warnings.append(f"context curves and grid are of {len(users)} of these {len(able)} users, chosen at random")
    points: list[tuple[Rule, int]] = [(rule, k) for rule, ks in CURVES.items() for k in ks if k <= most]
    adaptations = [(evaluator.adaptation(rule), k) for rule, k in (("none", 0), *points)]
    no_ratings, *values = evaluator.metrics_by_context(
        "context curves",
        lambda person, context: [adaptation.adapt(person, context(k)) for adaptation, k in adaptations],
        most,
        users,
    )
    return [
        {"rule": rule, "k": k} | as_dicts(means_over_users(own)) | {"gain": compare(own, no_ratings)["srocc"].as_dict()}
        for (rule, k), own in zip(points, values, strict=True)
    ]


def _some_of(users: set[int]) -> set[int]:
    """These users, or a sample of many."""
    if len(users) <= MOST_ADAPTED:
        return users
    return set(np.random.default_rng(0x5A).permutation(sorted(users))[:MOST_ADAPTED].tolist())


def _grid(evaluator: Evaluator) -> list[dict[str, float | int | None]]:
    """Table 4: equation 1 for each number of context ratings, neighbours and tau, on the same ratings."""
    most, able = evaluator.largest_context(max(GRID[0]))
    users = _some_of(able)
    ks, settings = [k for k in GRID[0] if k <= most], list(product(*GRID[1:]))
    paper = evaluator.adaptation("paper")
    values = evaluator.metrics_by_context(
        "grid of equation 1",
        lambda person, context: [each for k in ks for each in paper.by_equation_1(person, context(k), settings)],
        most,
        users,
        draws=1,
    )
    return [
        {"k": k, "neighbours": near, "tau": tau}
        | {name: _number(np.nanmean(v)) if not np.isnan(v).all() else None for name, v in own.items()}
        for (k, (near, tau)), own in zip(product(ks, settings), values, strict=True)
    ]


def _levels(evaluator: Evaluator, scored: Sequence[ScoredRatings]) -> dict[str, Any]:
    """Both levels of the model and of its baselines."""
    dataset = evaluator.dataset
    names = list(scored[0].scores)
    values = {name: _values(dataset, scored, name) for name in names}
    first = scored[0].rows
    user, image, rating = dataset.user[first], dataset.image[first], dataset.rating[first]

    of_nobody = population_level(user, image, rating, evaluator.consensus("population"))

    def both(name: str) -> dict[str, dict[str, dict[str, float | None]]]:
        levels = {
            "user": means_over_users(values[name]),
            "population": of_nobody
            if name in ("model", "population")
            else population_level(user, image, rating, evaluator.consensus(name)),
        }
        return {level: as_dicts(of) for level, of in levels.items()}

    baselines = [name for name in names if name != "model"]
    return {
        "split": evaluator.config.split,
        "n_users": len(np.unique(user)),
        "n_images": len(np.unique(image)),
        "n_ratings": len(first),
        **both("model"),
        "baselines": {name: both(name) for name in baselines},
        "differences": {name: as_dicts(compare(values["model"], values[name])) for name in baselines},
        "n_users_without_correlation": int(np.isnan(values["model"]["srocc"]).sum()),
        **_by_dataset(dataset, first, values["model"]),
    }


def _by_dataset(dataset: Dataset, rows: NDArray[np.intp], values: Mapping[str, Vector]) -> dict[str, Any]:
    """The user level within each of the datasets that were joined; nothing of a single one.

    Parameters
    ----------
    rows
        The ratings that were evaluated on.
    values
        Metric -> (U,), of their users in order.
    """
    if not dataset.joined:
        return {}
    rated, people = dataset.dataset_of_user[dataset.user[rows]], np.unique(dataset.user[rows])
    belongs, found = dataset.dataset_of_user[people], {}
    for number, (name, _) in enumerate(dataset.joined):
        own = rows[rated == number]
        means = means_over_users({metric: each[belongs == number] for metric, each in values.items()})
        found[name] = {
            "n_users": int((belongs == number).sum()),
            "n_images": len(np.unique(dataset.image[own])),
            "n_ratings": len(own),
            "user": as_dicts(means),
        }
    return {"datasets": found}


def _people_and_images(evaluator: Evaluator, scored: ScoredRatings) -> dict[str, Any]:
    """The user level, and the differences to the baselines, with intervals for other images too; on the first draw."""
    dataset, rows = evaluator.dataset, scored.rows
    user, rating = dataset.user[rows], dataset.rating[rows]
    fold = image_folds(dataset.image[rows], dataset.groups)
    whole = {name: user_level(user, rating, scores) for name, scores in scored.scores.items()}
    left_out = {name: left_out_values(user, rating, scores, fold) for name, scores in scored.scores.items()}
    ours, ours_left_out = whole.pop("model"), left_out.pop("model")
    differences = {
        name: over_people_and_images(
            _minus(ours, whole[name]), [_minus(a, b) for a, b in zip(ours_left_out, left_out[name], strict=True)]
        )
        for name in whole
    }
    return {
        "image_folds": len(ours_left_out),
        "user": as_dicts(over_people_and_images(ours, ours_left_out)),
        "differences": {name: as_dicts(own) for name, own in differences.items()},
    }


def _minus(a: Mapping[str, Vector], b: Mapping[str, Vector]) -> dict[str, Vector]:
    return {name: values - b[name] for name, values in a.items()}


def _details(evaluator: Evaluator, scored: ScoredRatings) -> dict[str, Any]:
    """Near-ties (7.2) and diverging preferences (7.1), on the first draw."""
    dataset, rows = evaluator.dataset, scored.rows
    user, image, rating = dataset.user[rows], dataset.image[rows], dataset.rating[rows]
    drawn = {name: scores for name, scores in scored.scores.items() if not np.isnan(scores).all()}
    evaluator.progress("near-ties and diverging preferences", 0, 2)
    margins = [line.as_dict() for line in near_tie_curve(user, rating, drawn)]
    evaluator.progress("near-ties and diverging preferences", 1, 2)
    image_ids = dataset.images["image_id"].to_pylist()
    diverging = diverging_preferences(
        user, image, rating, scored.scores["model"], user_ids=dataset.user_ids, image_ids=image_ids
    )
    evaluator.progress("near-ties and diverging preferences", 2, 2)
    return {"margins": margins, "diverging": diverging.as_dict()}


def _reliability(evaluator: Evaluator, scored: ScoredRatings) -> dict[str, Any] | None:
    """Intervals and preferences against what people did, on the first draw; None by rules that know no uncertainty."""
    people, predictor = evaluator.rated_people(scored), evaluator.predictor
    if not people:
        return None
    taste = predictor.taste.config
    return reliability(
        people, noise=predictor.answer_noise, perceived_noise=taste.perceived_noise, tie_zone=taste.tie_zone
    )


def _gap(evaluator: Evaluator, unseen: dict[str, dict[str, float | None]]) -> dict[str, Any] | None:
    """Seen users' metrics minus unseen users' (Table 3); None where the dataset has no seen users to compare with."""
    config = replace(evaluator.config, split=evaluator.config.split.replace("unseen", "seen"), details=False)
    if not len(evaluator.dataset.rows(config.split)):
        return None
    try:
        seen = evaluate(evaluator.predictor, evaluator.dataset, config, images=evaluator.images)["user"]
    except ValueError:  # a checkpoint of other data knows none of the seen users
        return None
    differences = {
        name: seen[name]["value"] - unseen[name]["value"]
        if None not in (seen[name]["value"], unseen[name]["value"])
        else None
        for name in METRICS
    }
    return {"seen_split": config.split, **differences}


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
