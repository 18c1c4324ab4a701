import json
import random
from collections.abc import Sequence
from itertools import combinations, permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipelines.records.outcomes import Outcome
from pipelines.reporting import consistency as module
from pipelines.reporting.consistency import consistency
from pipelines.search.state_machine import StopReason
from pipelines.search.trajectory import Trajectory
from tests.histories import best, outcome_of

USERS = [f"u{number}" for number in range(6)]
WORDS = ("warm", "cold", "dim", "bright", "soft", "sharp", "foggy", "grainy")


def test_runs_that_agree_within_users_give_a_small_p() -> None:
    rng = np.random.default_rng(0)
    outcomes = [final(user, run, WORDS[index]) for index, user in enumerate(USERS) for run in (1, 2)]
    taste = {user: rng.normal(size=7) for user in USERS}
    attributes = {str(o.bests[-1].image): taste[o.trajectory.user] + rng.normal(0, 0.01, 7) for o in outcomes}

    found = consistency(outcomes, attributes)

    assert found is not None
    assert found["runs"] == 2
    assert found["prompts"]["within"] == 1.0
    assert found["prompts"]["between"] == 0.0
    for part in ("prompts", "images"):
        assert found[part]["difference"] == pytest.approx(found[part]["within"] - found[part]["between"])
        assert found[part]["difference"] > 0.5
        assert 0 < found[part]["p"] < 0.01


def test_runs_that_disagree_within_users_give_a_large_p() -> None:
    outcomes = [final(user, run, WORDS[(index + run) % 6]) for index, user in enumerate(USERS) for run in (1, 2)]

    found = consistency(outcomes, random_attributes(outcomes, np.random.default_rng(0)))

    assert found is not None
    assert found["prompts"]["difference"] < 0
    assert found["prompts"]["p"] > 0.9


@pytest.mark.slow
def test_p_is_roughly_uniform_when_finals_have_nothing_to_do_with_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PERMUTATIONS", 99)
    values = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        outcomes = [final(user, run, "warm", prompt) for prompt in ("p1", "p2") for user in USERS for run in (1, 2)]
        found = consistency(outcomes, random_attributes(outcomes, rng), seed=seed)
        assert found is not None
        values.append(found["images"]["p"])

    assert stats.kstest(values, "uniform").pvalue > 0.01
    assert 0.02 <= np.mean(np.array(values) <= 0.05) <= 0.09


def test_what_all_users_get_alike_is_no_evidence() -> None:
    outcomes = [final(user, run, "warm") for user in USERS for run in (1, 2)]

    found = consistency(outcomes, {str(o.bests[-1].image): np.ones(7) for o in outcomes})

    assert found is not None
    for part in ("prompts", "images"):
        assert found[part]["difference"] == 0.0
        assert found[part]["p"] == 1.0


def test_the_same_seed_gives_the_same_p() -> None:
    outcomes = [final(user, run, "warm") for user in USERS for run in (1, 2)]
    attributes = random_attributes(outcomes, np.random.default_rng(1))

    assert consistency(outcomes, attributes, seed=3) == consistency(outcomes, attributes, seed=3)


def test_prompts_agree_by_the_words_that_were_added_whatever_their_case_and_commas() -> None:
    outcomes = [
        final("u1", 1, "warm, very soft"),
        final("u1", 2, "Soft, foggy"),
        final("u2", 1, "sharp"),
        final("u2", 2, "sharp, a cat"),
    ]

    found = consistency(outcomes, random_attributes(outcomes, np.random.default_rng(0)))

    assert found is not None
    assert found["prompts"]["within"] == pytest.approx((1 / 4 + 1) / 2)
    assert found["prompts"]["between"] == 0.0


def test_finals_of_one_run_are_not_compared_with_each_other() -> None:
    outcomes = [final(user, run, WORDS[run]) for user in ("u1", "u2") for run in (1, 2)]

    found = consistency(outcomes, random_attributes(outcomes, np.random.default_rng(0)))

    assert found is not None
    assert (found["prompts"]["within"], found["prompts"]["between"]) == (0.0, 0.0)


def test_finals_of_different_prompts_and_scorers_are_never_compared() -> None:
    outcomes = [
        final(user, run, f"{prompt}{scorer}{user}", prompt, scorer)
        for prompt in ("p1", "p2")
        for scorer in ("pamela", "laion")
        for user in ("u1", "u2")
        for run in (1, 2)
    ]

    found = consistency(outcomes, random_attributes(outcomes, np.random.default_rng(0)))

    assert found is not None
    assert (found["prompts"]["within"], found["prompts"]["between"]) == (1.0, 0.0)


@pytest.mark.parametrize(
    "who",
    [
        [],
        [("u1", 1), ("u2", 1)],
        [("u1", 1), ("u1", 2)],
        [("u1", 1), ("u2", 2)],
        [("*", 1), ("*", 2), ("*", 3)],
    ],
)
def test_there_is_no_answer_where_nothing_can_be_compared(who: Sequence[tuple[str, int]]) -> None:
    outcomes = [final(user, run, "warm") for user, run in who]

    assert consistency(outcomes, random_attributes(outcomes, np.random.default_rng(0))) is None


def test_trajectories_that_failed_do_not_count() -> None:
    good = [final(user, run, "warm") for user in ("u1", "u2") for run in (1, 2)]
    lost = outcome_of(good[0].trajectory, stop_reason=StopReason.FAILED, failure="out of memory")
    attributes = random_attributes(good, np.random.default_rng(0))

    assert consistency([*good, lost], attributes) == consistency(good, attributes)
    assert consistency([lost, lost], attributes) is None


def test_a_user_with_one_run_still_counts_between_users_and_the_answer_is_plain_json() -> None:
    outcomes = [final("u1", 1, "warm"), final("u1", 2, "warm"), final("u2", 2, "cold")]

    found = consistency(outcomes, random_attributes(outcomes, np.random.default_rng(0)))

    assert found is not None
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["prompts"]["difference"] == 1.0


FINALS = st.dictionaries(
    st.tuples(st.sampled_from(["u1", "u2", "u3"]), st.sampled_from([1, 2, 3]), st.sampled_from(["p1", "p2"])),
    st.tuples(st.sampled_from(["", "warm", "Warm, dim", "dim, soft", "a cat"]), st.integers(0, 3)),
    max_size=9,
)


@given(FINALS, st.randoms())
def test_agreement_and_exact_p_are_those_of_all_pairs_in_all_shuffles(
    finals: dict[tuple[str, int, str], tuple[str, int]], chance: random.Random
) -> None:
    """By brute force; images of one number look alike."""
    outcomes = [final(user, run, added, prompt) for (user, run, prompt), (added, _) in finals.items()]
    looks = np.random.default_rng(0).normal(size=(4, 7))
    attributes = {str(o.bests[-1].image): looks[look] for o, (_, look) in zip(outcomes, finals.values(), strict=True)}
    chance.shuffle(outcomes)

    found = consistency(outcomes, attributes)

    expected = by_brute_force(outcomes, attributes)
    if found is None or not found["exact"]:
        assert (found is None) == (expected is None)
        return
    assert expected is not None
    for part, (within, between, p) in expected.items():
        assert found[part]["within"] == pytest.approx(within, abs=1e-9)
        assert found[part]["between"] == pytest.approx(between, abs=1e-9)
        assert found[part]["p"] == pytest.approx(p)


def test_drawn_shuffles_give_about_the_exact_p(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = [final(user, run, WORDS[(n + run) % 3]) for n, user in enumerate(USERS[:4]) for run in (1, 2)]
    attributes = random_attributes(outcomes, np.random.default_rng(2))
    exact = consistency(outcomes, attributes)
    monkeypatch.setattr(module, "PERMUTATIONS", 575)  # one less than there are

    drawn = consistency(outcomes, attributes)

    assert exact is not None and drawn is not None
    assert (exact["exact"], exact["shuffles"]) == (True, 576)
    assert (drawn["exact"], drawn["shuffles"]) == (False, 575)
    for part in ("prompts", "images"):
        assert drawn[part]["p"] == pytest.approx(exact[part]["p"], abs=0.1)
        assert drawn[part] == {**exact[part], "p": drawn[part]["p"]}


def test_of_very_many_users_some_are_drawn_and_the_answer_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_USERS", 4)
    outcomes = [final(user, run, WORDS[n]) for n, user in enumerate(USERS) for run in (1, 2)]

    found = consistency(outcomes, random_attributes(outcomes, np.random.default_rng(0)))

    assert found is not None
    assert (found["users"], found["of_users"]) == (4, 6)
    assert (found["prompts"]["within"], found["prompts"]["between"]) == (1.0, 0.0)


def by_brute_force(
    outcomes: Sequence[Outcome], attributes: dict[str, np.ndarray]
) -> dict[str, tuple[float, float, float]] | None:
    """Within, between and p, from all pairs of finals under every shuffle of users within each prompt and run."""
    where = [(o.trajectory.prompt_id, o.trajectory.run) for o in outcomes]
    users = [o.trajectory.user for o in outcomes]

    def comparable(prompt: str) -> bool:
        of_prompt = [user for user, (other, _) in zip(users, where, strict=True) if other == prompt]
        return 1 < len(set(of_prompt)) < len(of_prompt)

    chosen = [n for n, (prompt, _) in enumerate(where) if comparable(prompt)]
    if not chosen:
        return None
    spread = np.std([attributes[str(outcomes[n].bests[-1].image)] for n in chosen], axis=0) + 1e-9
    looks = {n: attributes[str(outcomes[n].bests[-1].image)] / spread for n in chosen}
    added = {n: set(outcomes[n].bests[-1].prompt.casefold().replace(",", " ").split()) - {"a", "cat"} for n in chosen}
    pairs = [(m, n) for m, n in combinations(chosen, 2) if where[m][0] == where[n][0] and where[m][1] != where[n][1]]
    jaccard = [len(added[m] & added[n]) / len(added[m] | added[n]) if added[m] | added[n] else 1.0 for m, n in pairs]
    alike = [-float(np.linalg.norm(looks[m] - looks[n])) for m, n in pairs]
    blocks = [[n for n in chosen if where[n] == block] for block in sorted({where[n] for n in chosen})]

    def means(of: dict[int, str], values: list[float]) -> tuple[float, float]:
        same = [of[m] == of[n] for m, n in pairs]
        return float(np.mean(np.array(values)[same])), float(np.mean(np.array(values)[np.invert(same)]))

    expected = {}
    for part, values in (("prompts", jaccard), ("images", alike)):
        within, between = means({n: users[n] for n in chosen}, values)
        reached = []
        for shuffle in product(*(permutations(block) for block in blocks)):
            moved = {
                n: users[m] for block, to in zip(blocks, shuffle, strict=True) for n, m in zip(block, to, strict=True)
            }
            shuffled = means(moved, values)
            reached.append(shuffled[0] - shuffled[1] >= within - between - 1e-12)
        expected[part] = within, between, float(np.mean(reached))
    return expected


def final(user: str, run: int, added: str, prompt_id: str = "p1", scorer: str = "pamela") -> Outcome:
    """A trajectory that ended with some words added, and an image of its own."""
    image = f"{prompt_id}/{scorer}/{run}/{user}"
    return outcome_of(
        Trajectory(
            user=user,
            user_ids=(user,),
            prompt_id=prompt_id,
            base_prompt="a cat",
            scorer=scorer,
            run=run,
            image_seed=1,
            seed=0,
        ),
        best("a cat", "base", 0.1),
        best(f"a cat, {added}", image, 0.9),
    )


def random_attributes(outcomes: Sequence[Outcome], rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {str(o.bests[-1].image): rng.normal(size=7) for o in outcomes}
