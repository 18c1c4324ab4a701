"""`pairs` and `rating`: from finished runs or a folder of images to a study, or to what it would ask of people."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from predictor.data.folders import StrPath, paths_of
from studies.design.making import Progress, make_pairs, make_rating, settle
from studies.design.planning import plan_pairs as describe_pairs
from studies.design.planning import plan_rating as describe_rating
from studies.design.rating import ImageToRate, read_images, sample_of
from studies.design.steered_images import read_steered_images
from studies.elo.inference.intervals import Generalisation
from studies.study import Study

_EACH, _EACH_ADAPTIVE = 80, 40
"""Images for one participant: eight that are chosen teach about what fifteen by chance do."""


class StudyOptions(TypedDict, total=False):
    """Options of every study; what is left out or None keeps its default."""

    title: str | None
    """What participants read on top."""
    question: str | None
    """What is asked in every trial."""
    notice: str | None
    """Where the images come from, for the consent page."""
    consent: StrPath | None
    """Text file with your own words for the consent page."""
    contact: str | None
    """Whom participants may write to."""
    completion_code: str | None
    """Shown at the end; default: a random one."""
    completion_url: str | None
    """Where participants are sent at the end, instead of a code."""
    block: int
    """Trials between two breaks."""
    repeats: float
    """Share of trials that come twice (test–retest)."""
    attention: int
    """Attention checks in each block."""
    practice: int
    """Practice trials at the beginning."""
    seed: int | None
    """For tests and simulations: the same seed gives the same trials and orders. None: a secret one, kept in
    study.json; whoever knows it can tell conditions from the order of subjects."""
    invitation_days: int
    """Days that an invitation lets its holder in."""
    session_days: int
    """Days that a device stays signed in."""


class PairsOptions(StudyOptions, total=False):
    """Options of a pairwise study."""

    tie: bool
    """Offer `no preference`."""
    show_prompt: bool
    """Show the prompt above the images."""
    blocks_each: int
    """Blocks for a participant whom nothing was steered for."""
    looks: int | None
    """At how many looks, equally far apart, `fit` may name a best while people vote."""


class RatingOptions(StudyOptions, total=False):
    """Options of a rating study."""

    sample: int | None
    """Take so many of the images, by chance; None: all."""
    anchors: Sequence[str] | None
    """Five words below the slider, from the worst to the best."""
    per_image: int
    """By how many people each image is to be rated; default: 5."""
    each: int | None
    """How many images one participant rates at most; None: 80, with `adaptive` 40."""
    adaptive: bool
    """Ask each participant what should tell most about their taste."""
    predictor: str | None
    """Of `adaptive`: the checkpoint to choose by, a folder or hub id."""
    hide_prompt: bool
    """Do not show the prompt above the image."""


def pairs(
    runs: StrPath | Sequence[StrPath],
    out: StrPath,
    *,
    others: int = 1,
    progress: Progress = lambda what, done, total: None,
    **options: Unpack[PairsOptions],
) -> Study:
    """Make a blind pairwise study of finished runs: initial, own, other, and one condition for each generic scorer.

    Parameters
    ----------
    runs
        Run folders of steer-batch; they meet where prompt and base image are the same.
    out
        Study folder to write.
    others
        How many other users' images each voter meets for each prompt; 5 in the paper.
    options
        `PairsOptions` and `StudyOptions`.

    Raises
    ------
    ValueError
        A folder is no finished run, `out` is taken, an option is unknown or out of range, or there is nothing to
        compare.

    Examples
    --------
    >>> pairs("runs/2026-11-23-101500", "my_study", tie=True)  # doctest: +SKIP
    """
    folders = paths_of(runs)
    choices = _choices(options, PairsOptions)
    return make_pairs(
        read_steered_images(folders), folders, Path(out), others=others, choices=choices, progress=progress
    )


def plan_pairs(
    runs: StrPath | Sequence[StrPath],
    *,
    others: int = 1,
    difference: float = 27.0,
    generalise_to: Generalisation = "people+prompts",
    pace: float = 5.0,
    **options: Unpack[PairsOptions],
) -> str:
    """What a pairwise study would ask of people, and how much it could tell apart, in a few lines of text.

    Parameters
    ----------
    difference
        Elo to be told apart at 80% power.
    generalise_to
        For whom it is to be told: people+prompts, people, prompts or these.
    pace
        Seconds a trial takes.

    Raises
    ------
    ValueError
        See `pairs`, but for the folder to write.
    """
    folders = paths_of(runs)
    choices = _choices(options, PairsOptions)
    return describe_pairs(
        read_steered_images(folders),
        settle("pairs", choices, sources=folders),
        others=others,
        difference=difference,
        pace_s=pace,
        generalise_to=generalise_to,
    )


def rating(
    images: StrPath,
    out: StrPath,
    *,
    progress: Progress = lambda what, done, total: None,
    **options: Unpack[RatingOptions],
) -> Study:
    """Make a rating study: one image at a time, a continuous slider from bad to excellent (paper, B.1).

    Parameters
    ----------
    images
        Folder of images, or dataset folder (images.csv, with prompts).
    out
        Study folder to write.
    options
        `RatingOptions` and `StudyOptions`.

    Raises
    ------
    ValueError
        There are no images or too few, one cannot be read, `out` is taken, or an option is unknown or out of range.

    Examples
    --------
    >>> rating("my_photographs", "my_ratings", sample=200, notice="My own photographs.")  # doctest: +SKIP
    """
    shown, choices = _images_and_choices(Path(images), options)
    predictor = options.get("predictor")
    return make_rating(shown, Path(images), Path(out), choices=choices, predictor=predictor, progress=progress)


def plan_rating(images: StrPath, *, pace: float = 8.0, **options: Unpack[RatingOptions]) -> str:
    """What a rating study would ask of people, in a few lines of text; `pace` is seconds a rating.

    Raises
    ------
    ValueError
        See `rating`, but for the folder to write.
    """
    shown, choices = _images_and_choices(Path(images), options)
    return describe_rating(len(shown), settle("rating", choices, sources=[Path(images)]), pace_s=pace)


def _images_and_choices(folder: Path, options: RatingOptions) -> tuple[list[ImageToRate], dict[str, Any]]:
    """The images to rate, and the settings of their study that were chosen."""
    rest: dict[str, Any] = dict(options)
    sample, adaptive, predictor = rest.pop("sample", None), rest.pop("adaptive", False), rest.pop("predictor", None)
    if adaptive != (predictor is not None):
        raise ValueError("--adaptive and --predictor CHECKPOINT belong together: name the checkpoint to choose by")
    each, anchors = rest.pop("each", None), rest.pop("anchors", None)
    choices = {
        "ratings_per_image": rest.pop("per_image", 5),
        "images_each": (_EACH_ADAPTIVE if adaptive else _EACH) if each is None else each,
        "show_prompt": not rest.pop("hide_prompt", False),
        "anchors": None if anchors is None else _five(anchors),
        **_choices(rest, RatingOptions),
    }
    images = read_images(folder)
    return (images if sample is None else sample_of(images, sample, rest.get("seed"))), choices


def _choices(options: Mapping[str, Any], kind: type[StudyOptions]) -> dict[str, Any]:
    """The fields of `StudySettings` that options stand for; those of another kind of study are refused."""
    if unknown := [name for name in options if name not in kind.__optional_keys__]:
        raise ValueError(f"unknown option {unknown[0]!r}; known are {', '.join(sorted(kind.__optional_keys__))}")
    choices: dict[str, Any] = dict(options)
    consent = choices.pop("consent", None)
    return {**choices, "about": None if consent is None else _words(Path(consent))}


def _five(anchors: Sequence[str]) -> list[str]:
    words = [word.strip() for word in (anchors.split(",") if isinstance(anchors, str) else anchors)]
    if len(words) != 5 or not all(words):
        raise ValueError(f"--anchors {','.join(words)}: must be five words with commas between, got {len(words)}")
    return words


def _words(file: Path) -> str:
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--consent {file}: cannot be read as text: {error}") from error
