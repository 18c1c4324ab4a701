"""Blocks whose images are chosen while they are answered.

How many images are new, where some come again and where attention checks stand is settled when a block begins, just as
in any other study; only which image is the next new one waits for the answers. So whoever takes part cannot tell.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from studies.sequence import AssignedTrial, order_block
from studies.study import Trial

FILE = "adaptive.safetensors"
"""In the study folder: what is needed of a predictor to choose; never served."""

_NEW = "new "
"""What a place for a new image begins with, in place of a trial."""


def outline_block(
    size: int, checks: Sequence[Trial], *, block: int, repeats: float, seed: str
) -> Sequence[AssignedTrial]:
    """A block of so many new images in order, with places for trials that are still to be chosen."""
    places = [Trial(trial_id=f"{_NEW}{number}", block=block, prompt_id="", prompt="") for number in range(size)]
    return order_block(places, checks, block=block, repeats=repeats, swapped=False, seed=seed)


def next_in_block(
    outline: Sequence[AssignedTrial], assigned: Sequence[AssignedTrial], choose: Callable[[], str | None]
) -> AssignedTrial | None:
    """What comes after the trials that were assigned of this block; None at its end.

    Parameters
    ----------
    assigned
        The trials of the outline's first places.
    choose
        Gives a trial that the participant has not met, None where none is left: then the block ends early.
    """
    if len(assigned) == len(outline):
        return None
    place = outline[len(assigned)]
    if not place.trial_id.startswith(_NEW):
        return place
    if place.repeat:
        first = next(number for number, other in enumerate(outline) if other.trial_id == place.trial_id)
        return replace(place, trial_id=assigned[first].trial_id, swapped=False)
    chosen = choose()
    return None if chosen is None else replace(place, trial_id=chosen)
