"""The whole analysis: elo.json, caveats, trust in the votes, alignment, the report page and the command."""

import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image
from playwright.sync_api import Browser

from studies.elo.analysis import Options, Report, analyse
from studies.elo.inference.intervals import GENERALISATIONS, MEANINGS
from studies.elo.reporting.records import as_dict
from studies.elo.reporting.report import Example, write_report
from studies.elo.votes import LEFT, RIGHT, TIE, Votes
from tests.benchmarks.bench_elo import large_files
from tests.studies.elo.voters import Population


def study(participants: int = 24, seed: int = 0, prompts: int = 18, **population) -> Votes:
    return Population(**population).study(participants, np.random.default_rng(seed), prompts)


def few(*rows: str, **more: list) -> Votes:
    """Votes written as "a>b", "a<b" or "a=b"."""
    words = {">": "left", "<": "right", "=": "tie"}
    columns = {
        "participant": ["ann"] * len(rows),
        "prompt_id": ["p"] * len(rows),
        "left": [row[0] for row in rows],
        "right": [row[2] for row in rows],
        "winner": [words[row[1]] for row in rows],
    }
    return Votes.from_table(pa.table(columns | more))


def told(votes: Votes, **options) -> str:
    return "\n".join(analyse(votes, Options(**options)).warnings)


def steer_study(*arguments: object) -> subprocess.CompletedProcess[str]:
    code = "from studies.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def as_table(votes: Votes) -> pa.Table:
    return pa.table(
        {
            "participant": [votes.participants[n] for n in votes.participant],
            "prompt_id": [votes.prompts[n] for n in votes.prompt],
            "model_x": [votes.conditions[n] for n in votes.left],
            "model_y": [votes.conditions[n] for n in votes.right],
            "winner": [("left", "right", "tie")[n] for n in votes.outcome],
        }
    )


def test_conditions_come_best_first_with_counts_that_add_up() -> None:
    report = analyse(study(tie_share=0.1))

    assert [c.condition for c in report.conditions] == ["c0", "c1", "c2", "c3", "c4"]
    assert np.mean([c.elo for c in report.conditions]) == pytest.approx(1000)
    for c in report.conditions:
        assert c.wins + c.losses + c.ties == c.n
        assert c.ci_low < c.elo < c.ci_high
        assert sum(report.wins[c.condition].values()) == c.wins
        assert sum(report.ties[c.condition].values()) == c.ties
    assert sum(c.n for c in report.conditions) == 2 * report.votes


def test_pairs_have_the_better_one_first_and_agree_with_the_conditions() -> None:
    report = analyse(study())
    elo = {c.condition: c.elo for c in report.conditions}

    assert len(report.pairs) == 10
    for pair in report.pairs:
        assert pair.difference == pytest.approx(elo[pair.a] - elo[pair.b])
        assert pair.ci_low <= pair.difference <= pair.ci_high
        assert pair.p <= pair.p_holm <= 1
        assert (pair.p < 0.05) == (pair.ci_low > 0 or pair.ci_high < 0)


@pytest.mark.parametrize("to", GENERALISATIONS)
def test_the_interval_asked_for_is_the_one_that_leads(to) -> None:
    report = analyse(study(), Options(generalise_to=to))
    document = as_dict(report)

    assert set(report.intervals) == set(GENERALISATIONS)
    for c in report.conditions:
        assert (c.ci_low, c.ci_high) == report.intervals[to][c.condition]
    assert document["settings"]["generalise_to"] == to
    assert document["settings"]["intervals_and_tests_hold_for"] == MEANINGS[to]


def test_the_more_is_taken_as_given_the_narrower_is_the_interval() -> None:
    ends = analyse(study(votes_each=1000, prompt_spread_elo=35)).intervals
    both, people, prompts, these = (np.mean([high - low for low, high in ends[to].values()]) for to in GENERALISATIONS)

    assert these < 0.7 * people
    assert these < 0.7 * prompts
    assert both > 1.1 * max(people, prompts)


def test_everything_with_an_error_follows_the_one_choice() -> None:
    votes = study(40, prompt_spread_elo=60, tie_share=0.1)
    rng = np.random.default_rng(5)
    votes = replace(votes, left_score=rng.random(len(votes)), right_score=rng.random(len(votes)))
    both, these = (analyse(votes, Options(generalise_to=to)) for to in ("people+prompts", "these"))

    def widths(report: Report) -> list[float]:
        assert report.agreement is not None
        assert report.alignment is not None
        assert report.side is not None
        found = [report.side.left_share, report.side.left_elo, report.agreement.pairwise, report.alignment.higher_won]
        found += [report.alignment.slope, report.conditions[0], report.pairs[0], report.alignment.bins[0].higher_won]
        return [one.ci_high - one.ci_low for one in found if one is not None]

    assert len(widths(both)) == 8
    assert not np.isclose(widths(both), widths(these), rtol=1e-3).any()
    assert [p.p for p in both.pairs] != [p.p for p in these.pairs]
    assert both.ranks != these.ranks


def test_the_spread_of_people_is_found_and_their_own_elo_lies_nearer_than_everybodys() -> None:
    population, rng = Population(votes_each=600), np.random.default_rng(4)
    report = analyse(population.study(80, rng))
    assert report.by_participant is not None
    assert report.by_prompt is not None

    assert report.by_participant.spread == pytest.approx(35, rel=0.2)
    assert report.by_prompt.spread < 8
    assert report.by_participant.elo.mean(1) == pytest.approx(1000)
    assert 15 < report.by_participant.elo.std(0).mean() < 35


def test_elo_json_is_as_the_design_says_and_has_neither_nan_nor_infinity() -> None:
    document = as_dict(analyse(study(1)))
    text = json.dumps(document, allow_nan=False)

    assert set(json.loads(text)) >= {"conditions", "pairs", "settings", "warnings"}
    assert list(document["conditions"][0]) == [
        "condition", "elo", "ci_low", "ci_high", "wins", "losses", "ties", "n",
    ]  # fmt: skip
    assert list(document["pairs"][0]) == ["a", "b", "difference", "ci_low", "ci_high", "p", "p_holm"]
    assert document["conditions"][0]["ci_low"] is None
    assert any("one participant" in warning for warning in document["warnings"])


def test_few_participants_are_said_and_enough_are_not() -> None:
    assert "Only 6 participants voted, fewer than 20" in told(study(6))
    assert told(study(24)) == ""


def test_separable_votes_are_refused_and_with_a_prior_said_to_be() -> None:
    votes = few("a>b", "a>b", "b>c", "b<c")

    with pytest.raises(ValueError, match="a never lost against any other"):
        analyse(votes)
    assert "The votes are separable: a never lost" in told(votes, prior=0.5)
    assert "A prior of 0.5 wins" in told(votes, prior=0.5)


def test_the_share_of_a_prior_is_said_and_pairs_that_nobody_compared_get_none() -> None:
    votes = few(*["a>b", "b>a"] * 10, *["b>c", "c>b"] * 10)
    warning = told(votes, prior=0.5)

    assert "A prior of 0.5 wins to each side of each of 2 compared pairs is part of the fit, 4.8% of all" in warning


def test_parts_that_hang_apart_are_refused_and_the_largest_is_reported_on_request() -> None:
    votes = few(*["a>b", "b>a", "b>c", "c>b"] * 5, *["x>y", "y>x"] * 30)

    with pytest.raises(ValueError, match=r"2 parts .*the largest with --largest-part"):
        analyse(votes)
    report = analyse(votes, Options(largest_part=True))
    assert {c.condition for c in report.conditions} == {"a", "b", "c"}
    assert "Left out, because no vote connects them with the rest: x, y." in "\n".join(report.warnings)


def test_one_prompt_and_few_prompts_are_said_with_what_they_mean() -> None:
    one = study(30, prompts=1)
    four = study(60, prompts=4, prompt_spread_elo=35)

    assert "All votes are on one prompt: nothing is known about other prompts, and the intervals are for" in told(one)
    assert "intervals for other prompts can't be given" in told(one, generalise_to="prompts")
    warning = told(four)
    assert "Only 4 prompts were shown: for these very prompts the intervals are ±1" in warning
    assert "Show 18 or more" in warning


def test_an_interval_that_is_too_narrow_for_others_says_how_often_it_would_hold() -> None:
    differing, alike = study(200, prompt_spread_elo=35), study(30, spread_elo=80)
    warning = told(differing, generalise_to="people")

    assert "for other people, on these very prompts. For other people and other prompts they are too narrow" in warning
    assert re.search(r"hold the truth in [567]\d% of such studies", warning)
    assert re.search(r"prompts differ by [23]\d Elo", warning)
    assert told(alike, generalise_to="people") == ""
    assert "too narrow" not in told(differing)


def test_prompts_of_ones_own_are_said_to_tell_nothing_apart() -> None:
    votes = study(30, prompts=30)
    shared = replace(votes, prompt=votes.participant // 2, prompts=votes.prompts[:15])

    assert "Every prompt was shown to one participant only" in told(replace(votes, prompt=votes.participant))
    assert "Every participant saw one prompt only" in told(shared)


def test_a_condition_that_one_participant_alone_judged_is_said() -> None:
    people = ["u1", "u2", "u3", "u4"] * 5 + ["u4"] * 4
    votes = few(*["a>b", "b>a"] * 10, *["b>c", "c>b"] * 2, participant=people)

    assert "Without one participant (u4) some conditions would not be compared at all" in told(votes)


def test_people_who_all_voted_alike_are_said_to_show_no_spread() -> None:
    votes = few(*["a>b", "b>a", "a>b"] * 2, participant=["u1"] * 3 + ["u2"] * 3)

    assert "All participants voted in the same proportions" in told(votes)


def test_ties_alone_make_a_report_of_equals(tmp_path: Path) -> None:
    votes = few(*["a=b", "b=c", "c=a"] * 4, participant=["u1", "u2", "u3", "u4"] * 3)
    report = analyse(votes)

    assert {c.elo for c in report.conditions} == {1000}
    assert "NaN" not in write_report(report, tmp_path).with_name("elo.svg").read_text("utf-8")
    with pytest.raises(ValueError, match="no finite tie parameter"):
        analyse(votes, Options(ties="davidson"))


@pytest.mark.parametrize("to", GENERALISATIONS)
def test_votes_that_tell_little_still_make_a_report(tmp_path: Path, to) -> None:
    votes = few("a>b", "a>b", "b>c", "b<c", "a=b")
    path = write_report(analyse(votes, Options(generalise_to=to, prior=0.5)), tmp_path)
    two = few(*["a>b"] * 5, "b>a", "b>c", "c>b", "a>c", "c>a", participant=["ann"] * 6 + ["bob"] * 4)
    write_report(analyse(two, Options(generalise_to=to)), tmp_path / "two")

    assert "All votes come from one participant" in path.read_text("utf-8")
    for folder in (tmp_path, tmp_path / "two"):
        written = "".join((folder / name).read_text("utf-8") for name in ("report.html", "elo.svg"))
        assert not [word for word in (">nan", " nan", '"nan', ">inf", " inf", '"inf') if word in written]


def test_a_condition_that_stood_on_one_side_only_is_said() -> None:
    votes = few(*["a>b", "a<b", "a>b"] * 10, *["b>c", "c>b", "c>a"] * 4)

    assert "The sides are not balanced (on the left: a 88%" in told(votes)


def test_a_liking_for_the_left_is_measured_and_said() -> None:
    votes = study(40)
    rng = np.random.default_rng(1)
    votes = replace(votes, outcome=np.where(rng.random(len(votes)) < 0.2, LEFT, votes.outcome))
    side = analyse(votes).side

    assert side is not None
    assert side.left_share.value == pytest.approx(0.6, abs=0.02)
    assert side.left_elo is not None
    assert side.left_elo.ci_low > 50
    assert "People favour a side: the left image won 59%" in told(votes)


def test_repeats_are_matched_compared_and_never_fitted() -> None:
    trial, repeat = ["t1", "t2", "t3", "t1", "t2", "t9"], [False] * 3 + [True] * 3
    votes = few("a>b", "a<b", "a>b", "b<a", "a>b", "a>b", trial_id=trial, repeat=repeat)
    report = analyse(votes)

    assert report.votes == 3
    assert report.retest is not None
    assert (report.retest.repeats, report.retest.unmatched) == (2, 1)
    assert report.retest.same.value == 0.5
    assert "1 repeated trials lack a first vote" in "\n".join(report.warnings)


def test_kappa_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(0)
    first = rng.integers(0, 3, 200)
    second = np.where(rng.random(200) < 0.6, first, rng.integers(0, 3, 200))
    rows = [f"a{'><='[n]}b" for n in [*first, *second]]
    trial = [f"t{n}" for n in [*range(200), *range(200)]]
    found = analyse(few(*rows, trial_id=trial, repeat=[False] * 200 + [True] * 200)).retest

    assert found is not None
    assert found.kappa == pytest.approx(cohen_kappa_score(first, second))


def test_alpha_is_that_of_its_definition_pair_by_pair() -> None:
    rng = np.random.default_rng(6)
    shown = rng.random((5, 12)) < 0.7
    taste = np.where(rng.random((5, 12)) < 0.5, rng.integers(0, 3, 12), rng.integers(0, 3, (5, 12)))
    who, what = np.nonzero(shown)
    rows = [f"a{'><='[taste[cell]]}b" for cell in zip(who, what, strict=True)]
    found = analyse(few(*rows, participant=[f"u{n}" for n in who], prompt_id=[f"p{n}" for n in what])).agreement

    units = [taste[shown[:, n], n] for n in range(12) if shown[:, n].sum() > 1]
    pairs = [(a != b, len(unit)) for unit in units for i, a in enumerate(unit) for j, b in enumerate(unit) if i != j]
    values = np.concatenate(units)
    observed = sum(differ / (size - 1) for differ, size in pairs) / len(values)
    chance = (values[:, None] != values).sum() / (len(values) * (len(values) - 1))

    assert found is not None
    assert found.units == len(units)
    assert found.pairwise.value == pytest.approx(1 - np.mean([differ for differ, _ in pairs]))
    assert found.alpha == pytest.approx(1 - observed / chance)


def test_people_who_answer_alike_agree_and_sides_do_not_matter() -> None:
    people = ["u1", "u2", "u1", "u2"]
    prompts = ["p1", "p1", "p2", "p2"]
    found = analyse(few("a>b", "b<a", "a<b", "b>a", participant=people, prompt_id=prompts))

    assert found.agreement is not None
    assert (found.agreement.pairwise.value, found.agreement.alpha) == (1, 1)


def test_a_score_that_decides_the_votes_is_found_to() -> None:
    votes, rng = study(30), np.random.default_rng(2)
    left, right = rng.random(len(votes)), rng.random(len(votes))
    chance = 1 / (1 + np.exp(-4 * (left - right)))
    outcome = np.where(rng.random(len(votes)) < chance, LEFT, RIGHT)
    outcome[:50], left[50:100] = TIE, np.nan
    found = analyse(replace(votes, outcome=outcome, left_score=left, right_score=right)).alignment

    assert found is not None
    assert found.slope is not None
    assert found.slope.ci_low < 4 < found.slope.ci_high
    assert found.left_out == 100
    assert found.bins[-1].higher_won.value > 0.8 > found.higher_won.value > 0.6
    assert sum(b.votes for b in found.bins) == found.votes == len(votes) - 100


@pytest.mark.parametrize("option", [{"generalise_to": "all"}, {"ties": "none"}])
def test_an_option_that_is_unknown_is_refused(option: dict) -> None:
    with pytest.raises(ValueError, match="unknown; use"):
        analyse(study(3), Options(**option))


def test_the_command_writes_the_report_and_says_what_it_found(tmp_path: Path) -> None:
    pyarrow.csv.write_csv(as_table(study(6)), tmp_path / "votes.csv")
    columns = "left=model_x,right=model_y"
    done = steer_study("elo", tmp_path / "votes.csv", "--columns", columns, "--out", tmp_path / "out")
    again = steer_study("elo", tmp_path / "votes.csv", "--columns", columns, "--json", tmp_path / "again.json")

    assert done.returncode == again.returncode == 0, done.stderr
    assert "! Only 6 participants" in done.stdout
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"elo.json", "elo.parquet", "elo.svg", "report.html"}
    assert (tmp_path / "out" / "elo.json").read_bytes() == (tmp_path / "again.json").read_bytes()
    rows = pq.read_table(tmp_path / "out" / "elo.parquet").to_pylist()
    assert [r["condition"] for r in rows] == ["c0", "c1", "c2", "c3", "c4"]
    assert (tmp_path / "out" / "elo.svg").read_text().startswith("<svg xmlns=")


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "votes.csv").write_text("participant,prompt_id,left,right,winner\nann,p,a,b,first\n")
    done = steer_study("elo", tmp_path / "votes.csv")

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "line 2: winner is 'first'; use left, right, tie" in done.stderr


@pytest.mark.parametrize("width, scheme", [(1280, "light"), (390, "dark")])
def test_the_report_stands_alone_and_fits_the_screen(tmp_path: Path, chromium: Browser, width, scheme) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(picture, "PNG")
    votes = replace(study(30, tie_share=0.1), conditions=("<b>own</b>", "other", "initial", "hpsv3", "q & align"))
    rng = np.random.default_rng(0)
    votes = replace(votes, left_score=rng.random(len(votes)), right_score=rng.random(len(votes)))
    examples = [Example(prompt="A <i>boat</i>", condition=name, png=picture.getvalue()) for name in votes.conditions]
    path = write_report(analyse(votes, Options(ties="davidson")), tmp_path, examples)
    page = chromium.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    problems, requests = [], []
    page.on("console", lambda message: problems.append(message.text))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    for summary in page.locator("summary").all():
        summary.click()

    assert problems == []
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("table").count() == page.locator("table > caption").count() >= 8
    assert page.locator("td:visible", has_text="nan").count() == 0
    assert page.locator("b", has_text="own").count() == 0
    assert page.get_by_role("img", name="Elo by condition").is_visible()
    page.close()


def test_a_hundred_conditions_make_a_report(tmp_path: Path) -> None:
    votes = study(30, elo=tuple(np.linspace(900, 1100, 100)), votes_each=400)
    report = analyse(votes)

    assert write_report(report, tmp_path).stat().st_size < 3e6
    assert set(report.intervals) == set(GENERALISATIONS)


@pytest.mark.slow
def test_a_million_votes_fit_into_memory(tmp_path: Path) -> None:
    path, _ = large_files(tmp_path)
    code = (  # VmHWM, because ru_maxrss also counts what the process was before it became this program
        "from pathlib import Path; from studies.cli.main import app; app(standalone_mode=False);"
        "print(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "elo", str(path), "--json", str(tmp_path / "elo.json")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert "and 4,922 more" in done.stdout
    assert int(done.stdout.split()[-1]) < 1024**2
    assert len(json.loads((tmp_path / "elo.json").read_text())["conditions"]) == 100
