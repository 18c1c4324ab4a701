"""What strangers, other participants and other sites can reach: nothing."""

from functools import partial

import pytest
from starlette.testclient import TestClient

from studies.results.answers import votes_table
from studies.study import Study
from studies.web import middleware
from studies.web.middleware import TokenBucket
from tests.studies.web.conftest import TOKEN, Serve, answer


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../items.parquet",
        "/assets/..%2fitems.parquet",
        "/assets/%2e%2e%2fvotes.sqlite",
        "/assets/....//items.png",
        "/static/../../app.py",
        "/static/%2e%2e/%2e%2e/app.py",
        "/items.parquet",
        "/votes.sqlite",
        "/study.json",
        "/assets/",
        "/assets/0.png",
    ],
)
def test_nothing_outside_the_assets_can_be_read(pair_study: Study, serve: Serve, path: str) -> None:
    client = serve(pair_study).begun("u1")
    response = client.get(path)
    assert response.status_code in (403, 404)
    for secret in (b"PAR1", b"SQLite", b"completion_code", b"import"):
        assert secret not in response.content


def test_an_image_needs_a_session(pair_study: Study, serve: Serve) -> None:
    site = serve(pair_study)
    name = next(iter(pair_study.items))
    assert site.begun("u1").get(f"/assets/{name}.png").status_code == 200
    assert site.visitor().get(f"/assets/{name}.png").status_code == 404


def test_images_that_nobody_reviewed_are_seen_by_the_researcher_only(pair_study: Study, serve: Serve) -> None:
    site = serve(pair_study, approve_all=False)
    name = next(iter(pair_study.items))
    assert site.invited("u1").get(f"/assets/{name}.png").status_code == 404
    researcher = site.visitor()
    researcher.get("/researcher", params={"token": TOKEN})
    assert researcher.get(f"/assets/{name}.png").status_code == 200


def test_the_researchers_pages_are_behind_the_token(pair_study: Study, serve: Serve) -> None:
    site = serve(pair_study)
    for client in (site.visitor(), site.begun("u1")):
        assert client.get("/researcher").status_code == 401
        for path in ("/researcher/images", "/researcher/votes.csv", "/researcher/participants.csv"):
            assert client.get(path).status_code == 403
        assert client.post("/researcher/images", data={"shown": "x"}).status_code == 403
        assert client.post("/researcher/login", data={"token": TOKEN[:-1]}).status_code == 401
    researcher = site.visitor()
    landed = researcher.get("/researcher", params={"token": TOKEN})
    assert landed.status_code == 200
    assert "token" not in str(landed.url)
    assert TOKEN not in landed.text
    assert researcher.get("/researcher/votes.csv").text.startswith("participant,user,position")


def test_one_participant_cannot_answer_for_another(pair_study: Study, serve: Serve) -> None:
    site = serve(pair_study)
    one, two = site.begun("u1"), site.begun("u2")
    answer(one)
    other = {row["participant"] for row in votes_table(pair_study).to_pylist()}
    answer(two, participant=next(iter(other)))
    rows = votes_table(pair_study).to_pylist()
    assert [row["user"] for row in rows] == ["u1", "u2"]


def test_posts_from_another_site_are_refused(pair_study: Study, serve: Serve) -> None:
    client = serve(pair_study).begun("u1")
    for headers in (
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        assert client.post("/answer", data={"position": "0", "winner": "left"}, headers=headers).status_code == 403
        assert client.post("/withdraw", headers=headers).status_code == 403
    assert len(votes_table(pair_study)) == 0
    same = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/answer", data={"position": "0", "winner": "left"}, headers=same).status_code == 200
    assert len(votes_table(pair_study)) == 1


def test_every_answer_carries_a_strict_policy(pair_study: Study, serve: Serve) -> None:
    site = serve(pair_study)
    client = site.begun("u1")
    name = next(iter(pair_study.items))
    for path in ("/", "/nowhere", f"/assets/{name}.png", "/static/study.js", "/researcher"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
    assert client.get("/").headers["cache-control"] == "no-store"


def test_sessions_are_out_of_reach_of_scripts_and_other_sites(pair_study: Study, serve: Serve) -> None:
    site = serve(pair_study)
    (_, token) = site.study_session.store.invite([None])[0]
    joined = site.visitor().get(f"/join/{token}", follow_redirects=False)
    cookie = joined.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert joined.headers["location"] == "/?joined"
    secure = TestClient(site.visitor().app, base_url="https://testserver")
    assert "secure" in secure.get(f"/join/{token}", follow_redirects=False).headers["set-cookie"].lower()


def test_what_people_write_is_escaped_wherever_it_is_shown(run_folder, tmp_path, serve: Serve) -> None:
    from studies.design.making import make_pairs
    from studies.design.steered_images import read_steered_images

    attack = "<script>alert(1)</script>"
    run = run_folder(prompts={"p1": f"a wall {attack}"})
    choices = {
        "show_prompt": True,
        "title": attack,
        "question": attack,
        "notice": attack,
        "about": attack,
        "practice": 0,
    }
    site = serve(make_pairs(read_steered_images([run]), [run], tmp_path / "s", others=1, choices=choices))
    client = site.invited("u1")
    pages = [client.get("/").text]
    client.post("/consent", data={"agreed": "yes"})
    pages.append(client.get("/").text)
    client.post("/about", data={"nationality": attack, "gender_other": '"><img src=x onerror=alert(1)>'})
    pages.append(client.get("/").text)
    researcher = site.visitor()
    pages.append(researcher.get("/researcher", params={"token": TOKEN}).text)
    assert all(attack not in page and "onerror" not in page for page in pages)
    assert "&lt;script&gt;" in pages[0]


def test_a_spreadsheet_finds_no_formula_in_an_export(pair_study: Study, serve: Serve) -> None:
    site = serve(pair_study)
    client = site.invited("u1")
    client.post("/consent", data={"agreed": "yes"})
    client.post("/about", data={"nationality": "=HYPERLINK(1)"})
    researcher = site.visitor()
    researcher.get("/researcher", params={"token": TOKEN})
    assert "'=HYPERLINK(1)" in researcher.get("/researcher/participants.csv").text


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the limits of a server that is made now, time does not pass: however slow a machine is, requests are fast."""
    monkeypatch.setattr(middleware, "TokenBucket", partial(TokenBucket, clock=lambda: 0.0))


@pytest.mark.usefixtures("still")
def test_large_bodies_and_hasty_visitors_are_held_back(pair_study: Study, serve: Serve) -> None:
    client = serve(pair_study).begun("u1")
    assert client.post("/about", data={"nationality": "x" * 100_000}).status_code == 413
    answers = [client.get("/researcher") for _ in range(210)]
    limited = [response for response in answers if response.status_code == 429]
    assert limited
    assert int(limited[0].headers["retry-after"]) >= 1


@pytest.mark.usefixtures("still")
def test_made_up_cookies_do_not_help_who_guesses_secrets(pair_study: Study, serve: Serve) -> None:
    site = serve(pair_study)
    name = f"study-{pair_study.fingerprint}"
    for path in ("/join/guess", "/researcher?token=guess", "/?PROLIFIC_PID=guess"):
        client = site.visitor()
        answers = [client.get(path, headers={"Cookie": f"{name}=made-up-{n}"}).status_code for n in range(160)]
        assert 429 in answers


@pytest.mark.usefixtures("still")
def test_guesses_of_the_researchers_token_are_limited_by_cookie_as_by_form(pair_study: Study, serve: Serve) -> None:
    site = serve(pair_study)
    name = f"researcher-{pair_study.fingerprint}"
    client = site.visitor()
    guesses = [client.get("/researcher", headers={"Cookie": f"a=b; {name}=guess-{n}"}).status_code for n in range(160)]
    assert (guesses.count(401), guesses.count(429)) == (150, 10)
    signed_in = serve(pair_study).visitor()
    signed_in.get("/researcher", params={"token": TOKEN})
    assert {signed_in.get("/researcher/participants.csv").status_code for _ in range(160)} == {200}


def test_a_bucket_fills_again_and_the_oldest_are_forgotten() -> None:
    now = [0.0]
    bucket = TokenBucket(per_second=2, burst=3, most=2, clock=lambda: now[0])
    assert [bucket.take("a") for _ in range(3)] == [0, 0, 0]
    assert bucket.take("a") == pytest.approx(0.5)
    now[0] = 1.0
    assert bucket.take("a") == 0
    for name in "bc":
        bucket.take(name)
    assert [bucket.take("a") for _ in range(3)] == [0, 0, 0]  # forgotten, and full again


def test_a_prolific_id_is_no_proof_of_who_somebody_is(pair_study: Study, serve: Serve) -> None:
    site = serve(pair_study, prolific=True)
    own, stranger = site.visitor(), site.visitor()
    for client in (own, stranger):
        client.get("/", params={"PROLIFIC_PID": "u1"})
    own.post("/consent", data={"agreed": "yes"})
    own.post("/about", data={})
    answer(own)
    assert votes_table(pair_study)["user"].to_pylist() == [None]  # nobody's taste by a name alone
    assert stranger.post("/withdraw").status_code == 403
    assert len(votes_table(pair_study)) == 1
    assert own.post("/withdraw").status_code == 200
    assert site.visitor().get("/", params={"PROLIFIC_PID": "u1"}).status_code == 403


def test_hostile_bytes_are_refused_with_the_same_headers_as_everything(pair_study: Study, serve: Serve) -> None:
    site = serve(pair_study)
    client = site.begun("u1")
    researcher = f"researcher-{pair_study.fingerprint}".encode()
    odd = client.get("/researcher", headers=[(b"cookie", researcher + b"=\xe9\xff")])
    forms = [
        client.post("/answer", content=b"x", headers={"Content-Type": kind})
        for kind in (
            "multipart/form-data; boundary=x; charset=undefined",
            "application/json",
            "text/plain",
            "x;charset=\x00",
        )
    ]
    assert odd.status_code == 401
    assert {response.status_code for response in forms} == {415}
    for response in (odd, *forms):
        assert response.headers["content-security-policy"].startswith("default-src 'none'")


def test_two_studies_on_one_machine_do_not_sign_each_other_out(
    pair_study: Study, rating_study: Study, serve: Serve
) -> None:
    assert pair_study.fingerprint != rating_study.fingerprint
    one, two = serve(pair_study).invited("u1"), serve(rating_study).invited()
    assert not set(one.cookies) & set(two.cookies)


def test_prolific_is_closed_unless_it_was_opened(pair_study: Study, serve: Serve) -> None:
    refused = serve(pair_study).visitor().get("/", params={"PROLIFIC_PID": "5f3e"})
    assert refused.status_code == 403
    site = serve(pair_study, prolific=True)
    assert site.visitor().get("/", params={"PROLIFIC_PID": "../x"}).status_code == 400
    client = site.visitor()
    assert "I agree to take part" in client.get("/", params={"PROLIFIC_PID": "5f3e"}).text
