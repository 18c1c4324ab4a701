"""Standard errors for other people and other prompts: against refits, statsmodels and a second implementation."""

import numpy as np
import pytest

from studies.elo.bradley_terry import ELO_PER_LOG_STRENGTH, Fit, Ties, fit_counts, fit_replicates
from studies.elo.comparison_graph import groups_that_join
from studies.elo.diagnostics.side_bias import side_bias
from studies.elo.inference.covariance import Covariance, covariance_of, information_at, rows_of
from studies.elo.inference.intervals import GENERALISATIONS, Sample, Variances, errors_for
from studies.elo.inference.sandwich import jackknife, plain
from studies.elo.pair_counts import PairCounts, members
from studies.elo.votes import Votes
from tests.studies.elo.voters import Population, even_votes


def fitted(votes: Votes, ties: Ties = "half", prior: float = 0.0) -> tuple[Fit, Covariance]:
    people = PairCounts.of(votes, votes.participant, len(votes.participants))
    prompts = PairCounts.of(votes, votes.prompt, len(votes.prompts))
    fit = fit_counts(people.total(), votes.conditions, ties=ties, prior=prior)
    return fit, covariance_of(votes, fit, people, prompts)


def study(participants: int = 12, seed: int = 0, prompts: int = 18, **population) -> Votes:
    return Population(**population).study(participants, np.random.default_rng(seed), prompts)


@pytest.mark.parametrize("ties", ["half", "davidson"])
def test_the_covariance_by_people_and_by_prompts_is_that_of_a_jackknife_with_refits(ties: Ties) -> None:
    votes = study(15, votes_each=400, unequal=True, tie_share=0.2, prompt_spread_elo=30)
    fit, found = fitted(votes, ties)
    for group, groups, matrix in ((votes.participant, 15, found.people), (votes.prompt, 18, found.prompts)):
        counts = PairCounts.of(votes, group, groups)
        strength, log_tie = fit_replicates(counts.total() - counts.by_group(), 5, ties=ties)
        moved = strength - fit.log_strength
        expected = (groups - 1) / groups * moved.T @ moved

        np.testing.assert_allclose(matrix[:5, :5], expected, rtol=0.03, atol=0.01 * np.abs(expected).max())
        if ties == "davidson":
            of_ties = (groups - 1) / groups * ((log_tie - fit.log_tie) ** 2).sum()
            assert matrix[-1, -1] == pytest.approx(of_ties, rel=0.03)


@pytest.mark.parametrize("groups", [5, 40, 400])
def test_an_influence_is_that_of_solving_for_each_group(groups: int) -> None:
    votes = study(1, votes_each=4000)
    group = np.sort(np.random.default_rng(1).integers(0, groups, len(votes)) ** 2 // groups)
    counts = PairCounts.of(votes, group, groups)
    fit = fit_counts(counts.total(), votes.conditions)
    information, rows = information_at(counts.total(), fit), rows_of(counts, fit)
    exact = np.zeros((5, 5))
    for n in range(groups):
        score, own = np.zeros(5), np.zeros((5, 5))
        for row in np.flatnonzero(counts.group == n):
            np.add.at(score, rows.columns[row], rows.score[row])
            np.add.at(own, np.ix_(rows.columns[row], rows.columns[row]), np.outer(*[rows.root[row, 0]] * 2))
        influence = np.linalg.solve(information - own, score)
        exact += (groups - 1) / groups * np.outer(influence, influence)

    found = jackknife(rows, counts.group, groups, information)

    np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-6 * np.abs(exact).max())


def test_the_parts_are_those_of_statsmodels() -> None:
    # GLM(…, Binomial()).fit(cov_type="cluster", use_correction=False) of statsmodels 0.15, errors in Elo against e
    expected = {
        "participant": [13.0837756, 15.7727342, 12.7074613, 14.7451414],
        "prompt": [16.5160743, 16.5002445, 14.3488523, 16.8099515],
        "both": [18.1324905, 16.1010327, 16.3683021, 15.4804494],
    }
    votes = even_votes(40, 12, 1600)
    counts = PairCounts.of(votes, votes.participant, 40)
    fit = fit_counts(counts.total(), votes.conditions)
    information = information_at(counts.total(), fit)
    both = np.unique(votes.participant * 12 + votes.prompt, return_inverse=True)[1]
    np.testing.assert_allclose(fit.elo[:4] - fit.elo[4], [273.016027, 179.239722, 137.790948, 71.7634902], rtol=1e-8)
    for name, group in (("participant", votes.participant), ("prompt", votes.prompt), ("both", both)):
        groups = int(group.max()) + 1
        cells = PairCounts.of(votes, group, groups)
        matrix = (groups - 1) / groups * plain(rows_of(cells, fit), cells.group, groups, information)
        variance = np.diagonal(matrix)[:4] + matrix[4, 4] - 2 * matrix[:4, 4]

        np.testing.assert_allclose(ELO_PER_LOG_STRENGTH * np.sqrt(variance), expected[name], rtol=1e-7)


@pytest.mark.parametrize(
    ("ties", "participants", "prompts", "votes", "error", "freedom"),
    [
        ("half", 6, 18, 900, [24.0506892, 24.6760213, 23.5733877], [5.0, 5.0, 5.0]),
        ("half", 40, 12, 1600, [16.9273199, 17.3125355, 17.5836175], [10.9941154, 10.9941154, 10.9941154]),
        ("half", 15, 1, 400, [21.4079683, 15.6184005, 19.585108], [13.995314, 13.995314, 13.995314]),
        ("half", 9, 4, 333, [67.7072214, 77.1570809, 87.1098875], [2.99989179, 3.38528423, 2.99989179]),
        ("davidson", 6, 18, 900, [28.0058548, 28.8149046, 27.7894597], [5.0, 5.0, 5.0]),
        ("davidson", 40, 12, 1600, [19.7885441, 20.2402212, 20.7648471], [10.9941154, 10.9941154, 10.9941154]),
        ("davidson", 15, 1, 400, [25.1018666, 18.45694, 23.1924022], [13.995314, 13.995314, 13.995314]),
        ("davidson", 9, 4, 333, [73.6537559, 93.2886785, 103.973025], [2.99989179, 3.377875, 2.99989179]),
    ],
)
def test_errors_and_degrees_of_freedom_are_those_of_a_second_implementation(
    ties: Ties, participants: int, prompts: int, votes: int, error: list[float], freedom: list[float]
) -> None:
    _, covariance = fitted(even_votes(participants, prompts, votes), ties)
    found = covariance.of_differences("people+prompts")

    np.testing.assert_allclose(found.error[[0, 4, 9]], error, rtol=1e-5)
    np.testing.assert_allclose(found.freedom[[0, 4, 9]], freedom, rtol=1e-5)


def test_in_a_complete_design_the_test_is_clarks_min_f() -> None:
    people, prompts, cells = 3.0, 2.0, 0.5
    variances = Variances(
        people=np.array([people]), prompts=np.array([prompts]), cells=np.array([cells]), votes=np.array([cells]),
        sample=Sample(people=9.0, prompts=5.0, votes=900),
    )  # fmt: skip
    found = errors_for(variances, "people+prompts")

    assert found.error[0] ** 2 == pytest.approx(people + prompts - cells)
    assert found.freedom[0] == pytest.approx((people + prompts - cells) ** 2 / (people**2 / 8 + prompts**2 / 4))


def test_no_estimate_has_more_degrees_of_freedom_than_all_together() -> None:
    variances = Variances(
        people=np.array([1.0, 1.0]), prompts=np.array([0.1, 30.0]), cells=np.array([0.1, 0.1]),
        votes=np.array([0.1, 0.1]), sample=Sample(people=200.0, prompts=4.0, votes=9000),
    )  # fmt: skip
    alone = Variances(
        people=np.array([1.0]), prompts=np.array([0.1]), cells=np.array([0.1]), votes=np.array([0.1]),
        sample=variances.sample,
    )  # fmt: skip

    assert errors_for(alone, "people+prompts").freedom[0] > 100
    assert (errors_for(variances, "people+prompts").freedom < 4).all()


def test_a_difference_varies_as_its_two_conditions_do_together() -> None:
    fit, covariance = fitted(study(prompt_spread_elo=30))
    first, second = members(5)
    for matrix in (covariance.people, covariance.prompts, covariance.cells, covariance.votes):
        np.testing.assert_allclose(matrix.sum(0), 0, atol=1e-12)
    contrast = np.eye(5)[first] - np.eye(5)[second]
    expected = np.sqrt(np.diagonal(contrast @ covariance.people @ contrast.T)) * ELO_PER_LOG_STRENGTH

    np.testing.assert_allclose(covariance.of_differences("people").error, expected)
    assert fit.elo.shape == covariance.of_conditions("people").error.shape


def test_for_others_errors_are_never_smaller_than_for_fewer_others() -> None:
    for seed in range(20):
        _, covariance = fitted(study(8, seed, prompts=7, prompt_spread_elo=20 * (seed % 3), unequal=True))
        both, people, prompts, _ = (covariance.of_differences(to).error for to in GENERALISATIONS)

        assert (both >= people - 1e-9).all()
        assert (both >= prompts - 1e-9).all()


def test_with_one_participant_nothing_is_said_of_others_but_of_other_prompts() -> None:
    _, covariance = fitted(study(1, votes_each=600))

    for to in ("people+prompts", "people"):
        assert np.isnan(covariance.of_conditions(to).half_width()).all()
        assert np.isnan(covariance.of_differences(to).p_values(np.ones(10))).all()
    for to in ("prompts", "these"):
        assert np.isfinite(covariance.of_conditions(to).half_width()).all()


def test_with_one_prompt_the_errors_are_those_for_other_people() -> None:
    _, covariance = fitted(study(10, prompts=1))
    both, people = (covariance.of_conditions(to) for to in ("people+prompts", "people"))

    np.testing.assert_array_equal(both.half_width(), people.half_width())
    assert np.isnan(covariance.of_conditions("prompts").error).all()


def test_prompts_of_ones_own_count_as_ones_own_taste() -> None:
    votes = study(30, prompts=30)
    votes = Votes(
        participants=votes.participants, prompts=votes.prompts, conditions=votes.conditions,
        participant=votes.participant, prompt=votes.participant, left=votes.left, right=votes.right,
        outcome=votes.outcome, repeat=votes.repeat,
    )  # fmt: skip
    _, covariance = fitted(votes)
    both, people = (covariance.of_conditions(to).error for to in ("people+prompts", "people"))

    assert (both >= people).all()
    np.testing.assert_allclose(both, people, rtol=0.25)


def test_what_one_participant_alone_compared_adds_nothing_to_how_people_differ_on_the_rest() -> None:
    counts = PairCounts(
        3, 4, np.array([0, 1, 2, 3]), np.array([0, 0, 2, 0]), np.array([[5.0, 3, 0], [4, 4, 0], [6, 2, 0], [3, 5, 0]])
    )
    fit = fit_counts(counts.total(), "ABC")
    found = jackknife(rows_of(counts, fit), counts.group, 4, information_at(counts.total(), fit))

    without = PairCounts(2, 3, np.array([0, 1, 2]), np.zeros(3, np.int64), counts.count[[0, 1, 3]])
    alike = fit_counts(without.total(), "AB")
    others = jackknife(rows_of(without, alike), without.group, 3, information_at(without.total(), alike))
    variance, expected = (m[0, 0] + m[1, 1] - 2 * m[0, 1] for m in (found, others))
    assert variance == pytest.approx(expected * (3 / 4) / (2 / 3))  # of A and B as if nobody had seen C


def test_groups_without_which_comparisons_fall_apart_are_found() -> None:
    votes = np.array([[5.0, 3, 0], [4, 4, 0], [6, 2, 0], [3, 5, 0], [1, 1, 0]])
    one = PairCounts(3, 4, np.array([0, 1, 2, 3, 3]), np.array([0, 0, 2, 0, 1]), votes)
    bridged = PairCounts(3, 4, np.array([0, 1, 2, 2, 3]), np.array([0, 0, 1, 2, 0]), votes)

    assert groups_that_join(one) == ()
    assert groups_that_join(bridged) == (2,)
    assert groups_that_join(bridged, prior=0.5) == ()


def test_neither_the_order_of_votes_nor_the_size_of_batches_changes_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    votes = study(30, unequal=True)
    order = np.random.default_rng(1).permutation(len(votes))
    turned = Votes(
        participants=votes.participants, prompts=votes.prompts, conditions=votes.conditions,
        participant=votes.participant[order], prompt=votes.prompt[order], left=votes.left[order],
        right=votes.right[order], outcome=votes.outcome[order], repeat=votes.repeat[order],
    )  # fmt: skip
    expected = fitted(votes)[1].of_conditions("people+prompts").half_width()
    monkeypatch.setattr("studies.elo.inference.sandwich._CHUNK", 40)

    np.testing.assert_allclose(fitted(turned)[1].of_conditions("people+prompts").half_width(), expected, rtol=1e-9)


@pytest.mark.parametrize("shuffled", [False, True])
def test_errors_do_not_depend_on_how_many_votes_are_worked_on_at_once(monkeypatch, shuffled: bool) -> None:
    votes = study(12, votes_each=60, unequal=True, tie_share=0.1)
    rows = np.random.default_rng(3).permutation(len(votes)) if shuffled else np.arange(len(votes))
    votes = votes.part(rows)
    _, whole = fitted(votes)
    side = side_bias(votes, "people+prompts")
    monkeypatch.setattr("studies.elo.inference.sandwich.MOST_ROWS", 97)
    _, in_blocks = fitted(votes)
    again = side_bias(votes, "people+prompts")

    for name in ("people", "prompts", "cells", "votes"):
        np.testing.assert_allclose(getattr(in_blocks, name), getattr(whole, name), rtol=1e-9, atol=1e-12)
    assert in_blocks.cell_count == whole.cell_count == len({*zip(votes.participant, votes.prompt, strict=True)})
    assert side.left_elo is not None
    assert again.left_elo is not None
    assert again.left_elo.ci_high == pytest.approx(side.left_elo.ci_high)
    assert again.left_share.ci_high == pytest.approx(side.left_share.ci_high)
