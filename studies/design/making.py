"""From run folders or images to a study folder: the one place where a study comes to be on the disk."""

import json
import secrets
import string
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from predictor.progress import Progress
from studies.adaptive import FILE
from studies.design.assets import write_assets
from studies.design.pairs import PairDesign, design_pairs
from studies.design.rating import ImageToRate, RatingDesign, design_rating
from studies.design.screens import write_screens
from studies.design.steered_images import SteeredImages
from studies.folders import new_output_folder
from studies.study import PRACTICE, Item, Study, StudySettings, Trial, write_study
from studies.wording import CHOSEN, DEVELOPED, GENERATED, PAIRS_QUESTION, RATING_QUESTION

_SEED_BITS = 63
"""Of the secret seed: more than can be tried out, and few enough for any reader of JSON."""

_QUIET: Progress = lambda what, done, total: None  # noqa: E731


def make_pairs(
    steered_images: SteeredImages,
    runs: Sequence[Path],
    out: Path,
    *,
    others: int,
    choices: Mapping[str, Any],
    only_own_of: str | None = None,
    progress: Progress = _QUIET,
) -> Study:
    """Write a pairwise study.

    Parameters
    ----------
    choices
        Fields of `StudySettings` that were chosen; the others keep their defaults.
    only_own_of
        See `design_pairs`.

    Raises
    ------
    ValueError
        The folder is taken, a choice is out of range, there is nothing to compare, or an image cannot be read.
    """
    notice = DEVELOPED if all(_developed(run) for run in runs) else GENERATED
    settings = settle("pairs", {"notice": notice, **_told(choices)}, sources=runs)
    design = design_of(steered_images, settings, others=others, only_own_of=only_own_of)
    files = {item: picture.file for item, picture in design.pictures.items()}
    groups = {name: f"{item.condition == PRACTICE}/{item.prompt_id}" for name, item in design.items.items()}
    with new_output_folder(out) as temporary:
        resized = write_assets(temporary / "assets", files, groups, progress)
        widths = write_screens(temporary / "assets", temporary / "screens", groups, progress)
        left_out = {
            **design.left_out,
            "a trajectory that did not reach its end": steered_images.unfinished,
            "an image of a generic scorer's further pass": steered_images.further_passes,
            "pixels of an image that was larger than others of its prompt": resized,
        }
        left_out = {what: n for what, n in left_out.items() if n}
        settings = settings.model_copy(update={"left_out": left_out, "widths": widths})
        write_study(_study(temporary, settings, design.trials, design.items))
    return _study(out, settings, design.trials, design.items)


def design_of(
    steered_images: SteeredImages, settings: StudySettings, *, others: int, only_own_of: str | None = None
) -> PairDesign:
    """The trials that these settings mean."""
    return design_pairs(
        steered_images,
        others=others,
        block=settings.block,
        practice=settings.practice,
        attention=settings.attention,
        seed=settings.seed,
        only_own_of=only_own_of,
    )


def make_rating(
    images: Sequence[ImageToRate],
    source: Path,
    out: Path,
    *,
    choices: Mapping[str, Any],
    predictor: str | None = None,
    progress: Progress = _QUIET,
) -> Study:
    """Write a rating study of these images; `choices` as for `make_pairs`.

    Parameters
    ----------
    predictor
        Checkpoint by which participants are asked what should tell most about their taste; None: they are asked about
        what lacks ratings most.

    Raises
    ------
    ValueError
        The folder is taken, a choice is out of range, there are too few images, or one cannot be read.
    """
    notice = GENERATED if all(image.prompt for image in images) else CHOSEN
    settled = {"notice": notice, "adaptive": predictor is not None, **_told(choices)}
    settings = settle("rating", settled, sources=[source])
    blocks = -(-(settings.images_each or len(images)) // settings.block)
    design = design_rating(
        images, practice=settings.practice, attention=settings.attention * blocks, seed=settings.seed
    )
    with new_output_folder(out) as temporary:
        alone = {item: item for item in design.files}
        write_assets(temporary / "assets", design.files, alone, progress)
        widths = write_screens(temporary / "assets", temporary / "screens", alone, progress)
        settings = settings.model_copy(update={"widths": widths})
        if predictor is not None:
            _write_interview(temporary / FILE, predictor, images, design, progress)
        write_study(_study(temporary, settings, design.trials, design.items))
    return _study(out, settings, design.trials, design.items)


def _write_interview(
    file: Path, predictor: str, images: Sequence[ImageToRate], design: RatingDesign, progress: Progress
) -> None:
    """Write what is needed of a checkpoint to choose among the images to rate."""
    from predictor.people.interview import Interview
    from predictor.predictor import PamelaPredictor

    loaded = PamelaPredictor.from_pretrained(predictor)
    by_id = {image.image_id: image for image in images}
    items = [design.items[str(trial.image)] for trial in design.trials if trial.kind == "trial"]
    shown = [by_id[item.image] for item in items]
    encoded = loaded.encoders.encode_files(
        [image.file for image in shown],
        [image.prompt or None for image in shown],
        [image.metadata for image in shown],
        progress,
    )
    Interview.of(loaded.taste, [item.item_id for item in items], encoded).save(file)


def settle(kind: str, choices: Mapping[str, Any], *, sources: Sequence[Path]) -> StudySettings:
    """The settings of a new study, checked; its seed is a secret one, but where `choices` has one."""
    question = PAIRS_QUESTION if kind == "pairs" else RATING_QUESTION
    return StudySettings.checked(
        {
            "question": question,
            "notice": GENERATED,
            "show_prompt": kind == "rating",
            "completion_code": "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(8)),
            "seed": secrets.randbits(_SEED_BITS),
            **_told(choices),
            "kind": kind,
            "sources": [str(path.resolve()) for path in sources],
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )


def _told(choices: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in choices.items() if value is not None}


def _developed(run: Path) -> bool:
    """Whether a run's images are developed photographs, by its own description."""
    file = run / "run.json"
    try:
        about = json.loads(file.read_text("utf-8"))
        return about.get("settings", {}).get("renderer", {}).get("kind") == "darkroom"
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{file}: does not read as a run's description: {error}") from error


def _study(folder: Path, settings: StudySettings, trials: Sequence[Trial], items: Mapping[str, Item]) -> Study:
    return Study(folder, settings, {trial.trial_id: trial for trial in trials}, items)
