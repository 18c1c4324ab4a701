"""`steer-study pairs` and `rating`: the commands that make studies."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from studies.commands.designs import PairsOptions, RatingOptions
    from studies.study import Study

_MOST_NAMED = 10
"""Files that are named on the screen."""

_Title = Annotated[str | None, typer.Option(help="What participants read on top.")]
_Question = Annotated[str | None, typer.Option(help="What is asked in every trial.")]
_Notice = Annotated[str | None, typer.Option(help="Where the images come from, for the consent page.")]
_Consent = Annotated[Path | None, typer.Option("--consent", help="Text file with your own words for the consent page.")]
_Contact = Annotated[str | None, typer.Option(help="Whom participants may write to.")]
_Code = Annotated[str | None, typer.Option(help="Code shown at the end; default: a random one.")]
_Url = Annotated[str | None, typer.Option(help="Where participants are sent at the end, instead of a code.")]
_Block = Annotated[int, typer.Option(help="Trials between two breaks.", min=1)]
_Repeats = Annotated[float, typer.Option(help="Share of trials that come twice (test–retest).", min=0, max=0.33)]
_Attention = Annotated[int, typer.Option(help="Attention checks in each block.", min=0)]
_Practice = Annotated[int, typer.Option(help="Practice trials at the beginning.", min=0)]
_Seed = Annotated[
    int | None,
    typer.Option(
        help="For tests and simulations: the same seed gives the same trials and orders. Default: a secret one, kept "
        "in study.json; whoever knows it can tell conditions from the order of subjects.",
        min=0,
        show_default=False,
    ),
]
_InvitationDays = Annotated[int, typer.Option(help="Days that an invitation lets its holder in.", min=1)]
_SessionDays = Annotated[int, typer.Option(help="Days that a device stays signed in.", min=1)]
_Plan = Annotated[bool, typer.Option("--plan", help="Print what the study asks of people, and write nothing.")]
_Pace = Annotated[float, typer.Option(help="Seconds a trial takes, for the plan.", min=0.1)]


def pairs(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run folders of steer-batch; they meet where prompt and base image are the same."),
    ],
    out: Annotated[Path | None, typer.Option(help="Study folder to write.")] = None,
    others: Annotated[
        int, typer.Option(help="How many other users' images each voter meets for each prompt; 5 in the paper.", min=0)
    ] = 1,
    tie: Annotated[bool, typer.Option("--tie", help="Offer `no preference`.")] = False,
    show_prompt: Annotated[bool, typer.Option("--show-prompt", help="Show the prompt above the images.")] = False,
    blocks_each: Annotated[int, typer.Option(help="Blocks for a participant whom nothing was steered for.", min=1)] = 1,
    looks: Annotated[
        int | None,
        typer.Option(help="At how many looks, equally far apart, `elo` may name a best while people vote.", min=1),
    ] = None,
    block: _Block = 40,
    repeats: _Repeats = 0.1,
    attention: _Attention = 1,
    practice: _Practice = 3,
    title: _Title = None,
    question: _Question = None,
    notice: _Notice = None,
    consent: _Consent = None,
    contact: _Contact = None,
    completion_code: _Code = None,
    completion_url: _Url = None,
    invitation_days: _InvitationDays = 90,
    session_days: _SessionDays = 30,
    seed: _Seed = None,
    plan: _Plan = False,
    difference: Annotated[float, typer.Option(help="Elo to be told apart at 80% power, for the plan.", min=0.1)] = 27.0,
    generalise_to: Annotated[
        str, typer.Option(help="For whom it is to be told, for the plan: people+prompts, people, prompts or these.")
    ] = "people+prompts",
    pace: _Pace = 5.0,
) -> None:
    """Make a blind pairwise study of finished runs: initial, own, other, and one condition for each generic scorer.

    steer-study pairs runs/2026-11-23-101500 --out my_study

    steer-study pairs runs/pamela runs/hpsv3 --plan --difference 27
    """
    from predictor.progress import StageProgress, stderr_console
    from studies.commands import designs

    options: PairsOptions = {
        "title": title,
        "question": question,
        "notice": notice,
        "consent": consent,
        "contact": contact,
        "completion_code": completion_code,
        "completion_url": completion_url,
        "block": block,
        "repeats": repeats,
        "attention": attention,
        "practice": practice,
        "seed": seed,
        "invitation_days": invitation_days,
        "session_days": session_days,
        "tie": tie,
        "show_prompt": show_prompt,
        "blocks_each": blocks_each,
        "looks": looks,
    }
    if plan:
        typer.echo(
            designs.plan_pairs(
                runs,
                others=others,
                difference=difference,
                generalise_to=generalise_to,  # pyrefly: ignore[bad-argument-type]  (refused if unknown)
                pace=pace,
                **options,
            )
        )
        return
    with StageProgress(stderr_console()) as advance:
        study = designs.pairs(runs, _named(out), others=others, progress=advance, **options)
    steered = ["own", "other"] if study.users and others else ["own"] if study.users else []
    conditions = ["initial", *steered, *study.generic]
    typer.echo(
        f"{out}: {len(study.of_kind('trial'))} trials in {len(study.blocks)} blocks over {', '.join(conditions)}"
    )
    for what, count in study.settings.left_out.items():
        typer.echo(f"  left out, {count} times: {what}")
    _warn(study, seed)
    if (practice or attention) and not (study.of_kind("practice") or study.of_kind("attention")):
        typer.echo("  no practice and no attention checks: the runs have no images that are not compared")


def rating(
    images: Annotated[
        Path, typer.Option("--images", help="Folder of images, or dataset folder (images.csv, with prompts).")
    ],
    out: Annotated[Path | None, typer.Option(help="Study folder to write.")] = None,
    sample: Annotated[
        int | None, typer.Option(help="Take so many of the images, by chance; default: all.", min=1)
    ] = None,
    anchors: Annotated[
        str | None, typer.Option(help="Five words below the slider, from the worst to the best: ugly,plain,…")
    ] = None,
    per_image: Annotated[int, typer.Option(help="By how many people each image is to be rated.", min=1)] = 5,
    each: Annotated[
        int | None,
        typer.Option(
            help="How many images one participant rates at most; default: 80, with --adaptive 40.",
            min=1,
            show_default=False,
        ),
    ] = None,
    adaptive: Annotated[
        bool, typer.Option("--adaptive", help="Ask each participant what should tell most about their taste.")
    ] = False,
    predictor: Annotated[
        str | None, typer.Option(help="Of --adaptive: the checkpoint to choose by, a folder or hub id.")
    ] = None,
    hide_prompt: Annotated[bool, typer.Option("--hide-prompt", help="Do not show the prompt above the image.")] = False,
    block: _Block = 40,
    repeats: _Repeats = 0.1,
    attention: _Attention = 1,
    practice: _Practice = 3,
    title: _Title = None,
    question: _Question = None,
    notice: _Notice = None,
    consent: _Consent = None,
    contact: _Contact = None,
    completion_code: _Code = None,
    completion_url: _Url = None,
    invitation_days: _InvitationDays = 90,
    session_days: _SessionDays = 30,
    seed: _Seed = None,
    plan: _Plan = False,
    pace: _Pace = 8.0,
) -> None:
    """Make a rating study: one image at a time, a continuous slider from bad to excellent (paper, B.1).

    steer-study rating --images my_images --out my_ratings --per-image 10

    steer-study rating --images my_photographs --out my_ratings --sample 200 --notice "My own photographs."

    steer-study rating --images my_images --out my_ratings --adaptive --predictor my_checkpoint
    """
    from predictor.progress import StageProgress, stderr_console
    from studies.commands import designs
    from studies.design.rating import left_out

    options: RatingOptions = {
        "title": title,
        "question": question,
        "notice": notice,
        "consent": consent,
        "contact": contact,
        "completion_code": completion_code,
        "completion_url": completion_url,
        "block": block,
        "repeats": repeats,
        "attention": attention,
        "practice": practice,
        "seed": seed,
        "invitation_days": invitation_days,
        "session_days": session_days,
        "sample": sample,
        "per_image": per_image,
        "each": each,
        "hide_prompt": hide_prompt,
        "adaptive": adaptive,
        "predictor": predictor,
        "anchors": None if anchors is None else anchors.split(","),
    }
    if images.is_dir():
        _say_left_out(images, left_out(images))
    if plan:
        typer.echo(designs.plan_rating(images, pace=pace, **options))
        return
    with StageProgress(stderr_console()) as advance:
        study = designs.rating(images, _named(out), progress=advance, **options)
    typer.echo(f"{out}: {len(study.of_kind('trial'))} images to rate, {per_image} times each, {practice} for practice")
    _warn(study, seed)


def _say_left_out(images: Path, names: Sequence[str]) -> None:
    """Name the first files that are no images."""
    if names:
        named = ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
        typer.echo(f"left out of {images}, because they are no images that can be read: {len(names)} ({named})")


def _warn(study: "Study", seed: int | None) -> None:
    from studies.wording import CHOSEN

    if seed is not None:
        typer.echo(f"  blind only to people who do not know --seed {seed}: leave it out for a study of people")
    if study.settings.notice == CHOSEN:
        typer.echo("  participants are not told where the images come from: say so by --notice")
    if not study.settings.contact:
        typer.echo("  participants see no contact: name one by --contact")


def _named(out: Path | None) -> Path:
    if out is None:
        raise ValueError("--out is missing: name the study folder to write, or give --plan")
    return out
