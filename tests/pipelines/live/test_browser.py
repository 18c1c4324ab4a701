"""steer-live as a person meets it: the installed command with a Ray of its own, and a real Chromium."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.pipelines.console import environment

PHONE: ViewportSize = {"width": 390, "height": 780}
PATIENCE_MS = 60_000


@contextmanager
def live(checkpoint: Path, people: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command and the link that it prints."""
    command = [
        *(str(Path(sys.executable).parent / "steer-live"), "--people", str(people), "--port", str(port)),
        *("--predictor", str(checkpoint), "--set", "renderer.size=64", "--set", "protocol.candidates=4"),
        *(word for role in ("renderer", "scorer", "feature_extractor") for word in ("--set", f"{role}.actors=1")),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment())
    assert process.stderr is not None
    try:
        yield process, next(line for line in process.stderr if line.startswith("open ")).split()[1]
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(60)
        process.stderr.close()


SETTLED = "#main[data-settled]"  # a page takes no answer before anybody can have seen it


def press(page: Page, key: str, place: str) -> None:
    """Answer by the keyboard, and wait for what comes next."""
    number = page.locator(f"{SETTLED} {place}").first
    expect(number).to_be_attached(timeout=PATIENCE_MS)
    before = number.input_value()
    page.keyboard.press(key)
    expect(page.locator(f"{place}[value='{before}']")).to_have_count(0, timeout=PATIENCE_MS)


@pytest.mark.slow
def test_a_person_gets_to_pictures_and_a_verdict_by_keyboard_through_kill_and_reload(
    chromium: Browser, checkpoint: Path, tmp_path: Path
) -> None:
    people = tmp_path / "people"
    context = chromium.new_context(viewport=PHONE)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if "Content Security" in said.text else None)
    with live(checkpoint, people) as (process, link):
        port = int(link.split(":")[2].split("/")[0])
        page.goto(link)
        page.get_by_label("What shall we call you?").fill("Ada", timeout=PATIENCE_MS)
        page.keyboard.press("Enter")
        for key in ("1", "2", "0", "s"):
            press(page, key, "input[name=number]")
        page.reload()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.get_by_label("And the worst").check()
        press_both(page)
        page.get_by_role("button", name="Enough questions").click()
        page.get_by_label("What the picture should show").fill("a cup of coffee")
        page.get_by_role("button", name="Draw it").click()
        press(page, "2", "#four input[name=number]")
        expect(page.get_by_text("Which do you like best?")).to_be_visible(timeout=PATIENCE_MS)
        favourite = page.locator("button.picture").first.get_attribute("value")
        os.kill(process.pid, signal.SIGKILL)
        process.wait(60)
    with live(checkpoint, people, port) as (process, _):
        page.reload()
        expect(page.get_by_text("Which do you like best?")).to_be_visible(timeout=PATIENCE_MS)
        assert page.locator("button.picture").first.get_attribute("value") == favourite
        press(page, "3", "#four input[name=number]")
        expect(page.get_by_text("Which do you like best?")).to_be_visible(timeout=PATIENCE_MS)
        page.keyboard.press("k")
        expect(page.get_by_text("Kept.")).to_be_visible(timeout=PATIENCE_MS)
        page.get_by_role("link", name="Prove it").click()
        page.get_by_role("button", name="Begin").click()
        pair, verdict = page.get_by_text("Which picture do you prefer?"), page.get_by_text("exact 95% interval")
        expect(pair.or_(verdict)).to_be_visible(timeout=PATIENCE_MS)
        while pair.is_visible():
            press(page, "ArrowRight", "input[name=position]")
        expect(verdict).to_be_visible()
        page.goto(f"http://127.0.0.1:{port}/you")
        page.get_by_role("link", name="Delete everything").click()
        page.get_by_role("button", name="Delete everything").click()
        expect(page.get_by_role("heading", name="It is gone")).to_be_visible()
        assert list(people.iterdir()) == []
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    context.close()
    assert problems == []


def press_both(page: Page) -> None:
    """Best and worst of one question."""
    before = page.locator(f"{SETTLED} input[name=number]").first.input_value()
    page.keyboard.press("1")
    expect(page.get_by_text("And which the least?")).to_be_visible()
    page.keyboard.press("4")
    expect(page.locator(f"input[name=number][value='{before}']")).to_have_count(0, timeout=PATIENCE_MS)


def test_a_port_that_is_taken_is_refused_in_one_line(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [
            str(Path(sys.executable).parent / "steer-live"),
            "--port",
            str(port),
            "--people",
            str(tmp_path / "p"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(), timeout=120)

    assert done.returncode == 2
    assert f"steer-live: port {port} on 127.0.0.1 cannot be taken" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_settings_are_refused_in_one_line(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "steer-live"), "--people", str(tmp_path / "p"), "--preset", "nothing"]
    done = subprocess.run(
        [*command, "--port", "0"], capture_output=True, text=True, check=False, env=environment(), timeout=120
    )

    assert done.returncode == 2
    assert "unknown preset 'nothing'" in done.stderr
    assert json.dumps(done.stdout) == '""'
