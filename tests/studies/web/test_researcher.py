"""What the researcher can see and do while a study runs."""

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from studies.cli.main import main
from studies.results.answers import votes_table
from studies.results.progress import progress
from studies.simulation.participants import Page
from studies.study import Study
from tests.in_this_process import call
from tests.studies.test_session import session_of, somebody, take, who
from tests.studies.web.conftest import TOKEN, Serve, Site, answer


def researcher(site: Site) -> TestClient:
    client = site.visitor()
    assert client.get("/researcher", params={"token": TOKEN}).status_code == 200
    return client


def test_the_token_leaves_the_address_at_once_and_is_not_in_the_cookie(pair_study: Study, serve: Serve) -> None:
    client = serve(pair_study).visitor()
    landed = client.get("/researcher", params={"token": TOKEN}, follow_redirects=False)
    assert (landed.status_code, landed.headers["location"]) == (303, "/researcher")
    assert TOKEN not in landed.headers["set-cookie"]
    assert "httponly" in landed.headers["set-cookie"].lower()


def test_a_study_is_closed_and_opened_again_by_a_button(pair_study: Study, serve: Serve) -> None:
    site = serve(pair_study)
    client = researcher(site)
    assert "nobody new can begin" in client.post("/researcher/close").text
    assert site.study_session.store.closed
    assert "nobody new can begin" not in client.post("/researcher/reopen").text
    assert not site.study_session.store.closed
    for path in ("/researcher/close", "/researcher/reopen"):
        assert site.visitor().post(path).status_code == 403
    assert not site.study_session.store.closed


def test_the_page_tells_when_somebody_was_last_seen_and_that_nobody_can_be_written_to(
    pair_study: Study, serve: Serve
) -> None:
    site = serve(pair_study)
    site.begun("u1")
    text = researcher(site).get("/researcher").text
    (seen,) = (p.last_seen_at for p in progress(pair_study).participants)
    assert seen is not None and seen[:16].replace("T", " ") in text
    assert "Participants see no contact" in text
    assert 'href="/researcher/report"' in text


def test_the_report_on_the_votes_so_far_is_made_while_people_vote(
    pair_study: Study, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = serve(pair_study)
    client = researcher(site)
    early = client.get("/researcher/report")
    assert (early.status_code, "no votes yet" in early.text) == (409, True)
    one = site.begun("u1")
    page = Page(one.get("/").text)
    while page.action is not None:
        said = {**page.fields, "winner": ("left", "right")[int(page.fields.get("position", 0)) % 2]}
        page = Page(one.post(page.action, data=said).text)
    report = client.get("/researcher/report")
    assert report.status_code == 200
    assert "Elo" in report.text
    assert "script-src" not in report.headers["content-security-policy"]
    monkeypatch.setattr("studies.web.researcher.REPORT_TIMEOUT_S", 0.01)
    late = client.get("/researcher/report")
    assert (late.status_code, "make it by steer-study elo" in late.text) == (409, True)
    monkeypatch.setattr("studies.web.researcher._REPORT", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    monkeypatch.setattr("studies.web.researcher.REPORT_TIMEOUT_S", 60)
    killed = client.get("/researcher/report")
    assert (killed.status_code, "The report was stopped" in killed.text) == (409, True)
    assert site.visitor().get("/researcher/report").status_code == 403


def test_a_participant_is_removed_by_name_or_prolific_id_while_the_study_is_served(
    pair_study: Study, serve: Serve
) -> None:
    site = serve(pair_study, prolific=True)
    one, other = site.begun("u1"), site.visitor()
    other.get("/", params={"PROLIFIC_PID": "5f3e0a77"})
    other.post("/consent", data={"agreed": "yes"})
    other.post("/about", data={})
    for client in (one, other):
        answer(client)
    name = votes_table(pair_study)["participant"].to_pylist()[0]
    for told in (name, "5f3e0a77"):
        done = call(main, "steer-study", "remove", pair_study.folder, told)
        assert done.returncode == 0, done.stderr
    assert len(votes_table(pair_study)) == 0
    assert one.post("/answer", data={"position": "1", "winner": "left"}).status_code == 403
    again = call(main, "steer-study", "remove", pair_study.folder, name)
    assert again.returncode == 2
    assert "takes no part in this study" in again.stderr


def test_the_commands_close_and_back_up_a_study_while_it_is_served(
    pair_study: Study, serve: Serve, tmp_path: Path
) -> None:
    site = serve(pair_study)
    answer(site.begun("u1"))
    assert "1 answers" in call(main, "steer-study", "backup", pair_study.folder, tmp_path / "copy").stdout
    assert "closed to newcomers" in call(main, "steer-study", "close", pair_study.folder).stdout
    assert site.study_session.store.closed
    call(main, "steer-study", "reopen", pair_study.folder)
    assert not site.study_session.store.closed


def test_many_participants_are_shown_page_by_page(pair_study: Study, serve: Serve) -> None:
    site = serve(pair_study)
    names = [name for name, _ in site.study_session.store.invite([None] * 450)]
    client = researcher(site)
    shown = [re.findall(r"p-[0-9a-f]{12}", client.get(f"/researcher?page={n}").text) for n in (1, 2, 3, 99)]
    assert [len(set(found)) for found in shown] == [200, 200, 50, 50]
    assert {*shown[0], *shown[1], *shown[2]} == set(names)


def test_the_sums_of_sqlite_are_those_of_the_exported_votes(pair_study: Study) -> None:
    study_session = session_of(pair_study)
    for user in ("u1", "u1", "u2", None, None, None, None):
        session = somebody(study_session, user)
        name = who(study_session, session).participant
        take(study_session, session, most=9)
        place = study_session.store.place(name)
        if place is not None:
            study_session.vote(name, place.position, "right", 3000)
        take(study_session, session)
    report = progress(pair_study)
    rows = [row for row in votes_table(pair_study).to_pylist() if row["kind"] != "practice"]
    assert report.answers == len(rows)
    assert report.median_s == 1.0
    for person in report.participants:
        own = [row for row in rows if row["participant"] == person.participant]
        assert (person.answered, person.assigned, person.state) == (len(own), len(own), "finished")
        checks = [row for row in own if row["kind"] == "attention"]
        assert person.checks.attention == len(checks)
        assert person.checks.attention_passed == sum(row["winner"] == row["expected"] for row in checks)
        first = {row["trial_id"]: row[f"{row['winner']}_item"] for row in own if not row["repeat"]}
        alike = [first[row["trial_id"]] == row[f"{row['winner']}_item"] for row in own if row["repeat"]]
        assert person.repeats_same == (sum(alike) / len(alike) if alike else None)
    assert {b.block: b.answered for b in report.blocks if b.answered} == {
        block: sum(row["block"] == block for row in rows) for block in {row["block"] for row in rows}
    }
    assert report.agreement == pytest.approx(expected_agreement(rows))


def expected_agreement(rows: list[dict]) -> float:
    chosen: dict[tuple, list[str]] = {}
    for row in rows:
        if row["kind"] == "trial" and not row["repeat"]:
            images = tuple(sorted((row["left_image"], row["right_image"])))
            chosen.setdefault((row["prompt_id"], *images), []).append(row[f"{row['winner']}_image"])
    shared = []
    for winners in chosen.values():
        pairs = [(a, b) for n, a in enumerate(winners) for b in winners[:n]]
        if pairs:
            shared.append(sum(a == b for a, b in pairs) / len(pairs))
    return sum(shared) / len(shared)
