"""The trials of a pairwise study."""

from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studies.design.pairs import PairDesign, conditions_of, design_pairs
from studies.design.steered_images import Picture, PromptImages, SteeredImages
from studies.study import STEERED

HERE = Path(__file__)


def steered_images_of(users: int, prompts: int, generic: int = 1, same: bool = False) -> SteeredImages:
    names = [f"u{number}" for number in range(users)]
    made = []
    for p in range(prompts):

        def pictured(condition: str, user: str | None = None, p: int = p) -> Picture:
            key = f"{p}-same" if same else f"{p}-{condition}-{user}"
            return Picture(key=key, file=HERE, condition=condition, user=user)

        made.append(
            PromptImages(
                prompt_id=f"p{p}",
                prompt=f"prompt {p}",
                initial=pictured("initial"),
                generic=tuple(pictured(f"g{g}") for g in range(generic)),
                steered={name: pictured(STEERED, name) for name in names},
            )
        )
    return SteeredImages(prompts=tuple(made), spare={})


def made(steered_images: SteeredImages, *, others: int = 5, block: int = 40, seed: int = 0) -> PairDesign:
    return design_pairs(steered_images, others=others, block=block, practice=0, seed=seed)


def seen_pairs(design: PairDesign, voter: str | None) -> Counter[tuple[str, str]]:
    return Counter(
        (design.items[t.left or ""].condition_for(voter), design.items[t.right or ""].condition_for(voter))
        for t in design.trials
        if t.kind == "trial" and t.user == voter
    )


def test_the_papers_study_asks_each_user_all_pairs_of_conditions_for_each_prompt() -> None:
    design = made(steered_images_of(users=6, prompts=18, generic=2))
    counts = Counter(frozenset(pair) for pair in seen_pairs(design, "u0").elements())
    assert counts[frozenset({"own", "initial"})] == 18
    assert counts[frozenset({"own", "other"})] == 18 * 5
    assert counts[frozenset({"other", "initial"})] == 18 * 5
    assert counts[frozenset({"g0", "g1"})] == 18
    assert sum(counts.values()) == 18 * 26


@settings(max_examples=30, deadline=None)
@given(users=st.integers(0, 5), prompts=st.integers(1, 5), generic=st.integers(0, 2), seed=st.integers(0, 99))
def test_every_pair_of_conditions_comes_once_a_prompt_and_left_is_balanced(
    users: int, prompts: int, generic: int, seed: int
) -> None:
    if users + generic == 0:
        return
    steered_images = steered_images_of(users, prompts, generic)
    design = made(steered_images, others=1, seed=seed)
    for voter in (*steered_images.users, None):
        pairs = seen_pairs(design, voter)
        shown = conditions_of(steered_images.prompts[0], 0, voter, steered_images.users, 1)
        for a, b in combinations(shown, 2):
            assert pairs[a, b] + pairs[b, a] == prompts
            assert abs(pairs[a, b] - pairs[b, a]) <= 1
        assert sum(pairs.values()) == prompts * len(list(combinations(shown, 2)))


@settings(max_examples=30, deadline=None)
@given(users=st.integers(2, 7), others=st.integers(1, 3), index=st.integers(0, 20))
def test_every_users_image_is_met_as_other_equally_often(users: int, others: int, index: int) -> None:
    steered_images = steered_images_of(users, 1)
    met = Counter(
        picture.user
        for voter in steered_images.users
        for picture in conditions_of(steered_images.prompts[0], index, voter, steered_images.users, others)["other"]
    )
    assert set(met.values()) == {min(others, users - 1)}
    assert len(met) == users


def test_blocks_hold_at_most_the_length_that_was_chosen_and_differ_by_one_trial() -> None:
    design = made(steered_images_of(users=3, prompts=7), block=10)
    sizes = Counter(trial.block for trial in design.trials if trial.kind == "trial")
    assert max(sizes.values()) <= 10
    by_user: dict[str | None, list[int]] = {}
    for trial in design.trials:
        if trial.kind == "trial":
            by_user.setdefault(trial.user, []).append(trial.block)
    for blocks in by_user.values():
        counted = Counter(blocks).values()
        assert max(counted) - min(counted) <= 1


def test_the_same_seed_gives_the_same_trials_but_never_the_same_names() -> None:
    def plain(design: PairDesign) -> list[tuple[object, ...]]:
        images = {item_id: item.image for item_id, item in design.items.items()}
        return [
            (t.block, t.prompt_id, images[t.left or ""], images[t.right or ""], t.user, t.kind) for t in design.trials
        ]

    one, two, other = (made(steered_images_of(4, 4), seed=seed) for seed in (3, 3, 4))
    assert plain(one) == plain(two) != plain(other)
    assert not set(one.items) & set(two.items)
    assert not {t.trial_id for t in one.trials} & {t.trial_id for t in two.trials}


def test_pairs_of_identical_images_are_not_asked_but_counted() -> None:
    steered_images = steered_images_of(2, 1, generic=0)
    first = steered_images.prompts[0]
    unmoved = Picture(key=first.initial.key, file=HERE, condition=STEERED, user="u0")
    steered_images = SteeredImages(
        prompts=(
            PromptImages(
                prompt_id="p0", prompt="p", initial=first.initial, generic=(), steered={**first.steered, "u0": unmoved}
            ),
        ),
        spare={},
    )
    design = made(steered_images)
    assert design.left_out["both images are the same: initial and own"] == 1
    assert seen_pairs(design, "u0") == Counter({("other", "own"): 1}) or sum(seen_pairs(design, "u0").values()) == 1


def test_a_study_in_which_nothing_differs_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to compare"):
        made(steered_images_of(2, 1, same=True))


def test_sides_are_balanced_in_every_block() -> None:
    design = made(steered_images_of(users=4, prompts=12, generic=1), others=3, block=20)
    for number in {trial.block for trial in design.trials if trial.kind == "trial"}:
        block = [trial for trial in design.trials if trial.block == number and trial.kind == "trial"]
        pairs = Counter(
            (design.items[t.left or ""].condition_for(t.user), design.items[t.right or ""].condition_for(t.user))
            for t in block
        )
        assert all(abs(pairs[a, b] - pairs[b, a]) <= 1 for a, b in pairs)


def test_with_one_other_every_condition_is_met_equally_often() -> None:
    """An image that keeps coming back would tell what it is."""
    design = made(steered_images_of(users=5, prompts=6, generic=1), others=1)
    shown = Counter(
        design.items[item].condition_for("u0")
        for t in design.trials
        if t.user == "u0"
        for item in (t.left, t.right)
        if item
    )
    assert shown == {"initial": 18, "own": 18, "other": 18, "g0": 18}


def test_no_voter_meets_the_same_two_images_twice_over_passes() -> None:
    steered_images = steered_images_of(users=1, prompts=1, generic=1)
    first = steered_images.prompts[0]
    moved = Picture(key="second pass", file=HERE, condition=STEERED, user="u0")
    second = PromptImages(
        prompt_id="p0", prompt="p", initial=first.initial, generic=first.generic, steered={"u0": moved}
    )
    design = made(SteeredImages(prompts=(first, second), spare={}))
    pairs = Counter(
        frozenset(design.items[item].image for item in (t.left, t.right) if item)
        for t in design.trials
        if t.user == "u0"
    )
    assert set(pairs.values()) == {1}
    assert design.left_out["the voter meets the same two images already"] == 2  # u0's, and anybody's


def test_practice_and_checks_show_images_that_are_compared_nowhere_or_are_not_made() -> None:
    bare = steered_images_of(users=2, prompts=3)
    design = design_pairs(bare, others=1, block=5, practice=3, attention=2, seed=0)
    assert {trial.kind for trial in design.trials} == {"trial"}
    spare = {"prompt 1": [Picture(key=f"s{n}", file=HERE, condition="practice") for n in range(4)]}
    design = design_pairs(
        SteeredImages(prompts=bare.prompts, spare=spare), others=1, block=5, practice=3, attention=2, seed=0
    )
    kinds = Counter(trial.kind for trial in design.trials)
    blocks = max(Counter((t.user, t.block) for t in design.trials if t.kind == "trial")[u, b] for u, b in [("u0", 1)])
    assert kinds["practice"] == 3
    assert kinds["attention"] >= 2 * blocks // 5
    extra = {design.items[i].image for t in design.trials if t.kind != "trial" for i in t.items}
    assert extra <= {f"s{n}" for n in range(4)}


def test_one_persons_proof_has_only_their_pairs_each_with_their_own_image() -> None:
    images = steered_images_of(users=3, prompts=4)

    design = design_pairs(images, others=1, block=40, practice=0, seed=0, only_own_of="u1")

    assert len(design.trials) == 4 * 3  # initial, the generic scorer's, one other's
    for trial in design.trials:
        conditions = [design.items[item].condition_for("u1") for item in (trial.left, trial.right) if item]
        assert conditions.count("own") == 1
        assert trial.user == "u1"
    left = Counter(design.items[str(trial.left)].condition_for("u1") == "own" for trial in design.trials)
    assert abs(left[True] - left[False]) <= 3  # within one of each pair of conditions
