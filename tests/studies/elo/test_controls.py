"""Covariates that are held equal: against statsmodels, against the truth, and what cannot be told apart."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

import studies
from studies.elo.analysis import Options, analyse
from studies.elo.bradley_terry import ELO_PER_LOG_STRENGTH
from studies.elo.controls import fit_controlled
from studies.elo.inference.covariance import controlled_covariance_of
from studies.elo.pair_counts import PairCounts
from studies.elo.reporting.records import as_dict
from studies.elo.votes import LEFT, RIGHT, TIE, Votes
from tests.studies.elo.test_analysis import as_table, steer_study
from tests.studies.elo.voters import Population

EFFECT_ELO = (60.0, -25.0)
"""Of one standard deviation of length, and of brightness."""


def study(participants: int = 30, *, effects: tuple[float, float] = EFFECT_ELO, seed: int = 0, **population) -> Votes:
    """Votes of which length and brightness decide, too; the better conditions are longer."""
    rng = np.random.default_rng(seed)
    votes = Population(**population).study(participants, rng)
    length = rng.normal(0, 100, len(votes)) + 40 * (votes.right - votes.left)
    controls = np.stack([length, rng.normal(0, 0.2, len(votes))], 1)
    elo = np.array([1065.0, 1038, 1016, 959, 922])
    odds = (elo[votes.left] - elo[votes.right] + controls / controls.std(0) @ effects) / ELO_PER_LOG_STRENGTH
    won = np.where(rng.random(len(votes)) < 1 / (1 + np.exp(-odds)), LEFT, RIGHT)
    outcome = np.where(rng.random(len(votes)) < 0.05, TIE, won)
    return replace(votes, outcome=outcome, controls=controls, control_names=("length", "brightness"))


def counts_of(votes: Votes) -> tuple[PairCounts, PairCounts]:
    people = PairCounts.of(votes, votes.participant, len(votes.participants))
    return people, PairCounts.of(votes, votes.prompt, len(votes.prompts))


def test_the_fit_and_its_errors_are_those_of_statsmodels() -> None:
    import statsmodels.api as sm

    votes = study(20)
    people, prompts = counts_of(votes)
    found = fit_controlled(votes, people)
    covariance = controlled_covariance_of(votes, found, people, prompts)
    assert votes.controls is not None
    sides = np.eye(5)[votes.left] - np.eye(5)[votes.right]
    design = np.concatenate([sides[:, 1:], votes.controls / votes.controls.std(0)], 1)
    model = sm.GLM(np.array([1, 0, 0.5])[votes.outcome], design, sm.families.Binomial())
    cell = votes.participant * 18 + votes.prompt
    plain = model.fit(cov_type="cluster", cov_kwds={"groups": cell, "use_correction": False})
    by_people = model.fit(cov_type="cluster", cov_kwds={"groups": votes.participant})

    strength = np.concatenate([[0], plain.params[:4]])
    np.testing.assert_allclose(found.fit.log_strength, strength - strength.mean(), atol=1e-8)
    np.testing.assert_allclose(found.coefficient, plain.params[4:], atol=1e-8)
    cells = len(np.unique(cell))
    np.testing.assert_allclose(np.diagonal(covariance.cells)[5:], cells / (cells - 1) * plain.bse[4:] ** 2, rtol=1e-6)
    errors = np.sqrt(np.diagonal(covariance.people)[5:])
    np.testing.assert_allclose(errors, by_people.bse[4:], rtol=0.08)  # CR3 against CR1


def test_what_length_did_is_told_from_what_conditions_did() -> None:
    votes = study(60, votes_each=150)
    report = analyse(votes)
    alone = analyse(replace(votes, controls=None, control_names=()))
    held = {c.condition: c for c in report.conditions}

    for name, truth in zip(("c0", "c4"), (1065, 922), strict=True):
        assert held[name].ci_low < truth < held[name].ci_high
    assert {c.condition: c.elo for c in alone.conditions}["c0"] > held["c0"].ci_high
    for effect, truth in zip(report.controls, EFFECT_ELO, strict=True):
        assert effect.ci_low < truth < effect.ci_high
        assert effect.p < 0.01
    assert report.by_participant is None
    assert alone.controls == ()


def test_covariates_that_do_nothing_change_nothing_and_a_prior_draws_as_without_them() -> None:
    votes = study(30, effects=(0.0, 0.0))
    votes = replace(votes, controls=np.random.default_rng(1).normal(size=(len(votes), 2)))
    plain = replace(votes, controls=None, control_names=())

    for prior in (0.0, 20.0):
        held, without = (analyse(own, Options(prior=prior)).conditions for own in (votes, plain))
        assert [c.elo for c in held] == pytest.approx([c.elo for c in without], abs=1.0)


def test_intervals_of_a_covariate_hold_the_truth() -> None:
    held = []
    for seed in range(40):
        report = analyse(study(20, seed=seed))
        held += [e.ci_low <= truth <= e.ci_high for e, truth in zip(report.controls, EFFECT_ELO, strict=True)]

    assert np.mean(held) >= 0.88  # of 95%, with 80 of them


def test_what_cannot_be_told_apart_is_refused() -> None:
    votes = study(10)
    assert votes.controls is not None
    length, strength = votes.controls[:, 0], np.array([5.0, 3, 2, 1, 0])

    def with_controls(*columns: np.ndarray, **options) -> None:
        names = ("length", "brightness")[: len(columns)]
        analyse(replace(votes, controls=np.stack(columns, 1), control_names=names), Options(**options))

    with pytest.raises(ValueError, match="--control length: is decided by which conditions are compared, so"):
        with_controls(strength[votes.left] - strength[votes.right])
    with pytest.raises(ValueError, match=r"--control brightness: is decided by .* compared and by length, so"):
        with_controls(length, 2 * length + strength[votes.left] - strength[votes.right])
    with pytest.raises(ValueError, match="--control length: differs alike in every vote"):
        with_controls(np.full(len(votes), 3.0))
    with pytest.raises(ValueError, match="--control length: decides every vote"):
        with_controls(np.where(votes.outcome == LEFT, 1.0, np.where(votes.outcome == RIGHT, -1.0, 0.0)))
    with pytest.raises(ValueError, match="leave out --ties davidson"):
        with_controls(length, ties="davidson")


def test_the_command_holds_columns_of_a_file_equal_and_reports_them(tmp_path: Path) -> None:
    votes = study(12)
    assert votes.controls is not None
    table = as_table(votes).rename_columns(["participant", "prompt_id", "left", "right", "winner"])
    for n, name in enumerate(votes.control_names):
        table = table.append_column(f"{name}_left", pa.array(100 + votes.controls[:, n]))
        table = table.append_column(f"{name}_right", pa.array(np.full(len(votes), 100.0)))
    pyarrow.csv.write_csv(table, tmp_path / "votes.csv")
    done = steer_study("elo", tmp_path / "votes.csv", "--control", "length,brightness", "--out", tmp_path / "out")
    report = studies.fit(table, control=("length", "brightness"))

    assert done.returncode == 0, done.stderr
    assert "Held equal: length, of which one standard deviation (1" in done.stdout
    assert "What is held equal" in (tmp_path / "out" / "report.html").read_text("utf-8")
    found, expected = (as_dict(own)["controls"] for own in (report, analyse(votes)))
    assert [list(effect) for effect in found] == [["control", "sd", "elo", "ci_low", "ci_high", "p"]] * 2
    assert [effect["ci_low"] for effect in found] == pytest.approx([effect["ci_low"] for effect in expected])
    missing = steer_study("elo", tmp_path / "votes.csv", "--control", "size")
    assert missing.returncode == 2
    assert "--control size: no columns size_left and size_right; there are participant" in missing.stderr


def test_a_covariate_without_a_value_is_refused_with_its_row() -> None:
    rows = [{"left": "a", "right": "b", "winner": "a", "left_length": 3, "right_length": n} for n in (1, None, 2)]

    with pytest.raises(ValueError, match="row 2: length is missing"):
        studies.fit(rows, control=["length"])
    with pytest.raises(ValueError, match="--control needs a row a vote"):
        studies.fit([{"ranking": [0, 1], "length_left": 1, "length_right": 2}], control=["length"])
