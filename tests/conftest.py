"""A real browser for the tests that look at pages, a real Ray for those that run actors, and what is made only once."""

import fcntl
import logging
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser, sync_playwright

from actors.pool.cluster import LOCAL_CLUSTER_ENVIRONMENT
from tests.browser import EXECUTABLE, NAMES
from tests.nodes import STORE
from tests.pipelines.console import command, environment

# Ray reads these once in a process, some at its import: they are the same for every Ray that the tests start.
# A token of our own, for those who join from another process, and since two that start at once would each write one.
os.environ |= {**LOCAL_CLUSTER_ENVIRONMENT, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: as actors have it, so that digits agree

# What is started in the background of a script ignores Ctrl-C, and so would whatever it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# That a machine has other work is no defect of what is tested: examples have no time limits.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--host-resolver-rules=MAP study.test 127.0.0.1",  # a host whose pages are no secure context
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")  # while it is open, its event loop is in the way of others
def chromium() -> Iterator[Browser]:
    if EXECUTABLE is None:
        pytest.skip(f"no browser to look at the page with: none of {', '.join(NAMES)} is on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


MakeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """Fill a folder once for all workers of xdist, who have a process each: the first fills it, the others wait."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = root / name, root / f"{name}.done"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed to make it
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def demo(make_once: MakeOnce) -> Path:
    """What `make demo` runs: twelve raters x four prompts, 256 x 256. Minutes. Not to be changed."""

    def run(folder: Path) -> None:
        prompts = Path(__file__).parents[1] / "prompts.txt"
        arguments = command("--users", "all", "--prompts", prompts, "--out", folder / "run")
        done = subprocess.run(arguments, check=False, capture_output=True, text=True, env=environment())
        assert done.returncode == 0, done.stderr

    return make_once("demo", run) / "run"


@pytest.fixture(scope="session")
def ray_head() -> Iterator[str]:
    """The address of a small Ray on loopback, with GPUs that only Ray believes in: one for each worker of xdist.

    Whoever joins it, this process or a command's, leaves no actor behind: they end with the job that started them.
    """
    from ray.cluster_utils import Cluster

    resources = {"num_cpus": 2, "num_gpus": 2, "object_store_memory": STORE}
    cluster: Any = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **resources})
    yield cluster.address
    cluster.shutdown()


@pytest.fixture(scope="module")
def ray(ray_head: str) -> Iterator[None]:
    """This process has joined the small Ray."""
    import ray

    ray.init(ray_head, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def ray_of_its_own() -> Iterator[None]:
    """A Ray whose processes have the environment that this process has now."""
    import ray

    ray.init("local", num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()
