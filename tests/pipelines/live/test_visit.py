"""The whole way by HTTP: getting to know, steering, proving, keeping – and who may see what."""

import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import httpx2
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.execution.driver import Driver, RoundFailedError
from pipelines.live.people.answers import AnswerLog
from pipelines.live.web.visits import Visits
from pipelines.records.run_folder import read_about
from pipelines.search.history import History
from pipelines.search.rounds import Round
from pipelines.search.state_machine import Step
from predictor.enrolment import read_person
from predictor.simulation.attributes import measure
from studies.results.votes import study_votes
from studies.study import read_study
from tests.pipelines.live.conftest import Serve
from tests.pipelines.live.visitor import Visitor


def brightness(png: bytes) -> float:
    """What a visitor likes who likes bright pictures."""
    with Image.open(io.BytesIO(png)) as image:
        return float(measure(image)[0])


def newcomer(link: str, name: str, questions: int = 2) -> Visitor:
    visitor = Visitor(link)
    visitor.begin(name)
    visitor.answer_questions(brightness, questions)
    return visitor


def returning(link: str, people: Path, name: str) -> Visitor:
    """Somebody who comes back by their own link to the server of any link."""
    key = json.loads((people / name / "person.json").read_text())["key"]
    return Visitor(link.split("/join/")[0] + f"/join/{key}")


def test_somebody_gets_from_the_first_question_to_a_proof(link: str, people: Path) -> None:
    visitor = newcomer(link, "Ada", 6)
    visitor.post("/know/stop")
    for prompt in ("a cup of coffee", "a pagoda above a lake"):
        visitor.steer(prompt, brightness, rounds=2)

    verdict = visitor.prove(brightness)

    assert re.search(r"You preferred your own picture in \d+ of 12 pairs", verdict)
    folder = people / "Ada"
    choices = pq.read_table(folder / "choices.parquet").to_pylist()
    assert len(choices) == 6 + 4
    assert all(choice["chosen"] in choice["shown"] for choice in choices)
    for run in (folder / "runs").iterdir():
        rows = {row["user"]: row for row in pq.read_table(run / "trajectories.parquet").to_pylist()}
        assert rows["Ada"]["stop_reason"] == "chosen"
        assert {row["scorer"] for row in rows.values()} == {"pamela", "population"}
        assert (run / "gallery.html").is_file()
    votes = study_votes(read_study(folder / "study")).votes
    assert "own" in votes.conditions


def test_a_persons_folder_is_a_dataset_folder(link: str, people: Path) -> None:
    newcomer(link, "Bea", 3)

    answered, demographics = read_person(people / "Bea", "Bea")

    assert len(answered.answers) == 3
    assert all(file.is_file() for file in answered.files)
    assert demographics == {}


def test_whoever_comes_back_by_their_link_is_asked_the_same_question(link: str, people: Path) -> None:
    first = newcomer(link, "Cleo", 3)

    second = returning(link, people, "Cleo")

    assert second.open("/know") == first.open("/know")


def test_a_server_that_is_started_again_goes_on_where_it_was(serve: Serve, tmp_path: Path) -> None:
    people = tmp_path / "people"
    with serve(people) as link:
        visitor = newcomer(link, "Dora", 3)
        visitor.post("/prompts", prompt="a cup of coffee")
        visitor.wait_for("Which do you like best?")
        fields, pictures = visitor.hidden(), visitor.pictures()
        visitor.post(f"{visitor.path}/choose", **fields, chosen=pictures[1][1])
        visitor.path = visitor.path.removesuffix("/choose")
        before = [value for _, value, _ in visitor.wait_for_pictures()]

    with serve(people) as link:
        again = returning(link, people, "Dora")
        again.open(visitor.path)
        after = [value for _, value, _ in again.wait_for_pictures()]

    assert after == before


def test_an_answer_that_was_confirmed_before_a_crash_brings_about_its_round(serve: Serve, tmp_path: Path) -> None:
    people = tmp_path / "people"
    with serve(people) as link:
        visitor = newcomer(link, "Emil", 2)
        visitor.post("/prompts", prompt="a cup of coffee")
        visitor.wait_for("Which do you like best?")
        fields, chosen = visitor.hidden(), visitor.pictures()[1][1]
        run = visitor.path
        visitor.post(f"{run}/choose", **fields, chosen=chosen)
        visitor.path = run
        visitor.wait_for_pictures()
    journal = people / "Emil" / run.removeprefix("/prompts/").join(("runs/", "/journal.jsonl"))
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:2]) + lines[2][:40])  # as if killed while the round was written

    with serve(people) as link:
        again = returning(link, people, "Emil")
        again.open(run)
        pictures = again.wait_for_pictures()

    assert pictures[0][1] == chosen
    assert journal.read_bytes().count(b"\n") == 3


def test_a_prompt_whose_journal_does_not_read_is_told_plainly_and_another_one_can_be_begun(
    serve: Serve, tmp_path: Path
) -> None:
    people = tmp_path / "people"
    with serve(people) as link:
        visitor = newcomer(link, "Emil", 2)
        visitor.post("/prompts", prompt="a cup of coffee")
        visitor.wait_for("Which do you like best?")
        run = visitor.path
    journal = people / "Emil" / run.removeprefix("/prompts/").join(("runs/", "/journal.jsonl"))
    journal.write_bytes(journal.read_bytes().replace(b'"proposed": "', b'"proposed": "?', 1))

    with serve(people) as link:
        again = returning(link, people, "Emil")
        again.wait_for("What was recorded of this prompt does not read any more", run)
        again.post("/prompts", prompt="a cat")
        assert again.wait_for_pictures()


def test_it_can_search_by_itself_and_the_person_goes_on_from_there(link: str, people: Path) -> None:
    visitor = newcomer(link, "Fay", 3)
    visitor.post("/prompts", prompt="a cup of coffee", how="alone")
    pictures = visitor.wait_for_pictures()
    run, fields = visitor.path, visitor.hidden()
    visitor.post(f"{run}/choose", **fields, chosen=pictures[1][1])
    visitor.path = run
    following = visitor.wait_for_pictures()

    assert following[0][1] == pictures[1][1]
    visitor.post(f"{run}/keep", number=visitor.hidden()["number"], picture=following[0][1])
    (folder,) = (people / "Fay" / "runs").iterdir()
    (row,) = pq.read_table(folder / "trajectories.parquet").to_pylist()
    assert row["stop_reason"] == "chosen"


def test_going_back_makes_the_earlier_picture_the_favourite_again(link: str) -> None:
    visitor = newcomer(link, "Gil", 2)
    visitor.post("/prompts", prompt="a cup of coffee")
    first = visitor.wait_for_pictures()
    run = visitor.path
    visitor.post(f"{run}/choose", **visitor.hidden(), chosen=first[1][1])
    visitor.path = run
    visitor.wait_for_pictures()

    visitor.post(f"{run}/onward", number=visitor.hidden()["number"], picture=first[0][1])

    assert visitor.wait_for_pictures()[0][1] == first[0][1]


def test_nobody_sees_anything_without_a_link(link: str) -> None:
    newcomer(link, "Hal", 1)
    stranger = httpx2.Client(base_url=link.split("/join/")[0], verify=False)

    for path in ("/", "/know", "/studio", "/you", "/proof", "/prompts/01-a-cup-of-coffee", "/you/delete"):
        assert stranger.get(path).status_code == 403, path
    assert stranger.get("/events").status_code == 403
    assert stranger.get("/join/guessed").status_code == 403
    assert stranger.post("/begin", content="name=Ivy").status_code == 403


def test_nobody_sees_what_is_anothers(link: str, people: Path) -> None:
    one, other = newcomer(link, "Jo Lindqvist", 2), newcomer(link, "Kim", 2)
    one.post("/prompts", prompt="a cup of coffee")
    one.wait_for_pictures()
    image = re.search(r'src="(/prompts/[^"]+\.png)"', one.page)
    assert image is not None

    assert one.http.get(image[1]).status_code == 200
    assert other.http.get(image[1]).status_code == 404
    assert other.http.get(one.path).status_code == 404
    secret = json.loads((people / "Jo Lindqvist" / "person.json").read_text())["key"]
    for path in ("/studio", "/you", "/know"):
        assert "Jo Lindqvist" not in other.open(path)
        assert secret not in other.page


def test_the_cookies_of_servers_on_one_host_are_apart(tmp_path: Path) -> None:
    studios: list[Any] = [SimpleNamespace(people=SimpleNamespace(path=tmp_path / name)) for name in ("a", "b", "a")]
    here, there, again = (Visits(studio, "token") for studio in studios)
    assert len({here.cookie, here.start_cookie, there.cookie, there.start_cookie}) == 4
    assert (again.cookie, again.start_cookie) == (here.cookie, here.start_cookie)


def test_a_name_that_is_taken_is_refused_beside_the_field(link: str) -> None:
    newcomer(link, "Liv", 1)
    another = Visitor(link)

    another.post("/begin", name="LIV")

    assert "This name is taken" in another.page
    assert 'value="LIV"' in another.page


def test_another_sites_page_cannot_answer_for_somebody(link: str) -> None:
    visitor = newcomer(link, "Mo", 1)

    answer = visitor.http.post("/know/stop", headers={"Sec-Fetch-Site": "cross-site"})

    assert answer.status_code == 403


def test_an_answer_sent_twice_counts_once(link: str, people: Path) -> None:
    visitor = newcomer(link, "Nia", 1)
    fields, (name, value, _) = visitor.hidden(), visitor.pictures()[0]
    visitor.post("/know/answer", **fields, **{name: value})
    following = visitor.page

    visitor.post("/know/answer", **fields, **{name: value})

    assert visitor.page == following
    log = AnswerLog(people / "Nia" / "answers.jsonl")
    assert len(log.answers) == 2
    log.close()


def test_a_prompt_sent_twice_is_begun_once_and_after_a_choice_anew(link: str, people: Path) -> None:
    visitor = newcomer(link, "Nia 2", 1)
    for _ in range(2):
        visitor.post("/prompts", prompt="a cup of  coffee")
    visitor.wait_for_pictures()
    assert len(list((people / "Nia 2" / "runs").iterdir())) == 1

    visitor.post(f"{visitor.path}/choose", **visitor.hidden(), chosen="others")
    visitor.post("/prompts", prompt="a cup of coffee")

    assert len(list((people / "Nia 2" / "runs").iterdir())) == 2


def test_no_byte_of_the_proof_tells_a_condition(link: str, people: Path) -> None:
    visitor = newcomer(link, "Ole", 3)
    visitor.steer("a cup of coffee", brightness, rounds=1)
    visitor.post("/proof/prepare")
    visitor.wait_for('action="/proof/vote"', "/proof")
    headers = [str(visitor.http.get(path).headers) for path in re.findall(r'src="([^"]+)"', visitor.page)]

    study = read_study(people / "Ole" / "study")
    assert len({study.asset(item).stat().st_size for item in study.items}) == 1
    page = visitor.page.replace("initial-scale", "")
    for told in (page, *headers, *(png.decode("latin-1") for _, _, png in visitor.pictures())):
        assert [word for word in ("initial", "population", "steered", "Ole", "u01") if word in told] == []
    assert not re.search(r"\b(own|other)\b", page)


def test_everything_about_somebody_can_be_deleted(link: str, people: Path) -> None:
    visitor = newcomer(link, "Pia", 2)
    visitor.post("/prompts", prompt="a cup of coffee")
    visitor.wait_for_pictures()
    assert (people / "Pia").is_dir()

    visitor.post("/you/delete")

    assert "It is gone" in visitor.page
    assert not (people / "Pia").exists()
    assert visitor.http.get("/you").status_code == 403


def test_somebody_who_is_deleted_while_their_prompts_are_opened_stays_gone(serve: Serve, tmp_path: Path) -> None:
    people = tmp_path / "people"
    with serve(people) as link:
        visitor = newcomer(link, "Quin", 1)
        for prompt in ("a cup of coffee", "a pagoda above a lake"):
            visitor.post("/prompts", prompt=prompt)
            visitor.wait_for_pictures()

    with serve(people) as link, ThreadPoolExecutor(4) as executor:
        again = returning(link, people, "Quin")
        again.open(visitor.path)
        again.wait_for_pictures()  # the models are up
        opening = [executor.submit(again.http.get, "/studio") for _ in range(3)]
        sent = {"content": "prompt=a+rocket", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}
        opening.append(executor.submit(again.http.post, "/prompts", **sent))
        deleted = again.http.post("/you/delete")
        answers = [each.result() for each in opening]

        assert "It is gone" in deleted.text
        assert [answer.text for answer in answers if answer.status_code not in (200, 403, 404, 409)] == []
        assert not (people / "Quin").exists()
        newcomer(link, "Quin", 1)  # the name is free


def test_a_picture_that_is_kept_by_two_clicks_is_kept_once_and_its_tables_read(link: str, people: Path) -> None:
    visitor = newcomer(link, "Rosa", 1)
    visitor.post("/prompts", prompt="a cup of coffee")
    ((_, picture, _), *_) = visitor.wait_for_pictures()
    fields = urlencode({"number": visitor.hidden()["number"], "picture": picture})
    headers = {"Content-Type": "application/x-www-form-urlencoded"}

    with ThreadPoolExecutor(4) as executor:
        clicks = [
            executor.submit(visitor.http.post, f"{visitor.path}/keep", content=fields, headers=headers)
            for _ in range(4)
        ]
        pages = [click.result() for click in clicks]

    assert [page.status_code for page in pages] == [200] * 4
    (run,) = (people / "Rosa" / "runs").iterdir()
    assert {row["stop_reason"] for row in pq.read_table(run / "trajectories.parquet").to_pylist()} == {"chosen"}


def test_a_round_in_which_all_is_refused_is_told_and_can_be_tried_again(
    link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = newcomer(link, "Sven", 1)
    visitor.post("/prompts", prompt="a cup of coffee")
    pictures = visitor.wait_for_pictures()
    run, fields = visitor.path, visitor.hidden()
    with monkeypatch.context() as trouble:
        trouble.setattr(
            "pipelines.execution.driver._round_failure", lambda finished, history: "the model will not answer"
        )
        visitor.post(f"{run}/choose", **fields, chosen=pictures[1][1])
        visitor.wait_for("the model will not answer", run)

    visitor.post(f"{run}/again")
    visitor.path = run

    assert visitor.wait_for_pictures()[0][1] == pictures[1][1]


def test_a_rival_whose_search_came_to_nothing_is_named_in_verdict_and_gallery(
    link: str, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = newcomer(link, "Quin", 3)
    visitor.steer("a cup of coffee", brightness, rounds=1)
    next_round = Driver.next_round

    async def refused(self: Driver, history: History, step: Step) -> Round:
        if history.cohort.scorer == "population":
            raise RoundFailedError("the renderer refuses it", Round(number=1))
        return await next_round(self, history, step)

    monkeypatch.setattr(Driver, "next_round", refused)
    verdict = visitor.prove(brightness)

    assert "Not compared: what suits most people." in verdict
    (run,) = (people / "Quin" / "runs").iterdir()
    assert "the renderer refuses it" in (run / "gallery.html").read_text("utf-8")
    assert list(read_about(run)["failures"].values()) == ["the renderer refuses it"]
