"""From run folders or images to a study folder: the one place where a study comes to be on the disk."""

import secrets
import string
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from studies.design.assets import write_assets
from studies.design.offers import Offers
from studies.design.pairs import PairDesign, design_pairs
from studies.design.rating import Rateable, design_rating
from studies.study import Study, StudySettings, write_study

Progress = Callable[[str, int, int], None]

GENERATED = (
    "The images you will see were generated or altered by artificial intelligence. They do not show real events."
)
PAIRS_QUESTION = "Which image do you prefer?"
RATING_QUESTION = "How beautiful is this image – how much do you like it, and how drawn are you to it?"

_QUIET: Progress = lambda what, done, total: None  # noqa: E731


def make_pairs(
    offers: Offers,
    runs: Sequence[Path],
    out: Path,
    *,
    others: int,
    choices: Mapping[str, Any],
    progress: Progress = _QUIET,
) -> Study:
    """Write a pairwise study.

    Parameters
    ----------
    choices
        Fields of `StudySettings` that were chosen; the others keep their defaults.

    Raises
    ------
    ValueError
        The folder is taken, a choice is out of range, there is nothing to compare, or an image cannot be read.
    """
    settings = settle("pairs", choices, sources=runs)
    _refuse_taken(out)
    design = design_pairs(offers, others=others, block=settings.block, practice=settings.practice, seed=settings.seed)
    left_out = dict(design.left_out)
    if offers.unfinished:
        left_out["trajectory did not reach its end"] = offers.unfinished
    files = {item: picture.file for item, picture in design.pictures.items()}
    groups = {item_id: item.prompt_id for item_id, item in design.items.items()}
    resized = write_assets(out / "assets", files, groups, progress)
    if resized:
        left_out["pixels of an image that was larger than others of its prompt"] = resized
    return _written(out, settings.model_copy(update={"left_out": left_out}), design)


def make_rating(
    images: Sequence[Rateable], source: Path, out: Path, *, choices: Mapping[str, Any], progress: Progress = _QUIET
) -> Study:
    """Write a rating study of these images; `choices` as for `make_pairs`.

    Raises
    ------
    ValueError
        The folder is taken, a choice is out of range, there are too few images, or one cannot be read.
    """
    settings = settle("rating", choices, sources=[source])
    _refuse_taken(out)
    design = design_rating(images, practice=settings.practice, seed=settings.seed)
    write_assets(out / "assets", design.files, {item: item for item in design.files}, progress)
    study = Study(out, settings, {t.trial_id: t for t in design.trials}, design.items)
    write_study(study)
    return study


def settle(kind: str, choices: Mapping[str, Any], *, sources: Sequence[Path]) -> StudySettings:
    """The settings of a new study, checked."""
    question = PAIRS_QUESTION if kind == "pairs" else RATING_QUESTION
    told = {name: value for name, value in choices.items() if value is not None}
    return StudySettings.checked(
        {
            "question": question,
            "notice": GENERATED,
            "show_prompt": kind == "rating",
            "completion_code": "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(8)),
            **told,
            "kind": kind,
            "sources": [str(path.resolve()) for path in sources],
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )


def _written(out: Path, settings: StudySettings, design: PairDesign) -> Study:
    study = Study(out, settings, {t.trial_id: t for t in design.trials}, design.items)
    write_study(study)
    return study


def _refuse_taken(out: Path) -> None:
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ValueError(f"--out {out}: is there already, and may hold people's answers; name another folder")
