"""The order in which one participant meets a block: shuffled, with repeats and attention checks put in."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from studies.study import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignedTrial:
    """A trial as one participant is to meet it."""

    trial_id: str
    block: int
    swapped: bool = False
    """Whether left and right are exchanged."""
    repeat: bool = False


def repeats_of(trials: int, share: float) -> int:
    """How many of a block's trials come twice: a share of them, but no more than its first third."""
    return min(trials // 3, round(share * trials))


def order_block(
    trials: Sequence[Trial], checks: Sequence[Trial], *, block: int, repeats: float, swapped: bool, seed: str
) -> list[AssignedTrial]:
    """Put a block in order; the same arguments give the same order.

    Parameters
    ----------
    checks
        Attention checks to put somewhere between.
    repeats
        Share of the trials that come twice, the second time with the sides exchanged. They are taken from the first
        third and come again in the last, so that nobody answers from short memory.
    """
    rng = Random(seed)
    order = [
        AssignedTrial(trial_id=t.trial_id, block=block, swapped=swapped) for t in rng.sample(list(trials), len(trials))
    ]
    third = len(order) // 3
    again = rng.sample(order[:third], repeats_of(len(order), repeats))
    for first in again:
        second = AssignedTrial(trial_id=first.trial_id, block=block, swapped=not first.swapped, repeat=True)
        order.insert(rng.randint(len(trials) - third, len(order)), second)
    for check in checks:
        order.insert(rng.randint(min(1, len(order)), len(order)), AssignedTrial(trial_id=check.trial_id, block=block))
    return order
