import numpy as np
import pytest

from predictor.simulation.attributes import ATTRIBUTES
from predictor.simulation.raters import Rater
from predictor.simulation.verdict import Steered, Verdict, judge

COUNT = len(ATTRIBUTES)
TASTE = {"ann": 10.0, "bob": 20.0, "eve": 30.0}


def rater(name: str) -> Rater:
    """Likes one value of every attribute; at a distance of d the liking is exp(-d^2 / 50)."""
    flat = np.ones(COUNT)
    return Rater(
        user_id=name,
        age=30,
        gender="female",
        nationality="German",
        ideal=TASTE[name] * flat,
        tolerance=5 * flat,
        weight=flat / COUNT,
        bias=5.0,
        noise=3.0,
    )


RATERS = {name: rater(name) for name in TASTE}
ATTRIBUTES_OF = {str(value): np.full(COUNT, float(value)) for value in range(0, 61)}


def liked(distance: float) -> float:
    return float(np.exp(-(distance**2) / 50))


def steered(user: str, final: int, *, initial: int = 40, prompt: str = "p1", run: int = 0) -> Steered:
    return Steered(user=user, prompt_id=prompt, run=run, initial=str(initial), final=str(final))


def verdict_of(*cases: Steered, raters: dict[str, Rater] = RATERS, seed: int = 0) -> Verdict:
    verdict = judge(cases, ATTRIBUTES_OF, raters, seed=seed)
    assert verdict is not None
    return verdict


def test_a_case_done_by_hand() -> None:
    verdict = verdict_of(steered("ann", 10), steered("bob", 20), steered("eve", 30))
    means = {name: interval.value for name, interval in verdict.means.items()}
    assert means["own"] == pytest.approx(1)
    assert means["other"] == pytest.approx(np.mean([liked(10) + liked(20), 2 * liked(10), liked(20) + liked(10)]) / 2)
    assert means["initial"] == pytest.approx(np.mean([liked(30), liked(20), liked(10)]))
    assert means["own"] > means["other"] > means["initial"]
    assert (verdict.raters, verdict.cases) == (3, 3)


def test_differences_are_of_the_means_and_paired() -> None:
    verdict = verdict_of(steered("ann", 12), steered("bob", 21), steered("eve", 28))
    for name, difference in verdict.differences.items():
        one, other = name.split(" - ")
        assert difference.value == pytest.approx(verdict.means[one].value - verdict.means[other].value)
        assert difference.ci_low <= difference.value <= difference.ci_high
    assert list(verdict.differences) == ["own - other", "own - initial", "other - initial"]


def test_the_same_shift_for_everybody_leaves_no_doubt_about_the_difference() -> None:
    cases = [steered(name, int(taste), initial=int(taste) + 5) for name, taste in TASTE.items()]
    difference = verdict_of(*cases).differences["own - initial"]
    assert (difference.ci_low, difference.ci_high) == pytest.approx((difference.value, difference.value))


def test_intervals_are_over_raters_and_not_over_images() -> None:
    once = [steered("ann", 11), steered("bob", 24), steered("eve", 33)]
    often = [
        Steered(user=case.user, prompt_id=f"p{number}", run=number % 3, initial=case.initial, final=case.final)
        for case in once
        for number in range(50)
    ]
    few, many = verdict_of(*once), verdict_of(*often)
    assert many.cases == 150
    assert many.raters == 3
    for name, interval in few.means.items():
        assert many.means[name].as_dict() == pytest.approx(interval.as_dict())


def test_a_rater_with_many_prompts_counts_as_much_as_one_with_few() -> None:
    cases = [steered("ann", 10, prompt=f"p{number}") for number in range(9)]
    cases += [steered("bob", 25, prompt=f"p{number}") for number in range(9)]
    cases.append(steered("eve", 30, prompt="p0"))
    assert verdict_of(*cases).means["own"].value == pytest.approx((1 + liked(5) + 1) / 3)


def test_others_are_those_of_the_same_prompt_and_run() -> None:
    cases = [
        steered("ann", 10, prompt="p1"),
        steered("bob", 12, prompt="p1"),
        steered("ann", 10, prompt="p2"),
        steered("bob", 14, prompt="p2"),
        steered("ann", 10, run=1),
        steered("bob", 16, run=1),
    ]
    other = ((liked(2) + liked(4) + liked(6)) / 3 + liked(10)) / 2
    assert verdict_of(*cases).means["other"].value == pytest.approx(other)


def test_users_without_a_known_taste_are_left_out_also_as_others() -> None:
    known = {name: RATERS[name] for name in ("ann", "bob")}
    with_unknown = verdict_of(steered("ann", 10), steered("bob", 20), steered("eve", 10), raters=known)
    assert with_unknown == verdict_of(steered("ann", 10), steered("bob", 20))
    assert with_unknown.raters == 2


@pytest.mark.parametrize(
    "cases",
    [
        [],
        [steered("ann", 10)],
        [steered("ann", 10), steered("ann", 11, prompt="p2")],
        [steered("ann", 10), steered("zoe", 20)],  # nobody knows what zoe likes
        [steered("ann", 10, prompt="p1"), steered("bob", 20, prompt="p2")],  # nothing to compare
    ],
    ids=["nobody", "one rater", "one rater twice", "one rater known", "no prompt shared"],
)
def test_without_another_rater_to_compare_with_there_is_no_verdict(cases: list[Steered]) -> None:
    assert judge(cases, ATTRIBUTES_OF, RATERS) is None


def test_bias_and_noise_do_not_enter() -> None:
    """Ann would give 105 of 100 to what she likes best; the verdict is about liking."""
    assert verdict_of(steered("ann", 10), steered("bob", 20)).means["own"].value == pytest.approx(1)


def test_the_seed_decides_the_interval_and_nothing_else() -> None:
    cases = [steered("ann", 11), steered("bob", 24), steered("eve", 38)]
    one, same, other = verdict_of(*cases, seed=1), verdict_of(*cases, seed=1), verdict_of(*cases, seed=2)
    assert one == same
    assert one.means["own"].value == other.means["own"].value


def test_a_verdict_can_be_written_down() -> None:
    record = verdict_of(steered("ann", 10), steered("bob", 20)).as_dict()
    assert (record["n_raters"], record["n_cases"], record["unit"]) == (2, 2, "true liking, 0 to 1")
    assert set(record) == {"unit", "n_raters", "n_cases", "means", "differences"}
