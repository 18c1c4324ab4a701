"""Intervals: against a jackknife and other bootstraps, and how often they hold the truth."""

import numpy as np
import pytest

from studies.elo.bradley_terry import Fit, fit_counts, fit_replicates, to_elo
from studies.elo.inference.bootstrap import Replicates, Resampling, bootstrap
from studies.elo.inference.cluster_covariance import cluster_covariance
from studies.elo.inference.clustered import clustered_logistic, clustered_share, t_quantile
from studies.elo.inference.power import plan_study, power_of
from studies.elo.inference.ranks import critical_value, holm, rank_sets, wald_p_values
from studies.elo.pair_counts import PairCounts, members
from studies.elo.votes import Votes
from tests.studies.elo.voters import Population


def counted(votes: Votes) -> tuple[PairCounts, Fit]:
    counts = PairCounts.of(votes, votes.participant, len(votes.participants))
    return counts, fit_counts(counts.total(), votes.conditions)


def study(participants: int = 12, seed: int = 0, **population) -> Votes:
    return Population(**population).study(participants, np.random.default_rng(seed))


@pytest.mark.parametrize("ties", ["half", "davidson"])
def test_the_robust_covariance_is_that_of_a_jackknife_over_participants(ties) -> None:
    votes = study(15, votes_each=400, unequal=True, tie_share=0.2)
    counts = PairCounts.of(votes, votes.participant, 15)
    fit = fit_counts(counts.total(), votes.conditions, ties=ties)
    without = counts.total() - counts.by_group()
    strength, log_tie = fit_replicates(without, 5, ties=ties)
    jackknife = 14 / 15 * (strength - fit.log_strength).T @ (strength - fit.log_strength)

    found = cluster_covariance(counts, fit)

    assert found.correction == "CR3"
    np.testing.assert_allclose(found.matrix, jackknife, rtol=0.03, atol=0.01 * np.abs(jackknife).max())
    if ties == "davidson":
        assert found.log_tie_variance == pytest.approx(14 / 15 * ((log_tie - fit.log_tie) ** 2).sum(), rel=0.03)


def test_both_corrections_are_the_same_where_everybody_votes_alike_often() -> None:
    base = PairCounts.of(study(1, votes_each=500), np.zeros(500, np.int64), 1).count
    rng = np.random.default_rng(0)
    counts = PairCounts(5, 8, np.repeat(np.arange(8), 10), np.tile(np.arange(10), 8), np.tile(base, (8, 1)))
    wins = rng.binomial(counts.count.sum(1).astype(int), 0.4)
    votes = counts.count.sum(1)
    counts = PairCounts(5, 8, counts.group, counts.pair, np.stack([wins, votes - wins, 0 * votes], 1))
    fit = fit_counts(counts.total(), "ABCDE")

    plain, adjusted = (cluster_covariance(counts, fit, correction=c).matrix for c in ("CR1", "CR3"))

    np.testing.assert_allclose(adjusted, plain, rtol=1e-9)


def test_a_difference_varies_as_its_two_conditions_do_together() -> None:
    counts, fit = counted(study())
    covariance = cluster_covariance(counts, fit)
    first, second = members(5)
    contrast = np.zeros((10, 5))
    contrast[np.arange(10), first], contrast[np.arange(10), second] = 1, -1

    expected = np.sqrt(np.diagonal(contrast @ covariance.matrix @ contrast.T))

    np.testing.assert_allclose(covariance.standard_error_of_differences, expected)
    np.testing.assert_allclose(covariance.matrix.sum(0), 0, atol=1e-12)


def test_a_comparison_that_one_participant_alone_made_needs_the_plain_correction() -> None:
    counts = PairCounts(3, 3, np.array([0, 1, 2]), np.array([0, 0, 2]), np.array([[5.0, 3, 0], [4, 4, 0], [6, 2, 0]]))
    covariance = cluster_covariance(counts, fit_counts(counts.total(), "ABC"))

    assert covariance.correction == "CR1"
    assert np.isfinite(covariance.matrix).all()


def test_one_participant_has_no_interval_by_participant() -> None:
    counts, fit = counted(study(1))
    covariance = cluster_covariance(counts, fit)

    assert np.isnan(covariance.matrix).all()
    assert np.isnan(wald_p_values(fit, covariance)).all()
    assert {(r.best, r.worst) for r in rank_sets(tuple("ABCDE"), fit, covariance)} == {(1, 5)}


@pytest.mark.parametrize("resampling", ["iid", "participant", "two-way"])
def test_replicates_are_those_of_votes_drawn_one_by_one(resampling: Resampling) -> None:
    votes = study(10, votes_each=60, tie_share=0.1)
    _, fit = counted(votes)
    rng, spread = np.random.default_rng(5), []
    for _ in range(400):
        if resampling == "iid":
            weight = np.bincount(rng.integers(0, len(votes), len(votes)), minlength=len(votes))
        else:
            weight = np.bincount(rng.integers(0, 10, 10), minlength=10)[votes.participant]
        if resampling == "two-way":
            weight = weight * np.bincount(rng.integers(0, 18, 18), minlength=18)[votes.prompt]
        drawn = PairCounts.of(votes, np.arange(len(votes)), len(votes))
        total = np.zeros((10, 3))
        np.add.at(total, drawn.pair, drawn.count * weight[:, None])
        spread.append(to_elo(fit_replicates(total[None], 5)[0])[0])

    found = bootstrap(votes, fit, resampling, replicates=4000)

    np.testing.assert_allclose(found.elo.std(0), np.std(spread, 0), rtol=0.17)
    assert (np.abs(found.elo.mean(0) - np.mean(spread, 0)) < 4 * np.std(spread, 0) / np.sqrt(400)).all()


def test_a_bootstrap_is_seeded_and_does_not_depend_on_the_order_of_votes() -> None:
    votes = study()
    order = np.random.default_rng(1).permutation(len(votes))
    turned = Votes(
        participants=votes.participants, prompts=votes.prompts, conditions=votes.conditions,
        participant=votes.participant[order], prompt=votes.prompt[order], left=votes.left[order],
        right=votes.right[order], outcome=votes.outcome[order], repeat=votes.repeat[order],
    )  # fmt: skip
    _, fit = counted(votes)
    for resampling in ("iid", "participant", "two-way"):
        first, again, other = (
            bootstrap(v, fit, resampling, replicates=50, seed=s).elo for v, s in ((votes, 1), (turned, 1), (votes, 2))
        )
        np.testing.assert_allclose(first, again, atol=1e-6)
        assert not np.allclose(first, other)


def test_replicates_without_a_fit_widen_the_interval_and_are_never_left_out() -> None:
    values = np.arange(1000.0)[:, None]
    few, many = values.copy(), values.copy()
    few[500:510], many[500:550] = np.nan, np.nan

    whole, widened, opened = (Replicates(elo=v).interval(v) for v in (values, few, many))

    assert widened[0][0] < whole[0][0]
    assert widened[1][0] > whole[1][0]
    assert (opened[0][0], opened[1][0]) == (-np.inf, np.inf)
    assert Replicates(elo=many).without_fit == 50


def test_fewer_than_two_replicates_are_refused() -> None:
    votes = study(3)
    with pytest.raises(ValueError, match="replicates must be 2 or more, got 1"):
        bootstrap(votes, counted(votes)[1], "iid", replicates=1)


def test_holm_is_that_of_the_textbook() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


def test_the_critical_value_of_one_pair_is_that_of_t() -> None:
    votes = Population(elo=(1020.0, 980.0)).study(12, np.random.default_rng(0))
    covariance = cluster_covariance(*counted(votes))

    assert critical_value(covariance) == pytest.approx(t_quantile(12), rel=0.03)


def test_a_share_has_the_interval_of_its_clusters_means_where_they_are_of_one_size() -> None:
    hits = np.random.default_rng(2).random((9, 40)) < np.linspace(0.3, 0.7, 9)[:, None]
    found = clustered_share(np.repeat(np.arange(9), 40), hits.ravel().astype(float))
    half = t_quantile(9) * hits.mean(1).std(ddof=1) / 3

    assert found.value == pytest.approx(hits.mean())
    assert found.ci_high - found.value == pytest.approx(half)


def test_a_logistic_regression_without_a_finite_maximum_gives_none() -> None:
    x = np.array([-1.0, -2, 1, 2])

    assert clustered_logistic(x[:, None], np.arange(4), (x > 0).astype(float)) is None
    assert clustered_logistic(np.stack([x, x], 1), np.arange(4), np.array([0.0, 1, 0, 1])) is None


@pytest.mark.slow
@pytest.mark.parametrize("unequal", [False, True])
@pytest.mark.parametrize("participants", [20, 60, 200])
def test_95_percent_intervals_hold_the_truth_in_93_to_97_of_100_studies(participants: int, unequal: bool) -> None:
    population = Population(unequal=unequal)
    truth, rng, studies = population.pooled_strength(), np.random.default_rng(participants), 2000
    held = []
    for _ in range(studies):
        counts, fit = counted(population.study(participants, rng))
        half = t_quantile(participants) * cluster_covariance(counts, fit).standard_error
        held.append(np.abs(fit.log_strength - truth) <= half)

    assert 0.93 <= np.mean(held) <= 0.97
    assert (np.abs(np.mean(held, 0) - 0.95) <= 0.02 + 2 * np.sqrt(0.05 * 0.95 / studies)).all()


def test_the_plan_is_that_of_the_normal_approximation_where_votes_are_independent() -> None:
    two, five = (plan_study(27, conditions=c, votes_each=1, spread_elo=0) for c in (2, 5))

    assert two.independent_votes == pytest.approx(1300, rel=0.01)
    assert five.independent_votes == pytest.approx(5200, rel=0.01)
    assert two.participants == pytest.approx(two.independent_votes, rel=0.005)
    assert two.design_effect == 1


@pytest.mark.slow
@pytest.mark.parametrize("conditions, votes_each", [(2, 60), (5, 100)])
def test_a_study_as_planned_finds_the_difference_as_often_as_promised(conditions: int, votes_each: int) -> None:
    plan = plan_study(40, conditions=conditions, votes_each=votes_each)
    population = Population(elo=(1020.0, 980.0, *[1000.0] * (conditions - 2)), votes_each=votes_each)
    rng, found = np.random.default_rng(9), []
    for _ in range(1000):
        counts, fit = counted(population.study(plan.participants, rng))
        found.append(wald_p_values(fit, cluster_covariance(counts, fit))[0] < 0.05)

    assert np.mean(found) == pytest.approx(0.8, abs=0.045)


def test_more_people_never_have_less_power_and_one_fewer_than_planned_is_too_few() -> None:
    plan = plan_study(27, conditions=5, votes_each=100)

    def power(participants: int) -> float:
        return power_of(27, participants=participants, conditions=5, votes_each=100)

    assert power(plan.participants) >= 0.8 > power(plan.participants - 1)
    assert plan.votes == 100 * plan.participants
    assert np.all(np.diff([power(n) for n in (2, 5, 20, 100, 1000, 20_000)]) > -1e-12)


@pytest.mark.parametrize(
    "wrong",
    [{"difference_elo": 0}, {"conditions": 1}, {"votes_each": 0}, {"spread_elo": -1}, {"power": 1.0}],
)
def test_a_plan_that_makes_no_sense_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="got"):
        plan_study(**({"difference_elo": 27.0, "conditions": 5, "votes_each": 100} | wrong))
