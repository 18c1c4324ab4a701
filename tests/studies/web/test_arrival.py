"""How people come to a study, and what they read where they cannot: each case has its own sentence and remedy."""

import pytest
from starlette.testclient import TestClient

from studies.results.answers import participants_table
from studies.study import Study
from tests.studies.web.conftest import Serve, answer

PROLIFIC = "5f3e0a77c2d19b0011aa22bb"
LONG_AGO = "2020-01-01T00:00:00.000+00:00"


def arrived(client: TestClient) -> str:
    return client.get("/", params={"PROLIFIC_PID": PROLIFIC}).text


def test_a_wrong_an_expired_and_a_withdrawn_invitation_are_told_apart(pair_study: Study, serve: Serve) -> None:
    site = serve(pair_study)
    store = site.study_session.store
    (left, expired) = (token for _, token in store.invite([None, None]))
    store._run("UPDATE participants SET invited_at = ? WHERE number = 2", LONG_AGO)
    client = site.visitor()
    client.get(f"/join/{left}")
    client.post("/withdraw")
    said = {}
    for name, token in (("wrong", "guess"), ("expired", expired), ("withdrawn", left)):
        refused = site.visitor().get(f"/join/{token}")
        assert refused.status_code == 403
        said[name] = refused.text
    assert "copy the whole link" in said["wrong"]
    assert "has expired" in said["expired"] and "a new one" in said["expired"]
    assert "You have withdrawn" in said["withdrawn"]


def test_a_browser_that_keeps_no_cookies_is_told_so_and_not_that_the_link_is_wrong(
    pair_study: Study, serve: Serve
) -> None:
    site = serve(pair_study)
    ((_, token),) = site.study_session.store.invite([None])
    client = site.visitor()
    landed = client.get(f"/join/{token}", follow_redirects=False)
    client.cookies.clear()
    page = client.get(landed.headers["location"])
    assert page.status_code == 403
    assert "allow cookies" in page.text
    assert "invitation" not in page.text


def test_the_address_is_clean_once_the_cookie_is_there(pair_study: Study, serve: Serve) -> None:
    client = serve(pair_study).invited("u1")
    landed = client.get("/?joined")
    assert (landed.url.path, landed.url.query) == ("/", b"")
    assert "I agree to take part" in landed.text


def test_a_session_ends_after_its_time_and_the_invitation_begins_a_new_one(pair_study: Study, serve: Serve) -> None:
    site = serve(pair_study)
    ((_, token),) = site.study_session.store.invite(["u1"])
    client = site.visitor()
    client.get(f"/join/{token}")
    client.post("/consent", data={"agreed": "yes"})
    site.study_session.store._run("UPDATE sessions SET started_at = ?", LONG_AGO)
    assert "signed out on this device" in client.get("/").text
    assert client.post("/answer", data={"position": "0", "winner": "left"}).status_code == 403
    assert "About you" in client.get(f"/join/{token}").text


def test_who_has_withdrawn_on_this_device_reads_it_whenever_they_come(pair_study: Study, serve: Serve) -> None:
    client = serve(pair_study).begun("u1")
    assert "Your answers are deleted" in client.post("/withdraw").text
    assert "You have withdrawn from this study" in client.get("/").text


def test_nothing_is_kept_of_who_comes_from_prolific_before_they_agree(pair_study: Study, serve: Serve) -> None:
    site = serve(pair_study, prolific=True)
    client = site.visitor()
    assert "I agree to take part" in arrived(client)
    assert PROLIFIC not in str(client.get("/").url)
    assert client.post("/consent", data={}).status_code == 400
    files = b"".join(path.read_bytes() for path in pair_study.folder.glob("votes.sqlite*"))
    assert PROLIFIC.encode() not in files
    assert len(participants_table(pair_study)) == 0

    client.post("/consent", data={"agreed": "yes"})

    assert participants_table(pair_study, external_ids=True)["external_id"].to_pylist() == [PROLIFIC]
    client.post("/about", data={})
    answer(client)
    again = site.visitor()
    assert "answer" in arrived(again)  # on another device, where they stopped
    assert len(participants_table(pair_study)) == 1


def test_who_closed_the_study_lets_nobody_new_in_and_those_who_have_begun_go_on(
    pair_study: Study, serve: Serve
) -> None:
    site = serve(pair_study, prolific=True)
    begun, invited, from_prolific = site.begun("u1"), site.invited("u2"), site.visitor()
    site.study_session.store.close_to_newcomers()
    assert "This study is closed" in invited.get("/").text
    assert "This study is closed" in arrived(from_prolific)
    assert "This study is closed" in from_prolific.post("/consent", data={"agreed": "yes"}).text
    invited.post("/consent", data={"agreed": "yes"})
    assert participants_table(pair_study)["consented_at"].null_count == 1
    assert answer(begun).action == "/answer"
    site.study_session.store.reopen()
    assert "I agree to take part" in invited.get("/").text


@pytest.mark.parametrize("path", ["/", "/?joined", "/?x"])
def test_a_stranger_reads_that_an_invitation_is_needed(pair_study: Study, serve: Serve, path: str) -> None:
    said = serve(pair_study).visitor().get(path).text
    assert ("allow cookies" if path == "/?joined" else "open to people with an invitation") in said
