"""Ray's own autoscaler, whose nodes are processes on this machine, starts what is waited for."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow

PORT = 6397
ENVIRONMENT = {
    "RAY_FAKE_CLUSTER": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
}
DRIVER = f"""
import asyncio, ray
ray.init("127.0.0.1:{PORT}", log_to_driver=False, logging_level="ERROR")
from actors.pool.reservation import Reservation
from actors.pool.role import Role
renderers = [sum(node["Alive"] and "renderer" in node["Resources"] for node in ray.nodes())]
role = Role(name="renderer", make=object, actors=2, resources={{"renderer": 1}})
asyncio.run(Reservation().make([role], 60, print))
renderers.append(sum(node["Alive"] and "renderer" in node["Resources"] for node in ray.nodes()))
print(renderers)
"""


@pytest.fixture
def autoscaling_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A head whose autoscaler may start two renderers, and has started none."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    config = tmp_path / "autoscaling.json"
    config.write_text(json.dumps(autoscaling()), "utf-8")
    start = ["ray", "start", "--head", "--block", f"--port={PORT}", "--node-ip-address=127.0.0.1", "--num-cpus=1"]
    start += ["--include-dashboard=false", f"--autoscaling-config={config}"]
    with (tmp_path / "head.log").open("wb") as log:
        head = subprocess.Popen(start, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 30
    while not listening():
        assert time.monotonic() < deadline and head.poll() is None, (tmp_path / "head.log").read_text()
        time.sleep(0.2)
    yield
    started = psutil.Process(head.pid).children(recursive=True)
    head.terminate()
    head.wait(20)
    for process in psutil.wait_procs(started, timeout=5)[1]:  # nodes that the autoscaler started outlive the head
        process.kill()


@pytest.mark.usefixtures("autoscaling_head")
def test_an_autoscaler_starts_the_nodes_that_a_run_waits_for() -> None:
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER], check=False, capture_output=True, text=True, timeout=120, cwd=root
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "waiting for nodes: 0 of 2 renderer there"
    assert done.stdout.splitlines()[-1] == "[0, 2]"


def listening() -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", PORT)) == 0


def autoscaling() -> dict[str, object]:
    """What `ray up` would hand to the head."""
    lists = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")
    lists += ("head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files", "rsync_exclude")
    resources = {"CPU": 1, "renderer": 1, "object_store_memory": 10**8}
    return {
        "cluster_name": "fake",
        "max_workers": 2,
        "provider": {"type": "fake_multinode", "gcs_address": f"127.0.0.1:{PORT}", "launch_multiple": True},
        "available_node_types": {
            "head": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
            "renderer": {"resources": resources, "node_config": {}, "min_workers": 0, "max_workers": 2},
        },
        "head_node_type": "head",
        "idle_timeout_minutes": 5,
        "upscaling_speed": 1.0,
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "rsync_filter": [],
        **{name: [] for name in lists},
    }
