"""Slow tests that wait for the same thing to be made run on one worker: pytest and pytest-xdist agree on groups."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("number", range(6))
def test_of_a_group(number, worker_id):
    with open("workers", "a") as file:
        file.write(worker_id + "\\n")
"""


@pytest.mark.slow
def test_tests_of_a_group_run_on_one_worker(tmp_path: Path) -> None:
    (tmp_path / "test_group.py").write_text(TESTS, "utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "xdist.plugin", "-n", "2", "--dist", "loadgroup", tmp_path]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # plugins that nothing here needs
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, env=outside | alone)
    workers = (tmp_path / "workers").read_text("utf-8").splitlines()
    assert len(workers) == 6
    assert len(set(workers)) == 1
