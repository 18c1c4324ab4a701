"""The trials of a pairwise study (paper, section 6.1): which two images are compared, for whom, on which side.

For every voter and prompt all pairs of the conditions initial, own, other and the generic scorers come once. What
stands on the left is balanced within each pair of conditions of each voter. Blocks hold a shuffled mix of prompts and
conditions. Everything here is drawn from the seed alone, a stream for each voter, so that nobody's trials tell anything
of another's; names of images and trials are random, and never come from it. With the seed, conditions can be told from
the order of subjects, so it is a secret of the study.
"""

import math
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from random import Random

from studies.design.steered_images import Picture, PromptImages, SteeredImages
from studies.study import INITIAL, PRACTICE, Item, Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two pictures of one prompt for one voter (None: anybody)."""

    entry: PromptImages
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


def design_pairs(
    steered_images: SteeredImages,
    *,
    others: int,
    block: int,
    practice: int,
    seed: int,
    attention: int = 0,
    only_own_of: str | None = None,
) -> PairDesign:
    """Lay out a pairwise study.

    Parameters
    ----------
    others
        How many other users' images each voter meets for each prompt; users take turns, so that everybody's are met
        equally often.
    block
        Trials in a block at most; a voter's blocks are of equal length to within one trial.
    attention
        Attention checks in each block; nobody meets one twice.
    only_own_of
        A user: only their pairs, and of these only those with the image that was steered for them. None: all pairs.

    Raises
    ------
    ValueError
        There is nothing to compare: neither users nor generic scorers, or all images are identical; or `others` is
        less than 0.
    """
    if others < 0:
        raise ValueError(f"--others must be 0 or more, got {others}")
    design = PairDesign()
    number = most = 0
    for stream, voter in enumerate((*steered_images.users, None)):
        if only_own_of not in (None, voter):
            continue
        rng = Random(f"{seed}/design/{stream}")
        compared = _compare(steered_images, voter, others, design)
        kept = [each for each in compared if only_own_of is None or "own" in each.conditions]
        blocks = _blocks(kept, block, rng)
        most = max(most, len(blocks))
        for trials in _sided(blocks, rng):
            number += 1
            design.trials += [_trial(design, comparison, number) for comparison in trials]
    if not design.trials:
        raise ValueError(
            "nothing to compare: in every pair of conditions both images are the same; steer further first"
        )
    rng = Random(f"{seed}/design/extra")
    design.trials += _practice(design, steered_images, practice, rng)
    design.trials += _attention(design, steered_images, attention * most, rng)
    return design


def conditions_of(
    entry: PromptImages, index: int, voter: str | None, users: Sequence[str], others: int
) -> dict[str, list[Picture]]:
    """The pictures of a prompt that a voter may meet, by the condition that they are to the voter."""
    names = [user for user in users if user != voter]
    shown: dict[str, list[Picture]] = {INITIAL: [entry.initial]}
    if voter is not None and voter in entry.steered:
        shown["own"] = [entry.steered[voter]]
    if names:
        start = users.index(voter) if voter in users else 0
        turn = [names[(start + index * others + k) % len(names)] for k in range(min(others, len(names)))]
        shown["other"] = [entry.steered[user] for user in turn if user in entry.steered]
    for picture in entry.generic:
        shown[picture.condition] = [picture]
    return {condition: pictures for condition, pictures in shown.items() if pictures}


def _compare(steered_images: SteeredImages, voter: str | None, others: int, design: PairDesign) -> Iterator[Comparison]:
    """All pairs of conditions of all prompts for one voter, any two images once."""
    met: set[tuple[str, frozenset[str]]] = set()
    for index, entry in enumerate(steered_images.prompts):
        shown = conditions_of(entry, index, voter, steered_images.users, others)
        for a, b in combinations(shown, 2):
            for one, two in product(shown[a], shown[b]):
                pair = (entry.prompt_id, frozenset((one.key, two.key)))
                if one.key == two.key:
                    design.left_out[f"both images are the same: {a} and {b}"] += 1
                elif pair in met:
                    design.left_out["the voter meets the same two images already"] += 1
                else:
                    met.add(pair)
                    yield Comparison(entry=entry, left=one, right=two, voter=voter)


def _blocks(comparisons: list[Comparison], size: int, rng: Random) -> list[list[Comparison]]:
    count = math.ceil(len(comparisons) / size)
    mixed = rng.sample(comparisons, len(comparisons))
    return [mixed[number::count] for number in range(count)]


def _sided(blocks: list[list[Comparison]], rng: Random) -> list[list[Comparison]]:
    """Of each pair of conditions either is on the left half of the time, to within one trial, in every block."""
    flips: dict[tuple[str, str], bool] = {}
    sided = []
    for block in blocks:
        trials = []
        for comparison in block:
            pair = comparison.conditions
            flip = flips.setdefault(pair, rng.random() < 0.5)
            flips[pair] = not flip
            one, two = comparison.left, comparison.right
            left, right = (two, one) if flip else (one, two)
            trials.append(replace(comparison, left=left, right=right))
        sided.append(trials)
    return sided


def _trial(design: PairDesign, comparison: Comparison, block: int) -> Trial:
    entry = comparison.entry
    return Trial(
        trial_id=secrets.token_hex(8),
        block=block,
        prompt_id=entry.prompt_id,
        prompt=entry.prompt,
        left=design.item(entry.prompt_id, comparison.left),
        right=design.item(entry.prompt_id, comparison.right),
        user=comparison.voter,
    )


def _practice(design: PairDesign, steered_images: SteeredImages, count: int, rng: Random) -> list[Trial]:
    """Pairs of images that come nowhere else, so that nobody meets a trial's image before its trial."""
    return [_extra(design, *spare, kind=PRACTICE, expected=None) for spare in _spare_pairs(steered_images, count, rng)]


def _attention(design: PairDesign, steered_images: SteeredImages, count: int, rng: Random) -> list[Trial]:
    """Pairs with an instruction instead of the question, of images that are compared nowhere."""
    return [
        _extra(design, *spare, kind="attention", expected=("left", "right")[number % 2])
        for number, spare in enumerate(_spare_pairs(steered_images, count, rng))
    ]


def _spare_pairs(steered_images: SteeredImages, count: int, rng: Random) -> list[tuple[PromptImages, Picture, Picture]]:
    """Pairs of spare images of one prompt, prompts in turn; none where the runs have no spare images."""
    pool = [(entry, list(steered_images.spare.get(entry.prompt, ()))) for entry in steered_images.prompts]
    pool = [(entry, spare) for entry, spare in pool if len(spare) > 1]
    turns = [pool[number % len(pool)] for number in range(count if pool else 0)]
    drawn = [(entry, rng.sample(spare, 2)) for entry, spare in turns]
    return [(entry, left, right) for entry, (left, right) in drawn]


def _extra(
    design: PairDesign, entry: PromptImages, left: Picture, right: Picture, *, kind: str, expected: str | None
) -> Trial:
    return Trial(
        trial_id=secrets.token_hex(8),
        block=0,
        prompt_id=entry.prompt_id,
        prompt=entry.prompt,
        left=design.item(entry.prompt_id, left),
        right=design.item(entry.prompt_id, right),
        kind=kind,  # type: ignore[arg-type]
        expected=expected,
    )


def _seen_as(picture: Picture, voter: str | None) -> str:
    if picture.user is None:
        return picture.condition
    return "own" if picture.user == voter else "other"
