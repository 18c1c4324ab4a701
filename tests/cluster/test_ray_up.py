"""A cluster as its users make it: `ray up` over ssh onto hosts, `steer-batch` on the head, and a host that is lost."""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from tests.cluster.hosts import Hosts
from tests.pipelines.console import journal_lines, wait_for

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
HEAD, SERVICES, RENDERER, LOST = range(4)
UNTIL_LOST = """
import os, time
os.environ["RAY_AUTH_MODE"] = "token"
import ray
ray.init("auto", log_to_driver=False, logging_level="ERROR")
while sum(node["Alive"] for node in ray.nodes()) != 3:
    time.sleep(1)
"""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    folder = tmp_path_factory.mktemp("cluster")
    with Hosts(folder, 4) as hosts:
        for home in hosts.homes:
            (home / "pamela-steer").symlink_to(ROOT)
            (home / "venv").symlink_to(sys.prefix)
        yield hosts


@pytest.fixture(scope="module")
def cluster(hosts: Hosts) -> Path:
    """The on-premises file with these hosts in it, brought up."""
    path = hosts.folder / "cluster.yaml"
    path.write_text(yaml.safe_dump(on_these(hosts)), "utf-8")
    finish(hosts, "ray", "get-auth-token", "--generate")
    finish(hosts, "ray", "up", "--yes", "--no-config-cache", path, timeout_s=120)
    return path


def test_a_run_loses_a_host_and_has_the_records_of_an_undisturbed_one(
    hosts: Hosts, cluster: Path, checkpoint: Path, tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a cup of coffee\na pagoda above a lake\n", "utf-8")
    calm, struck = tmp_path / "calm", tmp_path / "struck"

    finish(hosts, *steer(cluster, checkpoint, prompts, calm))
    process = subprocess.Popen(
        hosts.at_desk(*steer(cluster, checkpoint, prompts, struck)), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_for(lambda: journal_lines(struck) >= 2, process)
    hosts.cut_off(LOST)
    output, errors = process.communicate(timeout=300)
    finish(hosts, "ray", "exec", cluster, f"{sys.executable} -c {shlex.quote(UNTIL_LOST)}")

    assert process.returncode == 0, (output + errors).decode()
    assert json.loads((struck / "run.json").read_text("utf-8"))["counts"]["failed"] == 0
    for table in ("candidates.parquet", "trajectories.parquet"):
        assert pq.read_table(struck / table).equals(pq.read_table(calm / table))


def on_these(hosts: Hosts) -> dict[str, object]:
    """docs/clusters/local.yaml as somebody would fill it in who has everything installed."""
    text = (ROOT / "docs/clusters/local.yaml").read_text("utf-8")
    services, renderers = ["192.168.1.11", "192.168.1.12"], ["192.168.1.21", "192.168.1.22"]
    for example, host in zip(("192.168.1.10", services[0], *renderers), range(4), strict=True):
        text = text.replace(example, hosts.address(host))
    config = yaml.safe_load(text)
    config["cluster_name"] = hosts.folder.name
    config["provider"]["worker_ips"] = [hosts.address(host) for host in (SERVICES, RENDERER, LOST)]
    config["auth"] = {"ssh_user": "root", "ssh_private_key": str(hosts.key)}
    config["file_mounts"] = {"~/.ray/auth_token": "~/.ray/auth_token"}
    config["setup_commands"] = []
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        start = config[commands][-1]  # what came before it is `ray stop`
        config[commands] = [start.replace("ray start", "ray start --num-cpus=1 --object-store-memory=100000000")]
    return config


def steer(cluster: Path, checkpoint: Path, prompts: Path, out: Path) -> tuple[object, ...]:
    size = "--candidates 6 --iterations 3 --set renderer.size=64"
    pinned = (
        "--set renderer.actors=2 --set renderer.timeout_s=20 --set 'renderer.resources={renderer: 1}' "
        "--set scorer.actors=1 --set 'scorer.resources={services: 0.5}' "
        "--set 'proposer.resources={services: 0.5}' --set nodes_timeout_s=60"
    )
    run = f"steer-batch --address auto --users all --prompts {prompts} --predictor {checkpoint} --out {out}"
    return "ray", "exec", cluster, f"source ~/pamela-steer/docs/clusters/node.sh; {run} {size} {pinned}"


def finish(hosts: Hosts, *command: object, timeout_s: float = 180) -> None:
    done = subprocess.run(hosts.at_desk(*command), check=False, capture_output=True, text=True, timeout=timeout_s)
    assert done.returncode == 0, done.stdout + done.stderr
