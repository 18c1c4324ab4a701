"""Consistency: do independent runs agree on what a person likes? (paper, section 6.2)

The final candidates of one prompt are compared between runs: two runs for the same user should agree more than two
runs for different users. The p-value is of a permutation test that shuffles users within each prompt and run.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.records.tables import Outcome

PERMUTATIONS = 2000


def consistency(
    outcomes: Sequence[Outcome], attributes: Mapping[str, NDArray[np.float64]], *, seed: int = 0
) -> dict[str, Any] | None:
    """Agreement within users against between users, for prompts and for images.

    Prompts agree by the Jaccard index of the words added to the base prompt; images by minus the
    distance between their measured attributes (`predictor.simulation.attributes`), in standard deviations.

    Returns
    -------
    For "prompts" and "images": within, between, their difference, and the one-sided permutation p-value.
    None where no prompt was steered in two runs for one user, and for another user too.
    """
    groups: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.bests:
            groups[outcome.trajectory.prompt_id, outcome.trajectory.scorer].append(outcome)
    comparable = [group for group in groups.values() if 1 < len({o.trajectory.user for o in group}) < len(group)]
    if not comparable:
        return None
    keys = [str(o.bests[-1].image) for group in comparable for o in group]
    spread = np.std([attributes[key] for key in keys], axis=0) + 1e-9
    images = {key: attributes[key] / spread for key in keys}

    def likeness(a: Outcome, b: Outcome) -> float:
        return -float(np.linalg.norm(images[str(a.bests[-1].image)] - images[str(b.bests[-1].image)]))

    rng = np.random.default_rng(seed)
    return {
        "runs": len({o.trajectory.run for group in comparable for o in group}),
        "prompts": _agreement(comparable, _shared_words, rng),
        "images": _agreement(comparable, likeness, rng),
    }


def _agreement(
    groups: Sequence[Sequence[Outcome]], similarity: Callable[[Outcome, Outcome], float], rng: np.random.Generator
) -> dict[str, float]:
    """Mean similarity of pairs from different runs of one prompt, within and between users, with the p-value."""
    first, second, values, users, runs = [], [], [], [], []
    for group in groups:
        offset = len(users)
        users += [o.trajectory.user for o in group]
        runs += [(id(group), o.trajectory.run) for o in group]
        for (i, a), (j, b) in combinations(enumerate(group), 2):
            if a.trajectory.run != b.trajectory.run:
                first.append(offset + i)
                second.append(offset + j)
                values.append(similarity(a, b))
    value, left, right = np.array(values), np.array(first), np.array(second)
    label = np.unique(users, return_inverse=True)[1]
    blocks = [np.flatnonzero([run == block for run in runs]) for block in dict.fromkeys(runs)]

    def difference(labels: NDArray[np.intp]) -> float:
        same = labels[left] == labels[right]
        return float(value[same].mean() - value[~same].mean()) if same.any() and not same.all() else 0.0

    observed = difference(label)
    reached = 0
    for _ in range(PERMUTATIONS):
        shuffled = label.copy()
        for block in blocks:
            shuffled[block] = rng.permutation(shuffled[block])
        reached += difference(shuffled) >= observed - 1e-12
    same = label[left] == label[right]
    return {
        "within": float(value[same].mean()) if same.any() else float("nan"),
        "between": float(value[~same].mean()),
        "difference": observed,
        "p": (1 + reached) / (1 + PERMUTATIONS),
    }


def _shared_words(a: Outcome, b: Outcome) -> float:
    added = [
        set(o.bests[-1].prompt.casefold().replace(",", " ").split())
        - set(o.trajectory.base_prompt.casefold().replace(",", " ").split())
        for o in (a, b)
    ]
    union = added[0] | added[1]
    return len(added[0] & added[1]) / len(union) if union else 1.0
