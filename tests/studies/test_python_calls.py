"""The calls of `studies`: that they do what the commands do, and refuse what these refuse in the same words."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import studies
from studies.cli.main import main
from studies.study import Study, read_study
from tests.in_this_process import call
from tests.studies.conftest import Build


@pytest.fixture
def at(images: Path, pair_study: Study, tmp_path: Path) -> SimpleNamespace:
    """Where things are that wrong calls are about."""
    return SimpleNamespace(
        run=Path(pair_study.settings.sources[0]), images=images, study=pair_study.folder, nothing=tmp_path
    )


def test_a_study_is_planned_made_taken_and_told(run_folder: Build, tmp_path: Path) -> None:
    run, out = run_folder(generic={"hpsv3": 250}), tmp_path / "made"
    assert "4 conditions (initial, own, other, hpsv3)" in studies.plan_pairs(run, difference=40)
    study = studies.pairs([run], out, others=2, tie=True, title="Walls", practice=1, block=12, seed=0)
    assert (study.settings.title, study.settings.tie, study.settings.practice) == ("Walls", True, 1)
    assert study.generic == read_study(out).generic == ["hpsv3"]
    rehearsed = studies.simulate(out, participants=2)
    assert rehearsed.participants == 2
    written = studies.export(out, answers=tmp_path / "votes.csv", participants=tmp_path / "people.csv")
    assert written.answers is not None and written.participants is not None
    assert (len(written.answers), len(written.participants)) == (rehearsed.answers, 2)
    assert studies.backup(out, tmp_path / "copy") == rehearsed.answers
    report = studies.fit(out, out=tmp_path / "report", json=tmp_path / "elo.json")
    told = json.loads((tmp_path / "elo.json").read_text("utf-8"))
    assert [line["condition"] for line in told["conditions"]] == [line.condition for line in report.conditions]
    assert (tmp_path / "report/report.html").is_file()
    made = studies.publish(out, tmp_path / "published")
    assert (made.people, made.address) == (2, None)
    studies.remove(out, written.participants["participant"][0].as_py())
    left = studies.export(out, answers=tmp_path / "votes.csv").answers
    assert left is not None and 0 < len(left) < rehearsed.answers
    verdict = studies.truth(run, json=tmp_path / "verdict.json")
    assert json.loads((tmp_path / "verdict.json").read_text("utf-8")) == verdict.as_dict()


def test_people_are_invited_and_a_study_closed_and_opened(pair_study: Study) -> None:
    links = studies.invite(pair_study.folder, users=["u1", "u3"], names=["ada"], count=1, url="https://x.example/")
    assert [link.user for link in links] == ["u1", "u3", "ada", None]
    assert all(link.link.startswith("https://x.example/join/") for link in links)
    with pytest.raises(ValueError, match="--users u1: is invited already"):
        studies.invite(pair_study.folder, users="all")
    others = [user for user in pair_study.users if user not in ("u1", "u3")]
    assert [link.user for link in studies.invite(pair_study.folder, users=others)] == others
    studies.close(pair_study.folder)
    studies.reopen(pair_study.folder)


def test_a_rating_study_has_what_was_wished_for(images: Path, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("Ours.\n\nYours.\n", "utf-8")
    wishes = {"per_image": 2, "each": 6, "hide_prompt": True, "sample": 8, "consent": tmp_path / "words.txt"}
    anchors = ["ugly", "plain", "fair", "fine", "lovely"]

    settings = studies.rating(images, tmp_path / "made", anchors=anchors, **wishes).settings

    assert (settings.ratings_per_image, settings.images_each, settings.show_prompt) == (2, 6, False)
    assert (settings.anchors, settings.about) == (tuple(anchors), "Ours.\n\nYours.")
    assert len(read_study(tmp_path / "made").of_kind("trial")) == 5


def test_an_option_that_is_none_is_named(images: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown option 'titel'"):
        studies.rating(images, tmp_path / "s", titel="Walls")  # pyrefly: ignore[unexpected-keyword]


@pytest.mark.parametrize(
    ("arguments", "wrong_call"),
    [
        ("pairs {nothing} --out s", lambda at: studies.pairs(at.nothing, "s")),
        ("pairs {run} --out {images}", lambda at: studies.pairs(at.run, at.images)),
        ("pairs {run} --out s --consent {run}", lambda at: studies.pairs(at.run, "s", consent=at.run)),
        ("pairs {run} --plan --title=", lambda at: studies.plan_pairs(at.run, title="")),
        (
            "pairs {run} --plan --generalise-to all",
            lambda at: studies.plan_pairs(at.run, generalise_to="all"),  # pyrefly: ignore[bad-argument-type]
        ),
        ("rating --images none --out s", lambda at: studies.rating("none", "s")),
        ("rating --images {images} --out s --adaptive", lambda at: studies.rating(at.images, "s", adaptive=True)),
        (
            "rating --images {images} --out s --anchors a,b",
            lambda at: studies.rating(at.images, "s", anchors=["a", "b"]),
        ),
        ("rating --images {images} --out s --sample 99", lambda at: studies.rating(at.images, "s", sample=99)),
        ("rating --images {images} --plan --practice 50", lambda at: studies.plan_rating(at.images, practice=50)),
        ("invite {nothing} --count 1", lambda at: studies.invite(at.nothing, count=1)),
        ("invite {study}", lambda at: studies.invite(at.study)),
        ("invite {study} --users u1,u9", lambda at: studies.invite(at.study, users="u1,u9")),
        ("invite {study} --users u1,u1", lambda at: studies.invite(at.study, users=["u1", "u1"])),
        ("invite {study} --name a/b", lambda at: studies.invite(at.study, names=["a/b"])),
        ("invite {study} --count 1 --url x", lambda at: studies.invite(at.study, count=1, url="x")),
        ("serve {nothing}", lambda at: studies.serve(at.nothing)),
        ("serve {study} --token short", lambda at: studies.serve(at.study, token="short")),
        ("serve {study} --language xx", lambda at: studies.serve(at.study, language="xx")),
        ("simulate {nothing}", lambda at: studies.simulate(at.nothing)),
        ("simulate {study} --truth none", lambda at: studies.simulate(at.study, truth="none")),
        ("export {study}", lambda at: studies.export(at.study)),
        ("export {study} --answers x.csv", lambda at: studies.export(at.study, answers="x.csv")),
        ("elo none.csv", lambda at: studies.fit("none.csv")),
        ("elo {study} --columns left=a", lambda at: studies.fit(at.study, columns={"left": "a"})),
        ("publish {nothing} --out s", lambda at: studies.publish(at.nothing, "s")),
        ("publish {study} --out s", lambda at: studies.publish(at.study, "s")),
        ("backup {study} {images}", lambda at: studies.backup(at.study, at.images)),
        ("remove {study} p-none", lambda at: studies.remove(at.study, "p-none")),
        ("close {nothing}", lambda at: studies.close(at.nothing)),
        ("reopen {nothing}", lambda at: studies.reopen(at.nothing)),
        ("truth {nothing}", lambda at: studies.truth(at.nothing)),
        ("truth {run} --truth none", lambda at: studies.truth(at.run, truth="none")),
    ],
)
def test_a_wrong_call_is_refused_with_the_line_of_the_command(
    at: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    wrong_call: Callable[[SimpleNamespace], object],
) -> None:
    monkeypatch.chdir(at.nothing)
    done = call(main, "steer-study", *arguments.format(**vars(at)).split())
    assert done.returncode == 2, done

    with pytest.raises(ValueError) as error:
        wrong_call(at)
    assert f"steer-study: {' '.join(str(error.value).split())}\n" == done.stderr


def test_a_list_of_no_run_is_refused(tmp_path: Path) -> None:
    for call_of_none in (lambda: studies.truth([]), lambda: studies.pairs([], tmp_path / "out")):
        with pytest.raises(ValueError, match="no folder was named; name one at least"):
            call_of_none()


@pytest.mark.parametrize(
    ("wrong_call", "said"),
    [
        (lambda at: studies.pairs(at.run, "s", others=-1), "--others must be 0 or more, got -1"),
        (lambda at: studies.rating(at.images, "s", sample=0), "--sample must be at least 1, got 0"),
        (lambda at: studies.rating(at.images, "s", each=0), "images_each: input should be greater than or equal to 1"),
        (lambda at: studies.rating(at.images, "s", per_image=0), "ratings_per_image: input should be greater than or"),
    ],
)
def test_numbers_that_the_command_does_not_take_are_no_numbers_of_a_call_either(
    at: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, wrong_call: Callable[[SimpleNamespace], object], said: str
) -> None:
    monkeypatch.chdir(at.nothing)
    with pytest.raises(ValueError, match=said):
        wrong_call(at)
    assert not (at.nothing / "s").exists()
