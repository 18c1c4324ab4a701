"""The pages as a participant walks through them."""

import re

from studies.results.answers import participants_table, ratings_table, votes_table
from studies.results.progress import progress
from studies.simulation.participants import Page
from studies.study import Study
from tests.studies.web.conftest import TOKEN, Serve, answer


def test_without_an_invitation_there_is_nothing_to_do(pair_study: Study, serve: Serve) -> None:
    site = serve(pair_study)
    assert "open to people with an invitation" in site.visitor().get("/").text
    assert site.visitor().get("/join/guess").status_code == 403
    assert site.visitor().post("/answer", data={"position": "0", "winner": "left"}).status_code == 403


def test_consent_has_to_be_given_before_anything_is_asked(pair_study: Study, serve: Serve) -> None:
    client = serve(pair_study).invited("u1")
    assert "generated or altered by artificial intelligence" in client.get("/").text
    assert client.post("/consent", data={}).status_code == 400
    assert client.post("/answer", data={"position": "0", "winner": "left"}).status_code == 409
    assert Page(client.post("/consent", data={"agreed": "yes"}).text).action == "/about"


def test_every_question_about_oneself_may_be_declined(pair_study: Study, serve: Serve) -> None:
    site = serve(pair_study)
    told, silent = site.invited("u1"), site.invited("u2")
    for client in (told, silent):
        client.post("/consent", data={"agreed": "yes"})
    about = {
        "age": "34",
        "gender": "woman",
        "nationality": " Peruvian ",
        "education": "doctorate",
        "art_experience": "a hobby",
    }
    told.post("/about", data=about)
    silent.post("/about", data={"age": "999", "gender": "", "education": "made up"})
    first, second = participants_table(pair_study).to_pylist()
    assert {k: first[k] for k in about} == {**about, "nationality": "Peruvian"}
    assert {second[k] for k in about} == {None}


def test_votes_are_there_when_they_are_answered_and_the_end_shows_the_code(pair_study: Study, serve: Serve) -> None:
    client = serve(pair_study).begun("u1")
    count = 0
    page = Page(client.get("/").text)
    while page.action is not None:
        if page.action == "/continue":
            page = Page(client.post("/continue").text)
            continue
        page = answer(client, response_ms="1234")
        count += 1
        assert len(votes_table(pair_study)) == count
    assert "Thank you" in page.words
    assert "THANKYOU" in page.words
    assert set(votes_table(pair_study)["response_ms"].to_pylist()) == {1234}


def test_the_same_vote_sent_twice_counts_once_and_leads_on(pair_study: Study, serve: Serve) -> None:
    client = serve(pair_study).begun("u1")
    fields = Page(client.get("/").text).fields
    pages = [client.post("/answer", data={**fields, "winner": winner}) for winner in ("left", "right")]
    assert [page.status_code for page in pages] == [200, 200]
    assert pages[0].text == pages[1].text
    assert votes_table(pair_study)["winner"].to_pylist() == ["left"]


def test_another_device_and_another_day_go_on_at_the_first_trial_not_answered(pair_study: Study, serve: Serve) -> None:
    site = serve(pair_study)
    (_, token) = site.study_session.store.invite(["u1"])[0]
    laptop, phone = site.visitor(), site.visitor()
    laptop.get(f"/join/{token}")
    laptop.post("/consent", data={"agreed": "yes"})
    laptop.post("/about", data={})
    following = answer(laptop)
    later = serve(pair_study)  # the server was started again
    for client in (phone, later.visitor()):
        page = Page(client.get(f"/join/{token}").text)
        assert (page.fields, page.images) == (following.fields, following.images)


def test_malformed_answers_are_refused_in_plain_words(pair_study: Study, serve: Serve) -> None:
    client = serve(pair_study).begun("u1")
    for said, status in (
        ({}, 400),
        ({"position": "-1", "winner": "left"}, 400),
        ({"position": "0", "winner": "both"}, 409),
        ({"position": "0"}, 409),
        ({"position": "999", "winner": "left"}, 409),
        ({"position": "0", "winner": "left", "response_ms": "x"}, 200),
    ):
        response = client.post("/answer", data=said)
        assert response.status_code == status, said
        assert "Traceback" not in response.text
    assert votes_table(pair_study)["response_ms"].to_pylist() == [None]


def test_ratings_are_kept_as_they_were_set_and_an_untouched_slider_is_none(rating_study: Study, serve: Serve) -> None:
    client = serve(rating_study).begun()
    fields = Page(client.get("/").text).fields
    for value in ("", "nan", "101", "-0.1", "inf", "abc"):
        assert client.post("/answer", data={**fields, "rating": value}).status_code == 409
    assert client.post("/answer", data={**fields, "rating": "61.25"}).status_code == 200
    assert ratings_table(rating_study)["rating"].to_pylist() == [61.25]


def test_who_withdraws_is_asked_first_and_then_deleted(pair_study: Study, serve: Serve) -> None:
    client = serve(pair_study).begun("u1")
    answer(client)
    assert "cannot be undone" in client.get("/withdraw").text
    assert len(votes_table(pair_study)) == 1
    assert "deleted" in client.post("/withdraw").text
    assert len(votes_table(pair_study)) == 0
    assert "invitation" in client.get("/").text


def test_an_image_that_was_approved_can_still_be_rejected_and_the_other_way_round(
    pair_study: Study, serve: Serve
) -> None:
    site = serve(pair_study)
    researcher = site.visitor()
    researcher.get("/researcher", params={"token": TOKEN})
    shown = re.findall(r'name="shown" value="([0-9a-f]+)"', researcher.get("/researcher/images?all").text)
    assert set(shown) <= set(pair_study.items)
    assert len(shown) > 5
    researcher.post("/researcher/images?all", data={"shown": shown, f"reject-{shown[0]}": "yes"})
    assert site.study_session.rejected == {shown[0]}
    assert f'name="reject-{shown[0]}" value="yes" checked' in researcher.get("/researcher/images?all").text
    researcher.post("/researcher/images?all", data={"shown": shown})
    assert site.study_session.rejected == set()


def test_images_are_reviewed_page_by_page_and_then_the_study_opens(pair_study: Study, serve: Serve) -> None:
    site = serve(pair_study, approve_all=False)
    researcher = site.visitor()
    assert f"{len(pair_study.items)} images wait" in researcher.get("/researcher", params={"token": TOKEN}).text
    client = site.invited("u1")
    assert "not opened yet" in client.get("/").text
    bad = site.study_session.unreviewed[3]
    while site.study_session.unreviewed:
        shown = re.findall(r'name="shown" value="([0-9a-f]+)"', researcher.get("/researcher/images").text)
        assert shown
        marked = {f"reject-{bad}": "yes"} if bad in shown else {}
        researcher.post("/researcher/images", data={"shown": shown, **marked})
    assert site.study_session.rejected == {bad}
    assert "I agree to take part" in client.get("/").text


def test_the_researchers_page_shows_states_and_what_to_look_at_twice(pair_study: Study, serve: Serve) -> None:
    site = serve(pair_study)
    site.invited("u3")
    one = site.begun("u1")
    page = Page(one.get("/").text)
    while page.action == "/answer":  # the first of two blocks
        check = re.search("choose the (left|right)", page.words)
        wrong = {"left": "right", "right": "left"}[check[1]] if check else "left"
        page = answer(one, winner=wrong, response_ms="1100")
    report = progress(pair_study)
    assert [person.state for person in report.participants] == ["invited", "begun"]
    assert report.participants[1].flags == ("failed attention check",)
    while page.action is not None:
        page = Page(one.post("/continue").text) if page.action == "/continue" else answer(one, response_ms="400")
    report = progress(pair_study)
    assert report.participants[1].state == "finished"
    assert report.participants[1].repeats_same == 0  # always left, and repeats come with the sides exchanged
    assert "one side only" in report.participants[1].flags
    assert "fast" in report.participants[1].flags  # though everybody is as fast: nobody else is there
    assert report.participants[1].last_seen_at
    researcher = site.visitor()
    text = researcher.get("/researcher", params={"token": TOKEN}).text
    for words in ("failed attention check", "one side only", "1 finished", "1 invited"):
        assert words in text
