"""The notice that a run has ended: to a command and an address, whatever the ending, and what becomes of faults."""

import json
import socket
import threading
from pathlib import Path

import pytest

from pipelines.end_of_run import end_notice, send_notice
from tests.actors.proposers.chat.service import Scripted, serve
from tests.pipelines.conftest import Steer
from tests.pipelines.console import small


def test_the_end_of_a_run_is_told_to_a_command_and_to_an_address_that_no_record_holds(
    steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    news = tmp_path / "news.json"
    with serve(lambda _asked, _number: Scripted(body={})) as chat:
        monkeypatch.setenv("TEAM_CHAT", f"{chat.url}/secret-of-the-hook")
        done = steer(
            *small(checkpoint, prompts, tmp_path / "run", users="u01"),
            *(
                "--set",
                f"end_command=tee {news}",
                "--set",
                "end_webhook_env=TEAM_CHAT",
                "--set",
                "price_per_gpu_hour=2",
            ),
        )
    assert done.returncode == 0, done.stderr
    told = json.loads(news.read_text("utf-8"))
    assert (told["ending"], told["run"]) == ("finished", str(tmp_path / "run"))
    assert told["counts"]["trajectories"] == 2
    assert [asked.body for asked in chat.asked] == [told]
    recorded = (tmp_path / "run" / "run.json").read_text("utf-8")
    assert "secret-of-the-hook" not in recorded + (tmp_path / "run" / "run.log").read_text("utf-8")
    assert json.loads(recorded)["costs"][0]["money"] == 0


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("false", "end_command: the end of the run could not be told: it ended with status 1"),
        ("no-such-program", "end_command: the end of the run could not be told: No such file or directory"),
        ("'", "end_command: the end of the run could not be told: No closing quotation"),
    ],
)
def test_a_command_that_fails_is_a_line_and_no_more(command: str, said: str) -> None:
    problems: list[str] = []
    send_notice(end_notice(Path("run"), "finished"), command, None, problems.append)
    assert problems == [said]


def test_an_address_that_refuses_is_a_line_without_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    problems: list[str] = []
    with serve(lambda _asked, _number: Scripted(status=404)) as chat:
        monkeypatch.setenv("TEAM_CHAT", f"{chat.url}/secret")
        send_notice(end_notice(Path("run"), "stopped", "no credit"), None, "TEAM_CHAT", problems.append)
    monkeypatch.delenv("TEAM_CHAT")
    send_notice(end_notice(Path("run"), "finished"), None, "TEAM_CHAT", problems.append)
    assert problems == [
        "end_webhook_env: the end of the run could not be told: the address answered 404",
        "end_webhook_env: the end of the run could not be told: TEAM_CHAT holds no http address where steer-batch runs",
    ]


@pytest.mark.parametrize("address", ["http://chat.example/a secret", "http://chat.example:secret/hook"])
def test_an_address_that_is_no_address_is_a_line_that_does_not_tell_it(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems: list[str] = []
    monkeypatch.setenv("TEAM_CHAT", address)
    send_notice(end_notice(Path("run"), "finished"), None, "TEAM_CHAT", problems.append)
    assert problems == ["end_webhook_env: the end of the run could not be told: InvalidURL"]


def test_an_address_that_answers_no_http_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    problems: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("TEAM_CHAT", f"http://127.0.0.1:{listening.getsockname()[1]}/secret")

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"220 mail.example ready\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        send_notice(end_notice(Path("run"), "finished"), None, "TEAM_CHAT", problems.append)
        thread.join()
    assert problems == ["end_webhook_env: the end of the run could not be told: BadStatusLine"]
