"""Labels that stand for people in what is published: dealt out at random, and which is whose is kept nowhere."""

import secrets
from collections.abc import Iterable


def deal_labels(people: Iterable[str]) -> dict[str, str]:
    """A label such as `person-07` for each of some people, from whose number and order nothing follows.

    Example:

        sorted(deal_labels(["ada", "bob"]).values()) == ["person-1", "person-2"]
    """
    shuffled = sorted({*people})
    secrets.SystemRandom().shuffle(shuffled)
    width = len(str(len(shuffled)))
    return {person: f"person-{number:0{width}d}" for number, person in enumerate(shuffled, start=1)}
