"""The command `steer-live`: what it refuses, and the link of somebody who has lost it."""

import json
import socket
from pathlib import Path

import pytest

from pipelines.live import link_of
from pipelines.live.cli import main
from pipelines.live.people.folder import PeopleFolder
from tests.in_this_process import call


@pytest.fixture
def people(tmp_path: Path) -> Path:
    folder = PeopleFolder(tmp_path / "people")
    for name in ("Ada", "Bob B."):
        folder.add(name, tmp_path / "checkpoint", "abc")
    folder.close()
    return tmp_path / "people"


def test_the_link_of_somebody_who_was_here_is_printed_whatever_the_case_of_their_name(people: Path) -> None:
    done = call(main, "steer-live", "--link", "bob  b.", "--people", people, "--host", "0.0.0.0", "--port", 8080)

    key = json.loads((people / "Bob B." / "person.json").read_text())["key"]
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"http://127.0.0.1:8080/join/{key}\n"
    assert link_of("Bob B.", people=people, host="::1") == f"http://[::1]:8000/join/{key}"


def test_a_link_can_be_asked_for_while_steer_live_is_at_the_folder(people: Path) -> None:
    at_it = PeopleFolder(people)

    assert call(main, "steer-live", "--link", "Ada", "--people", people).returncode == 0
    at_it.close()


def test_a_link_of_nobody_is_refused_with_the_names_that_there_are(people: Path, tmp_path: Path) -> None:
    done = call(main, "steer-live", "--link", "Eve", "--people", people)
    nowhere = call(main, "steer-live", "--link", "Eve", "--people", tmp_path / "none")
    no_port = call(main, "steer-live", "--link", "Ada", "--people", people, "--port", 0)

    assert done.returncode == nowhere.returncode == no_port.returncode == 2
    assert done.stderr == f"steer-live: --link Eve: nobody of this name is in {people}; there is Ada, Bob B.\n"
    assert nowhere.stderr.endswith("there is nobody\n")
    assert "name the port that steer-live listens on by --port" in no_port.stderr


def test_a_port_that_is_taken_is_refused_in_one_line_and_leaves_the_folder_to_others(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = call(main, "steer-live", "--port", port, "--people", tmp_path / "people")

    assert done.returncode == 2
    assert done.stderr.startswith(f"steer-live: port {port} on 127.0.0.1 cannot be taken")
    assert len(done.stderr.splitlines()) == 1
    PeopleFolder(tmp_path / "people").close()


def test_wrong_settings_are_refused_in_one_line(tmp_path: Path) -> None:
    done = call(main, "steer-live", "--people", tmp_path / "people", "--preset", "nothing", "--port", 0)

    assert done.returncode == 2
    assert "unknown preset 'nothing'" in done.stderr
    assert done.stdout == ""


def test_a_folder_that_another_steer_live_is_at_is_refused_in_one_line(people: Path) -> None:
    at_it = PeopleFolder(people)

    done = call(main, "steer-live", "--people", people, "--port", 0)

    assert done.returncode == 2
    assert "another steer-live is at it" in done.stderr
    at_it.close()
