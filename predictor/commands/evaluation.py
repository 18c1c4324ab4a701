"""`evaluate`: a checkpoint on one split of a dataset folder."""

from pathlib import Path
from typing import Any

from predictor.data.dataset import read_dataset
from predictor.data.folders import StrPath
from predictor.data.output_folder import prepare_output_file
from predictor.evaluation.evaluator import EvaluationConfig
from predictor.evaluation.protocol import evaluate as measure
from predictor.evaluation.report import plain, write_report
from predictor.predictor import PamelaPredictor
from predictor.progress import Progress


def evaluate(
    checkpoint: StrPath,
    dataset: StrPath,
    *,
    split: str = "test_seen",
    context: int = 15,
    neighbours: int = 5,
    tau: float = 0.1,
    strangers: str = "default",
    images: str = "unseen",
    draws: int = 4,
    json: StrPath | None = None,
    seed: int | None = None,
    trust_remote_code: bool = False,
    progress: Progress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Evaluate a checkpoint on one split as the paper does: within users and on mean ratings, beside baselines.

    Parameters
    ----------
    checkpoint
        Checkpoint folder or hub id.
    split
        val_seen, val_unseen, test_seen, test_unseen, or train.
    context
        Ratings that are given of each unseen user (the paper's k).
    neighbours, tau
        How many nearest seen users equation 1 averages (K), and its softmax temperature.
    strangers
        How to adapt to unseen users: default (inferred taste), paper (equation 1), none (no ratings).
    images
        Images of unseen users to evaluate on: unseen, or seen in training (by others).
    draws
        Episodes for each unseen user, each with another random context.
    json
        Write the result to this file, with Markdown and figures beside it.
    seed
        Seed of the splits, for a dataset without a split column; None: the seed of training.

    Returns
    -------
    What the JSON file holds: split, n_users, n_images, n_ratings, user, population, baselines, and more; a metric is
    {"value", "ci_low", "ci_high"}.

    Raises
    ------
    ValueError
        There is no such checkpoint, dataset, split or rule, the split has no ratings, or the predictor knows none of
        its users.
    """
    config = EvaluationConfig.parse(
        split=split, context=context, neighbours=neighbours, tau=tau, rule=strangers, images=images, draws=draws
    )
    predictor = PamelaPredictor.from_pretrained(checkpoint, trust_remote_code=trust_remote_code)
    file = None if json is None else Path(json)
    if file is not None:
        if file.suffix == ".md":
            raise ValueError(f"--json {file}: is where the Markdown goes; name the JSON {file.stem}.json")
        prepare_output_file(file, option="--json")
    if seed is None:
        seed = predictor.metrics.get("training", {}).get("seed", 0)
    result = plain(measure(predictor, read_dataset(Path(dataset), seed=seed), config, progress=progress))
    if file is not None:
        write_report(result, file)
    return result
