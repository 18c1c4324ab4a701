"""A real browser for the tests that look at pages, a real Ray for those that run actors."""

import logging
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.pipelines.console import command, environment

# Ray reads these once in a process, some at its import: they are the same for every Ray that the tests start.
# A token of our own, for those who join from another process, and since two that start at once would each write one.
os.environ |= {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # loopback
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}

# What is started in the background of a script ignores Ctrl-C, and so would whatever it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")  # while it is open, its event loop is in the way of others
def chromium() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    executable = next(filter(None, map(shutil.which, names)), None)
    if executable is None:
        pytest.skip(f"no browser to look at the page with: none of {', '.join(names)} is on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make demo` runs: twelve raters x four prompts, 256 x 256. Minutes, once a session."""
    run = tmp_path_factory.mktemp("demo") / "run"
    arguments = command("--users", "all", "--prompts", Path(__file__).parents[1] / "prompts.txt", "--out", run)
    done = subprocess.run(arguments, check=False, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    return run


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    """A small Ray on loopback, with GPUs that only Ray believes in."""
    import ray

    ray.init("local", num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()
