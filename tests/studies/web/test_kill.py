"""The server is killed in the middle of a crowd: every vote that was confirmed is there after a restart, once."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx2
import pytest

from studies.results.answers import votes_table
from studies.simulation.participants import Page
from studies.store.database import read_rows
from studies.store.store import Store
from studies.study import Study
from tests.studies.web.conftest import Serve


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(study: Study, port: int) -> subprocess.Popen[bytes]:
    script = Path(sys.executable).parent / "steer-study"
    command = [str(script), "serve", str(study.folder), "--port", str(port), "--approve-all"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    for _ in range(300):
        assert server.poll() is None
        try:
            httpx2.get(f"http://127.0.0.1:{port}/static/icon.svg")
            return server
        except httpx2.TransportError:
            time.sleep(0.05)
    raise AssertionError("the server did not start")


def vote_on(link: str, confirmed: list[tuple[str, str, str]], sent: list[tuple[str, str]]) -> None:
    """Vote as fast as the server confirms, until it is gone or the study ends."""
    base = link.split("/join/")[0]
    with httpx2.Client(follow_redirects=True, timeout=10) as client:
        try:
            page = Page(client.get(link).text)
            while page.action is not None:
                said = {"agreed": "yes"} if page.action == "/consent" else {}
                if page.action == "/answer":
                    winner = ("left", "right")[int(page.fields["position"]) % 2]
                    said = {**page.fields, "winner": winner, "response_ms": "700"}
                    sent.append((link, said["position"]))
                answer = client.post(base + page.action, data=said, follow_redirects=False)
                assert answer.status_code == 303, answer.text
                if page.action == "/answer":
                    confirmed.append((link, said["position"], said["winner"]))
                page = Page(client.get(f"{base}/").text)
        except httpx2.TransportError:
            return


@pytest.mark.slow
def test_kill_9_loses_no_confirmed_vote_and_counts_none_twice(pair_study: Study, port: int) -> None:
    store = Store(pair_study.database)
    invited = store.invite([*pair_study.users, *[None] * 8])
    store.close()
    links = {f"http://127.0.0.1:{port}/join/{token}": name for name, token in invited}
    confirmed: list[tuple[str, str, str]] = []
    sent: list[tuple[str, str]] = []
    for moment in (10, 25, 45):
        server = start(pair_study, port)
        crowd = [threading.Thread(target=vote_on, args=(link, confirmed, sent)) for link in links]
        for participant in crowd:
            participant.start()
        while len(confirmed) < moment and any(participant.is_alive() for participant in crowd):
            time.sleep(0.001)
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        for participant in crowd:
            participant.join()
    assert len(confirmed) >= 45
    rows = [(row["participant"], row["position"], row["winner"]) for row in votes_table(pair_study).to_pylist()]
    places = [row[:2] for row in rows]
    assert len(places) == len(set(places))
    kept = {(links[link], int(position), winner) for link, position, winner in confirmed}
    assert kept <= set(rows)
    assert set(places) <= {(links[link], int(position)) for link, position in sent}
    server = start(pair_study, port)
    for link in links:
        vote_on(link, confirmed, sent)
    server.terminate()
    server.wait(timeout=30)
    final = votes_table(pair_study).to_pylist()
    expected = dict.fromkeys(links.values(), 0)
    for row in final:
        expected[row["participant"]] += 1
    assert all(expected.values())
    assert set(rows) <= {(row["participant"], row["position"], row["winner"]) for row in final}


@pytest.mark.slow
def test_ctrl_c_stops_and_says_where_the_answers_are(pair_study: Study, port: int) -> None:
    script = Path(sys.executable).parent / "steer-study"
    command = [str(script), "serve", str(pair_study.folder), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while True:
        try:
            httpx2.get(f"http://127.0.0.1:{port}/")
            break
        except httpx2.TransportError:
            time.sleep(0.05)
    server.send_signal(signal.SIGINT)
    out, err = server.communicate(timeout=30)
    assert server.returncode == 0
    assert "Stopped; every answer is in" in out
    assert f"{len(pair_study.items)} images wait to be approved" in out
    assert "Traceback" not in err


def test_a_second_server_at_the_same_study_is_refused_in_one_line(pair_study: Study, port: int) -> None:
    server = start(pair_study, port)
    script = Path(sys.executable).parent / "steer-study"
    again = subprocess.run(
        [script, "serve", pair_study.folder, "--port", str(port + 1)], check=False, capture_output=True, text=True
    )
    server.terminate()
    server.wait()
    assert again.returncode == 2
    assert again.stdout == ""
    assert again.stderr.startswith(f"steer-study: {pair_study.folder}: is served already")
    assert len(again.stderr.splitlines()) == 1


def test_a_port_that_is_taken_is_refused_in_one_line(pair_study: Study, port: int) -> None:
    script = Path(sys.executable).parent / "steer-study"
    with socket.create_server(("127.0.0.1", port)):
        done = subprocess.run(
            [script, "serve", pair_study.folder, "--port", str(port)], check=False, capture_output=True, text=True
        )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"steer-study: port {port} on 127.0.0.1 cannot be taken")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_sigterm_leaves_everything_in_the_one_file(pair_study: Study, port: int, tmp_path: Path) -> None:
    store = Store(pair_study.database)
    ((_, token),) = store.invite(["u1"])
    store.close()
    server = start(pair_study, port)
    confirmed: list[tuple[str, str, str]] = []
    vote_on(f"http://127.0.0.1:{port}/join/{token}", confirmed, [])
    server.terminate()
    server.wait(timeout=30)
    shutil.copy(pair_study.database, tmp_path / "alone.sqlite")
    assert len(read_rows(tmp_path / "alone.sqlite", "SELECT * FROM votes")) == len(confirmed) > 0


def test_votes_can_be_read_and_reported_while_the_server_runs(pair_study: Study, serve: Serve, tmp_path: Path) -> None:
    site = serve(pair_study)
    clients = [site.begun(user) for user in pair_study.users]
    for client in clients:
        page = Page(client.get("/").text)
        while page.action is not None:
            said = {**page.fields, "winner": ("left", "right")[int(page.fields.get("position", 0)) % 2]}
            page = Page(client.post(page.action, data=said).text)
    script = Path(sys.executable).parent / "steer-study"
    for arguments in (
        [
            "export",
            pair_study.folder,
            "--answers",
            tmp_path / "votes.parquet",
            "--participants",
            tmp_path / "people.csv",
        ],
        ["elo", pair_study.folder, "--out", tmp_path / "report"],
    ):
        done = subprocess.run([script, *arguments], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "report" / "report.html").is_file()
    assert all("Thank you" in client.get("/").text for client in clients)
