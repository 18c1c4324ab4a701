"""The trials of a pairwise study (paper, section 6.1): which two images are compared, for whom, on which side.

For every voter and prompt all pairs of the conditions initial, own, other and the generic scorers come once. What
stands on the left is balanced within each pair of conditions of each voter. Blocks hold a shuffled mix of prompts and
conditions. Everything here is drawn from the seed alone; names of images and trials are random, and never come from
it: who knows the seed still cannot tell from a name what an image is.
"""

import math
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from random import Random

from studies.design.offers import Offer, Offers, Picture
from studies.study import INITIAL, PRACTICE, Item, Trial

ATTENTION_TRIALS = 6
"""Different attention checks in a study; a participant meets some of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two pictures of one prompt for one voter (None: anybody)."""

    offer: Offer
    left: Picture
    right: Picture
    voter: str | None

    @property
    def conditions(self) -> tuple[str, str]:
        return _seen_as(self.left, self.voter), _seen_as(self.right, self.voter)


@dataclass(slots=True)
class PairDesign:
    """Trials and items of a study that is being made."""

    trials: list[Trial] = field(default_factory=list)
    items: dict[str, Item] = field(default_factory=dict)
    pictures: dict[str, Picture] = field(default_factory=dict)
    """By item id."""
    left_out: Counter[str] = field(default_factory=Counter)
    _known: dict[tuple[str, str, str, str | None], str] = field(default_factory=dict)

    def item(self, prompt_id: str, picture: Picture) -> str:
        """The item id of a picture; the same picture under the same condition is one item."""
        key = (prompt_id, picture.key, picture.condition, picture.user)
        if key not in self._known:
            name = secrets.token_hex(16)
            self._known[key] = name
            self.pictures[name] = picture
            self.items[name] = Item(
                item_id=name,
                prompt_id=prompt_id,
                image=picture.key,
                condition=picture.condition,
                user=picture.user,
                metadata={},
            )
        return self._known[key]


def design_pairs(offers: Offers, *, others: int, block: int, practice: int, seed: int) -> PairDesign:
    """Lay out a pairwise study.

    Parameters
    ----------
    others
        How many other users' images each voter meets for each prompt; users take turns, so that everybody's are met
        equally often.
    block
        Trials in a block at most; a voter's blocks are of equal length to within one trial.

    Raises
    ------
    ValueError
        There is nothing to compare: neither users nor generic scorers, or all images are identical.
    """
    design = PairDesign()
    rng = Random(f"{seed}/design")
    number = 1
    for voter in (*offers.users, None):
        compared = [
            c
            for index, offer in enumerate(offers.offers)
            for c in _compare(offers, offer, index, voter, others, design)
        ]
        for trials in _blocks(_sided(compared, rng), block, rng):
            design.trials += [_trial(design, comparison, number) for comparison in trials]
            number += 1
    if not design.trials:
        raise ValueError(
            "nothing to compare: in every pair of conditions both images are the same; steer further first"
        )
    design.trials += _practice(design, offers, practice, rng)
    design.trials += _attention(design, offers, rng)
    return design


def conditions_of(
    offer: Offer, index: int, voter: str | None, users: Sequence[str], others: int
) -> dict[str, list[Picture]]:
    """The pictures of a prompt that a voter may meet, by the condition that they are to the voter."""
    names = [user for user in users if user != voter]
    shown: dict[str, list[Picture]] = {INITIAL: [offer.initial]}
    if voter is not None and voter in offer.steered:
        shown["own"] = [offer.steered[voter]]
    if names:
        start = users.index(voter) if voter in users else 0
        turn = [names[(start + index * others + k) % len(names)] for k in range(min(others, len(names)))]
        shown["other"] = [offer.steered[user] for user in turn if user in offer.steered]
    for picture in offer.generic:
        shown[picture.condition] = [picture]
    return {condition: pictures for condition, pictures in shown.items() if pictures}


def _compare(
    offers: Offers, offer: Offer, index: int, voter: str | None, others: int, design: PairDesign
) -> Iterator[Comparison]:
    shown = conditions_of(offer, index, voter, offers.users, others)
    met: set[frozenset[str]] = set()
    for a, b in combinations(shown, 2):
        for one, two in product(shown[a], shown[b]):
            pair = frozenset((one.key, two.key))
            if len(pair) == 1:
                design.left_out[f"both images are the same: {a} and {b}"] += 1
            elif pair in met:
                design.left_out["the voter meets the same two images already"] += 1
            else:
                met.add(pair)
                yield Comparison(offer=offer, left=one, right=two, voter=voter)


def _sided(comparisons: list[Comparison], rng: Random) -> list[Comparison]:
    """Each pair of conditions has either of them on the left half of the time, to within one trial."""
    flips = {pair: rng.random() < 0.5 for pair in dict.fromkeys(c.conditions for c in comparisons)}
    sided = []
    for comparison in rng.sample(comparisons, len(comparisons)):
        pair = comparison.conditions
        one, two = comparison.left, comparison.right
        left, right = (two, one) if flips[pair] else (one, two)
        flips[pair] = not flips[pair]
        sided.append(replace(comparison, left=left, right=right))
    return sided


def _blocks(comparisons: list[Comparison], size: int, rng: Random) -> list[list[Comparison]]:
    count = math.ceil(len(comparisons) / size)
    mixed = rng.sample(comparisons, len(comparisons))
    return [mixed[number::count] for number in range(count)]


def _trial(design: PairDesign, comparison: Comparison, block: int) -> Trial:
    offer = comparison.offer
    return Trial(
        trial_id=secrets.token_hex(8),
        block=block,
        prompt_id=offer.prompt_id,
        prompt=offer.prompt,
        left=design.item(offer.prompt_id, comparison.left),
        right=design.item(offer.prompt_id, comparison.right),
        user=comparison.voter,
    )


def _practice(design: PairDesign, offers: Offers, count: int, rng: Random) -> list[Trial]:
    """Pairs of images that come nowhere else, so that nobody meets a trial's image before its trial."""
    pool = [
        (offer, offers.spare[offer.prompt]) for offer in offers.offers if len(offers.spare.get(offer.prompt, ())) > 1
    ]
    trials = []
    for number in range(count if pool else 0):
        offer, spare = pool[number % len(pool)]
        left, right = rng.sample(list(spare), 2)
        trials.append(_extra(design, offer, left, right, kind=PRACTICE, expected=None))
    return trials


def _attention(design: PairDesign, offers: Offers, rng: Random) -> list[Trial]:
    """Pairs with an instruction instead of the question; any images do, since nobody's liking is asked."""
    trials = []
    for number in range(ATTENTION_TRIALS):
        offer = rng.choice(offers.offers)
        spare = list(offers.spare.get(offer.prompt, ()))
        shown = rng.sample(spare, 2) if len(spare) > 1 else [offer.initial, offer.initial]
        left, right = (Picture(key=p.key, file=p.file, condition=PRACTICE) for p in shown)
        trials.append(_extra(design, offer, left, right, kind="attention", expected=("left", "right")[number % 2]))
    return trials


def _extra(
    design: PairDesign, offer: Offer, left: Picture, right: Picture, *, kind: str, expected: str | None
) -> Trial:
    return Trial(
        trial_id=secrets.token_hex(8),
        block=0,
        prompt_id=offer.prompt_id,
        prompt=offer.prompt,
        left=design.item(offer.prompt_id, left),
        right=design.item(offer.prompt_id, right),
        kind=kind,  # type: ignore[arg-type]
        expected=expected,
    )


def _seen_as(picture: Picture, voter: str | None) -> str:
    if picture.user is None:
        return picture.condition
    return "own" if picture.user == voter else "other"
