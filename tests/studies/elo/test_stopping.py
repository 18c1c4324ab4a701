"""When a study may be stopped: on width, or at looks that were fixed before; and what is said of one that runs."""

import json
import math
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
from scipy.special import ndtr

import studies
from predictor.simulation.raters import read_truth
from studies.elo.analysis import Options, analyse
from studies.elo.inference.stopping import best_claim, pocock_level
from studies.elo.reporting.records import as_dict
from studies.elo.reporting.text import stopping_of
from studies.simulation.rehearsal import rehearse, truth_of
from studies.store.store import Store
from studies.study import Study, read_study
from tests.studies.conftest import Build
from tests.studies.elo.test_analysis import as_table, steer_study, study


@pytest.mark.parametrize(("looks", "bound"), [(1, 1.960), (2, 2.178), (3, 2.289), (4, 2.361), (5, 2.413), (10, 2.555)])
def test_the_level_of_planned_looks_is_that_of_pococks_table(looks: int, bound: float) -> None:
    assert pocock_level(looks) == pytest.approx(2 * ndtr(-bound), rel=0.003)


def test_planned_looks_keep_the_chance_of_any_crossing() -> None:
    walks = np.random.default_rng(0).normal(size=(40_000, 7)).cumsum(1) / np.sqrt(np.arange(1, 8))
    p = 2 * ndtr(-np.abs(walks))

    assert (p < pocock_level(7)).any(1).mean() == pytest.approx(0.05, abs=0.004)
    assert (p < 0.05).any(1).mean() > 0.15
    for wrong in (0, 101):
        with pytest.raises(ValueError, match="must lie between 1 and 100; fix their number before the first vote"):
            pocock_level(wrong)


def test_the_best_has_to_beat_each_other() -> None:
    strength, p = np.array([0.5, 1.0, 0.0]), np.full((3, 3), math.nan)
    p[1, 0] = p[0, 1] = 0.01
    p[1, 2] = p[2, 1] = 0.001

    claim = best_claim("abc", strength, p, 5)
    assert (claim.leader, claim.p, claim.claimed, claim.rivals) == ("b", 0.01, True, ())
    p[1, 0] = 0.02
    assert best_claim("abc", strength, p, 5).rivals == ("a",)
    assert best_claim("abc", strength, p, 1).claimed
    p[1, 2] = math.nan
    assert not best_claim("abc", strength, p, 1).claimed


def test_narrow_intervals_say_stop_and_wide_ones_how_much_more_it_takes() -> None:
    votes = study(30, prompts=40)
    widest = max(c.ci_high - c.ci_low for c in analyse(votes).conditions)
    narrow = analyse(votes, Options(stop_at_width=widest + 1))
    wide = analyse(votes, Options(stop_at_width=widest / 2))
    assert narrow.width_goal is not None
    assert wide.width_goal is not None

    assert narrow.width_goal.reached
    assert (narrow.width_goal.widest, narrow.width_goal.times_people) == (pytest.approx(widest), 1)
    assert stopping_of(narrow)[0].startswith("Stop: no interval is wider than ")
    assert not wide.width_goal.reached
    assert "more participants who vote as often on the same prompts" in stopping_of(wide)[0]


def test_as_many_more_people_as_were_foretold_are_enough() -> None:
    wide = analyse(study(30, prompts=60, prompt_spread_elo=20), Options(stop_at_width=26)).width_goal
    assert wide is not None
    assert wide.times_people is not None
    assert wide.times_prompts == 1
    people = math.ceil(30 * wide.times_people)
    reached = [
        max(c.ci_high - c.ci_low for c in analyse(study(people, seed, prompts=60, prompt_spread_elo=20)).conditions)
        for seed in range(5)
    ]

    assert people > 60
    assert np.mean(reached) == pytest.approx(26, rel=0.15)


def test_where_people_are_not_enough_prompts_are_foretold() -> None:
    votes = study(100, prompts=12, prompt_spread_elo=40)
    report = analyse(votes, Options(stop_at_width=20))
    these = analyse(votes, Options(stop_at_width=1e-3, generalise_to="people"))
    goal = report.width_goal
    assert goal is not None
    assert goal.times_prompts is not None

    assert goal.times_prompts > 2
    assert "no number of participants is expected to do on 12 prompts: about" in stopping_of(report)[0]
    assert "no study up to a thousand times as large" in stopping_of(these)[0]
    assert "can't be said" in stopping_of(analyse(study(1), Options(stop_at_width=20)))[0]
    with pytest.raises(ValueError, match="--stop-at-width 0: must be a number of Elo above 0"):
        analyse(votes, Options(stop_at_width=0))


def test_the_command_says_it_and_writes_it(tmp_path: Path) -> None:
    pyarrow.csv.write_csv(as_table(study(12)), tmp_path / "votes.csv")
    done = steer_study(
        *("elo", tmp_path / "votes.csv", "--columns", "left=model_x,right=model_y", "--out", tmp_path / "out"),
        *("--stop-at-width", "40", "--looks", "5"),
    )
    written = json.loads((tmp_path / "out" / "elo.json").read_text("utf-8"))["stopping"]
    page = (tmp_path / "out" / "report.html").read_text("utf-8")

    assert done.returncode == 0, done.stderr
    assert "Go on: the interval of c" in done.stdout
    assert "No best yet: c" in done.stdout
    assert "Go on: the interval of c" in page
    assert set(written["width"]) == {"width", "widest", "condition", "reached", "times_people", "times_prompts"}
    assert set(written["best"]) == {"looks", "level", "leader", "p", "claimed", "rivals"}
    assert as_dict(analyse(study(3)))["stopping"] == {"width": None, "best": None}


def test_a_study_that_is_running_says_what_looking_does(pair_study: Study) -> None:
    rehearse(pair_study, list(read_truth(truth_of(pair_study)).values())[:1])
    finished = studies.fit(pair_study.folder, prior=0.5)
    store = Store(pair_study.database)
    store.invite([None])
    store.close()

    assert "is running" not in "\n".join(finished.warnings)
    looked = studies.fit(pair_study.folder, prior=0.5).warnings[0]
    assert looked.startswith("The study is running: 1 participant has not finished. Looking does no harm, but")
    assert "one of the 5 that were fixed" in studies.fit(pair_study.folder, prior=0.5, looks=5).warnings[0]
    assert "leaves intervals as they are" in studies.fit(pair_study.folder, prior=0.5, stop_at_width=40).warnings[0]


def test_the_looks_of_a_study_are_fixed_when_it_is_made(run_folder: Build, tmp_path: Path) -> None:
    made = steer_study("pairs", run_folder("run"), "--out", tmp_path / "study", "--looks", "3")
    assert made.returncode == 0, made.stderr
    study = read_study(tmp_path / "study")
    rehearse(study, list(read_truth(truth_of(study)).values())[:1])

    report = studies.fit(study.folder, prior=0.5)
    assert report.best_claim is not None
    assert report.best_claim.looks == 3
    with pytest.raises(ValueError, match="--looks 5: this study was made with 3, before its first vote; leave --looks"):
        studies.fit(study.folder, prior=0.5, looks=5)
