"""What a study will ask of people, before anybody is asked: trials, minutes, and how much it can tell apart."""

import math

from studies.design.making import design_of
from studies.design.steered_images import SteeredImages
from studies.elo.inference.intervals import Generalisation
from studies.elo.inference.power import plan_study
from studies.sequence import repeats_of
from studies.study import StudySettings

WELCOME_S = 90.0
"""Consent and the questions about oneself."""


def plan_pairs(
    steered_images: SteeredImages,
    settings: StudySettings,
    *,
    others: int,
    difference: float,
    pace_s: float,
    generalise_to: Generalisation = "people+prompts",
) -> str:
    """A pairwise study in a few lines of text.

    Parameters
    ----------
    difference
        Elo to be told apart at 80% power.
    pace_s
        Seconds a trial takes.
    generalise_to
        For whom the difference is to be told.

    Raises
    ------
    ValueError
        `generalise_to` is unknown.
    """
    design = design_of(steered_images, settings, others=others)
    practice = sum(trial.kind == "practice" for trial in design.trials)
    by_block: dict[int, int] = {}
    own: dict[str | None, set[int]] = {}
    for trial in design.trials:
        if trial.kind == "trial":
            by_block[trial.block] = by_block.get(trial.block, 0) + 1
            own.setdefault(trial.user, set()).add(trial.block)
    steered_conditions = (["own", "other"] if others else ["own"]) if steered_images.users else []
    conditions = ["initial", *steered_conditions, *steered_images.generic]
    lines = [
        f"{len(conditions)} conditions ({', '.join(conditions)}), {len(steered_images.prompts)} prompts and passes"
    ]
    steered = {user: blocks for user, blocks in own.items() if user is not None}
    votes = 0
    if steered:
        blocks = max(map(len, steered.values()))
        trials = max(sum(by_block[block] for block in found) for found in steered.values())
        votes = trials
        sitting = _sitting(trials, blocks, practice, settings, pace_s)
        lines.append(f"{len(steered)} people whom images were steered for, each {sitting}")
    if None in own:
        blocks = min(settings.blocks_each, len(own[None]))
        trials = sum(sorted((by_block[block] for block in own[None]), reverse=True)[:blocks])
        votes = votes or trials
        lines.append(f"anybody else: {_sitting(trials, blocks, practice, settings, pace_s)}")
    prompts = len({entry.prompt_id for entry in steered_images.prompts})
    wanted = plan_study(
        difference, conditions=len(conditions), votes_each=votes, prompts=prompts, generalise_to=generalise_to
    )
    lines.append(str(wanted))
    lines += [f"left out, {count} times: {what}" for what, count in design.left_out.items()]
    return "\n".join(lines)


def plan_rating(images: int, settings: StudySettings, *, pace_s: float) -> str:
    """A rating study in a few lines of text; `pace_s` seconds a rating."""
    rated = images - max(settings.practice, settings.attention > 0)
    if rated < 1:
        raise ValueError(f"{settings.practice} practice trials leave none of {images} images; lower --practice")
    wanted = settings.ratings_per_image or 1
    each = min(settings.images_each or rated, rated)
    participants = max(wanted, math.ceil(rated * wanted / each))
    blocks = math.ceil(each / settings.block)
    return "\n".join(
        [
            f"{rated} images, {wanted} ratings each: {rated * wanted:,} ratings",
            f"{participants} participants, each {_sitting(each, blocks, settings.practice, settings, pace_s)}",
        ]
    )


def _sitting(trials: int, blocks: int, practice: int, settings: StudySettings, pace_s: float) -> str:
    sizes = [len(range(number, trials, blocks)) for number in range(blocks)]
    extra = sum(repeats_of(size, settings.repeats) + settings.attention for size in sizes)
    minutes = (WELCOME_S + (trials + extra + practice) * pace_s) / 60
    return (
        f"{trials} trials and {extra + practice} for practice, repeats and attention in {blocks} "
        f"block{'' if blocks == 1 else 's'}: about {minutes:.0f} minutes at {pace_s:g} s a trial"
    )
