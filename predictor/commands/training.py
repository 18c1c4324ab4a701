"""`train` and `ablate`: from dataset folders to checkpoint folders."""

from collections.abc import Collection, Sequence
from pathlib import Path

from predictor.ablation import Variant
from predictor.ablation import ablate as ablate_datasets
from predictor.commands.output import refuse_nonempty
from predictor.data.dataset import join, read_dataset
from predictor.data.folders import StrPath, paths_of
from predictor.data.output_folder import output_folder
from predictor.encoders.encoding import EncoderNames
from predictor.encoders.registry import IMAGE_ENCODERS
from predictor.evaluation.evaluator import EvaluationConfig
from predictor.fitting import fit_in
from predictor.predictor import PamelaPredictor
from predictor.progress import Progress
from predictor.transformer.training import RECIPES, Recipe
from predictor.transformer.training_state import FILE

_TOKENS = {"text": "prompt", "demographics": "demographics", "metadata": "metadata", "user": "user"}
"""What the command calls the model's tokens."""


def train(
    datasets: StrPath | Sequence[StrPath],
    out: StrPath,
    *,
    recipe: str = "small",
    encoder: str = "efficientnet-lite0",
    text_encoder: str | None = None,
    profile_encoder: str = "minilm",
    without: Collection[str] = (),
    seed: int = 0,
    resume: bool = False,
    trust_remote_code: bool = False,
    progress: Progress = lambda what, done, total: None,
) -> PamelaPredictor:
    """Train a predictor on one dataset folder or several, and write its checkpoint.

    Parameters
    ----------
    out
        Checkpoint folder to write. A training that is stopped leaves its state there.
    recipe
        `small`: transformer and taste model; `paper`: the transformer alone, as in the paper.
    encoder
        Image encoder: efficientnet-lite0, or a SigLIP checkpoint (folder or hub id).
    text_encoder
        For prompts; by default the text half of a SigLIP encoder, else minilm.
    profile_encoder
        For demographics and metadata: minilm, or any embedding model (folder or hub id).
    without
        Tokens to leave out: text, demographics, metadata, user.
    seed
        The same seed gives the same splits and the same checkpoint.
    resume
        Go on with a training that was stopped; it ends with the same weights.
    trust_remote_code
        Run code that comes with an encoder's checkpoint.

    Returns
    -------
    The predictor. Its `metrics` on unseen images are those of the folder's metrics.json, its `card` is the README.md.

    Raises
    ------
    ValueError
        `out` is not empty, a recipe, encoder or token is unknown, or a dataset cannot be trained on.

    Examples
    --------
    >>> trained = train("my_dataset", "my_checkpoint")  # doctest: +SKIP
    >>> trained.metrics["user"]["srocc"]["value"]  # doctest: +SKIP
    """
    chosen, folder = _recipe(recipe), Path(out)
    if unknown := [name for name in without if name not in _TOKENS]:
        raise ValueError(f"--without {unknown[0]!r}: known are {', '.join(_TOKENS)}")
    names = _encoders(encoder, text_encoder, profile_encoder, trust_remote_code)
    with output_folder(folder):
        refuse_nonempty(folder, unless=FILE if resume else None)
        return fit_in(
            folder,
            join([read_dataset(dataset, seed=seed) for dataset in paths_of(datasets)]),
            chosen,
            seed=seed,
            encoders=names,
            without=tuple(_TOKENS[name] for name in without),
            progress=progress,
        )


def ablate(
    datasets: StrPath | Sequence[StrPath],
    out: StrPath,
    *,
    recipe: str = "small",
    strangers: str = "default",
    encoder: str = "efficientnet-lite0",
    text_encoder: str | None = None,
    profile_encoder: str = "minilm",
    seed: int = 0,
    trust_remote_code: bool = False,
    progress: Progress = lambda what, done, total: None,
) -> list[Variant]:
    """Train and evaluate the predictor without each of its inputs in turn (the paper's Table 3).

    Parameters
    ----------
    datasets
        Dataset folders with seen and unseen test users.
    out
        Folder for the six checkpoints, ablation.json and ablation.md. An ablation that is stopped goes on by the same
        call.
    strangers
        How to adapt to unseen users: default, paper or none.

    Returns
    -------
    One variant for each line of the table, the full model first; the other parameters are those of `train`.

    Raises
    ------
    ValueError
        A recipe, encoder or rule is unknown, a dataset has no seen or no unseen test users, or `out` holds an ablation
        of other data or settings.
    """
    chosen, config = _recipe(recipe), EvaluationConfig.parse(rule=strangers, images="unseen")
    names, folder = _encoders(encoder, text_encoder, profile_encoder, trust_remote_code), Path(out)
    with output_folder(folder):
        data = [read_dataset(dataset, seed=seed) for dataset in paths_of(datasets)]
        return ablate_datasets(data, chosen, folder, rule=config.rule, seed=seed, encoders=names, progress=progress)


def _recipe(name: str) -> Recipe:
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; known are {', '.join(RECIPES)}")
    return RECIPES[name]


def _encoders(image: str, text: str | None, profile: str, trust_remote_code: bool) -> EncoderNames:
    """The encoders by name; the default for prompts is the text half of a SigLIP image encoder, else MiniLM."""
    text = text or ("minilm" if image in IMAGE_ENCODERS else image)
    return EncoderNames(image=image, text=text, profile=profile, trust_remote_code=trust_remote_code)
