"""The cluster files: what Ray itself says of them, and whether the paper's actors find places on their nodes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil

from actors.pool import metrics
from pipelines.settings.placement import Placement
from pipelines.settings.settings import load_settings, reproducibility_key

ROOT = Path(__file__).parents[1]
RAY_UP = ("cluster.yaml", "docs/clusters/gcp.yaml", "docs/clusters/local.yaml")
KUBERAY = "docs/clusters/kuberay.yaml"
ON_CLUSTER = ROOT / "docs/clusters/paper-on-cluster.yaml"

Node = dict[str, float]


@pytest.mark.parametrize("name", RAY_UP)
def test_ray_takes_every_cluster_file(name: str) -> None:
    validate_config(prepare_config(read(name)))


@pytest.mark.parametrize("name", RAY_UP)
def test_every_start_of_ray_has_the_environment_of_a_node(name: str) -> None:
    config = read(name)

    for command in [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]:
        assert command.startswith("source ~/pamela-steer/docs/clusters/node.sh && ")
    assert "~/pamela-steer" in config["file_mounts"] and "~/.ray/auth_token" in config["file_mounts"]


@pytest.mark.parametrize("name", ["docs/clusters/node.sh", "docs/clusters/Dockerfile"])
def test_processes_that_an_actor_leaves_behind_are_cleaned_up(name: str) -> None:
    assert "RAY_process_group_cleanup_enabled=true" in (ROOT / name).read_text("utf-8")


def test_the_paper_on_a_cluster_is_the_paper_wherever_records_are_decided() -> None:
    assert reproducibility_key(load_settings(str(ON_CLUSTER))) == reproducibility_key(load_settings("paper"))


@pytest.mark.parametrize("name", ["cluster.yaml", "docs/clusters/gcp.yaml", KUBERAY])
def test_every_actor_of_the_paper_finds_a_place_on_the_node_type_meant_for_it(name: str) -> None:
    nodes = kuberay_nodes(read(name)) if name == KUBERAY else ray_up_nodes(read(name))
    settings = load_settings(str(ON_CLUSTER))
    roles = [settings.renderer, settings.proposer, settings.text_encoder, settings.scorer]

    homeless = [role for role in roles for _ in range(role.actors) if not place(role, nodes)]

    assert homeless == []


@pytest.mark.parametrize("name", ["cluster.yaml", "docs/clusters/gcp.yaml"])
def test_nodes_with_gpus_start_from_none(name: str) -> None:
    types = read(name)["available_node_types"].values()

    assert {kind["min_workers"] for kind in types if kind["resources"].get("GPU")} == {0}


def test_where_spot_capacity_lacks_the_same_nodes_are_there_at_full_price() -> None:
    types = read("cluster.yaml")["available_node_types"]
    spot, on_demand = types["renderer"], types["renderer_on_demand"]

    assert on_demand["resources"] == spot["resources"]
    assert on_demand["node_config"].keys() == spot["node_config"].keys() - {"InstanceMarketOptions"}
    validate_config(prepare_config(read("cluster.yaml")))


def test_rays_autoscaler_starts_spot_instances_first_and_others_after_they_have_failed() -> None:
    assert started({}) == {"renderer": 8}
    assert started({"renderer": 0.0}) == {"renderer_on_demand": 8}
    assert started({"renderer": 0.2, "renderer_on_demand": 0.1}) == {"renderer": 8}


def test_the_dashboard_shows_every_metric_of_a_run() -> None:
    dashboard = json.loads((ROOT / "docs/clusters/grafana.json").read_text("utf-8"))
    shown = json.dumps(dashboard["panels"])
    documented = re.findall(r"^    (ray_pamela_\w+)\{", metrics.__doc__ or "", re.MULTILINE)

    assert len(documented) == 6
    assert [name for name in documented if name not in shown] == []
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in dashboard["panels"])


def test_the_kuberay_manifest_is_a_cluster_that_scales_from_none() -> None:
    spec = read(KUBERAY)["spec"]

    assert (read(KUBERAY)["apiVersion"], read(KUBERAY)["kind"]) == ("ray.io/v1", "RayCluster")
    assert spec["enableInTreeAutoscaling"] and spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["rayStartParams"]["num-gpus"] == "0"
    assert [group["minReplicas"] for group in spec["workerGroupSpecs"]] == [0, 0]
    for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        (container,) = group["template"]["spec"]["containers"]
        assert container["resources"]["limits"] == container["resources"]["requests"]


def test_the_versions_that_files_name_are_the_pinned_ones() -> None:
    pinned = (ROOT / "constraints.txt").read_text("utf-8").split("ray==")[1].split()[0]

    assert read(KUBERAY)["spec"]["rayVersion"] == pinned
    assert f"rayproject/ray:{pinned}-" in (ROOT / "docs/clusters/Dockerfile").read_text("utf-8")


def started(availabilities: dict[str, float]) -> dict[str, int]:
    """Which nodes of cluster.yaml Ray starts for eight renderers, given how lately each type has failed to start."""
    config = AutoscalingConfig(prepare_config(read("cluster.yaml")), skip_content_hash=True)
    wanted = [ResourceRequestUtil.make({"GPU": 1, "renderer": 1})] * 8
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=config.get_node_type_configs(),
        max_num_nodes=config.get_max_num_worker_nodes(),
        resource_requests=ResourceRequestUtil.group_by_count(wanted),
        recoverable_resource_availabilities=availabilities,
    )
    reply = ResourceDemandScheduler(event_logger=None).schedule(request)
    return {launch.instance_type: launch.count for launch in reply.to_launch}


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text("utf-8"))


def ray_up_nodes(config: dict[str, Any]) -> list[Node]:
    types = config["available_node_types"]
    instead = {"renderer_on_demand"}  # of renderers, never beside all of them
    workers = [kind for name, kind in types.items() if name not in {config["head_node_type"], *instead}]
    assert sum(kind["max_workers"] for kind in workers) <= config["max_workers"]
    return [dict(kind["resources"]) for kind in workers for _ in range(kind["max_workers"])]


def kuberay_nodes(manifest: dict[str, Any]) -> list[Node]:
    nodes = []
    for group in manifest["spec"]["workerGroupSpecs"]:
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        own = json.loads(json.loads(group["rayStartParams"]["resources"]))  # the operator wants it quoted twice
        node = {"CPU": float(limits["cpu"]), "GPU": float(limits["nvidia.com/gpu"]), **own}
        nodes += [dict(node) for _ in range(group["maxReplicas"])]
    return nodes


def place(role: Placement, nodes: list[Node]) -> bool:
    """Take what one actor asks for from the first node that has all of it."""
    wanted = {"CPU": role.num_cpus, "GPU": role.num_gpus, **role.resources}
    for node in nodes:
        if all(node.get(name, 0) >= amount - 1e-9 for name, amount in wanted.items()):
            for name in wanted.keys() & node.keys():
                node[name] -= wanted[name]
            return True
    return False
