"""Whatever is sent, however often, and whenever the process ends: nobody else notices, and nothing is lost."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unicodedata import category

import httpx2
import pytest

from pipelines.live.people.answers import AnswerLog
from pipelines.live.people.folder import PeopleFolder
from tests.pipelines.live.server import server_of
from tests.pipelines.live.test_visit import brightness, newcomer
from tests.pipelines.live.visitor import Visitor

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/know/answer", b"number=%ff%fe&best=\xff\xfe", 400),
        ("/know/answer", b"number=99999999999999999999&best=none", 400),
        ("/know/answer", b"number=999999&best=none", 409),
        ("/know/answer", b"number=0&best=" + b"a" * 2000, 409),
        ("/know/answer", b"=&=&%&%%&&&", 400),
        ("/know/answer", b"x" * 20_000, 413),
        ("/prompts", b"prompt=%00%01%02%0a%0d", 400),
        ("/prompts", b"prompt=" + b"a" * 501, 400),
        ("/prompts", b"prompt=" + b"a" * 20_000, 413),
        ("/prompts", b"", 400),
        ("/prompts/../../etc/choose", b"number=0", 404),
        ("/prompts/%2e%2e%2fperson.json/choose", b"number=0", 404),
        ("/proof/vote", b"position=0&winner=both", 409),
        ("/proof/prepare", b"", 409),
    ],
)
def test_what_no_form_of_ours_sends_is_refused_and_changes_nothing(
    link: str, people: Path, path: str, body: bytes, status: int
) -> None:
    visitor = Visitor(link)
    visitor.begin(name := f"Abe {abs(hash((path, body))) % 10**9}")
    before = (people / name / "answers.jsonl").read_bytes()

    answer = visitor.http.post(path, content=body, headers=FORM)

    assert answer.status_code == status
    assert (people / name / "answers.jsonl").read_bytes() == before
    assert 'action="/know/answer"' in visitor.open("/know")


@pytest.mark.parametrize("since", ["٣", "9" * 5000, "-1", "1e9", "%00"])
def test_a_stream_of_events_begins_wherever_it_is_asked_to(link: str, since: str) -> None:
    visitor = newcomer(link, f"Bo {abs(hash(since)) % 10**9}", 1)

    with visitor.http.stream("GET", f"/events?since={since}") as stream:
        assert stream.status_code == 200
        assert next(stream.iter_lines()) == "retry: 1000"


@pytest.mark.parametrize(
    "prompt",
    [
        *("a cat\x00\x1b[31m\u0085on a sofa", "猫がソファに" * 40, "\u202egnp.tac"),
        *("<script>alert(1)</script>", "../..", "{{ 7 * 7 }}"),
    ],
)
def test_any_text_is_a_prompt_and_stands_on_the_page_as_text(link: str, people: Path, prompt: str) -> None:
    visitor = newcomer(link, name := f"Cy {abs(hash(prompt)) % 10**9}", 1)

    visitor.post("/prompts", prompt=prompt)
    visitor.wait_for_pictures()

    assert "<script>alert" not in visitor.page
    assert "\x00" not in visitor.page
    assert "49" not in visitor.page.partition("<h1")[2].partition("</h1>")[0]
    (run,) = (people / name / "runs").iterdir()
    kept = json.loads((run / "run.json").read_text("utf-8"))["prompts"][0]["text"]
    assert [character for character in kept if category(character) == "Cc"] == []


def test_fifty_connections_that_listen_keep_nobody_waiting(link: str) -> None:
    visitor = newcomer(link, "Dee", 2)
    cookie = {"Cookie": "; ".join(f"{name}={value}" for name, value in visitor.http.cookies.items())}
    base, release, open_now = str(visitor.http.base_url), threading.Event(), threading.Barrier(51, timeout=60)

    def listen() -> int:
        with httpx2.stream("GET", f"{base}/events", headers=cookie, timeout=60, verify=False) as stream:
            next(stream.iter_lines())
            open_now.wait()
            release.wait(60)
            return stream.status_code

    with ThreadPoolExecutor(50) as pool:
        listening = [pool.submit(listen) for _ in range(50)]
        open_now.wait()
        began = time.perf_counter()
        took = visitor.answer_questions(brightness, 3)
        release.set()
        assert {each.result() for each in listening} == {200}
    assert len(took) == 3
    assert time.perf_counter() - began < 30


def test_a_second_steer_live_on_the_same_people_is_refused(tmp_path: Path) -> None:
    people = PeopleFolder(tmp_path)

    with pytest.raises(ValueError, match=r"another steer-live is at it; open that one's link, or name another folder"):
        PeopleFolder(tmp_path)

    people.close()
    PeopleFolder(tmp_path).close()


def test_people_who_cannot_be_written_are_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ValueError, match=r"file/people: cannot be written: Not a directory; name another folder"):
        PeopleFolder(tmp_path / "file" / "people")


def test_an_answer_that_the_disk_does_not_take_is_refused_with_the_reason_and_can_be_given_again(
    link: str, people: Path
) -> None:
    visitor = newcomer(link, "Eve", 1)
    fields, (name, value, _) = visitor.hidden(), visitor.pictures()[0]
    images = people / "Eve" / "images"
    images.rename(people / "Eve" / "away")
    images.write_text("")  # no folder: as on a disk that is gone

    visitor.post("/know/answer", **fields, **{name: value})
    assert "Nothing was saved, because the disk of steer-live does not take it: File exists" in visitor.words()

    images.unlink()
    (people / "Eve" / "away").rename(images)
    visitor.post("/know/answer", **fields, **{name: value})
    assert visitor.hidden()["number"] == "2"


def test_what_failed_in_a_round_can_be_tried_again(link: str, people: Path) -> None:
    visitor = newcomer(link, "Flo", 1)
    visitor.post("/prompts", prompt="a cup of coffee")
    visitor.wait_for_pictures()
    run = visitor.path
    images = people / "Flo" / "runs" / run.removeprefix("/prompts/") / "images"
    images.rename(images.with_name("away"))
    images.write_text("")
    visitor.post(f"{run}/choose", **visitor.hidden(), chosen="others")
    visitor.path = run
    visitor.wait_for("Try again")

    images.unlink()
    images.with_name("away").rename(images)
    visitor.post(f"{run}/again")

    assert len(visitor.wait_for_pictures()) == 4


@pytest.mark.slow
def test_a_kill_at_any_moment_of_an_answer_loses_none_that_was_confirmed_and_doubles_none(
    checkpoint: Path, tmp_path: Path
) -> None:
    people = tmp_path / "people"
    with server_of(people, checkpoint) as server:
        visitor = newcomer(server.link, "Gus", 1)
        confirmed = 1
        for delay_s in (0.0, 0.01, 0.03, 0.06, 0.12):
            fields, (name, value, _) = visitor.hidden(), visitor.pictures()[1]
            killer = threading.Timer(delay_s, server.kill)
            killer.start()
            try:
                visitor.post("/know/answer", **fields, **{name: value})
                confirmed += 1
            except httpx2.TransportError:
                pass
            killer.join()
            log = AnswerLog(people / "Gus" / "answers.jsonl")
            log.close()
            assert confirmed <= len(log.answers) <= confirmed + 1
            confirmed = len(log.answers)
            server.start()
            visitor.open("/")
            visitor.wait_for('action="/know/answer"', "/")
            assert visitor.hidden()["number"] == str(confirmed)
