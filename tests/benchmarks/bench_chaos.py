"""Runs of steer-batch on an image API and a chat service that disturb every fourth request.

    python tests/benchmarks/bench_chaos.py --runs 30

Each run, on a real Ray, has a seed of its own by which its services disturb it in every way: busy answers, hangs,
hang-ups, halves of answers and images. Its records then have to equal, byte for byte, those of a run that nobody
disturbed, with the same refusals. Exit status 1 where one does not.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow.parquet as pq

from actors.pool.actor_pool import ActorPool
from actors.pool.role import Role
from actors.renderers.darkroom.darkroom import Darkroom
from pipelines.cli import main as steer_batch
from pipelines.planning.embedded_predictor import embedded_checkpoint
from tests.benchmarks.simulated_roles import report
from tests.disturbed_services import (
    ANSWER_LIMIT_S,
    IMAGE_LIMIT_S,
    PROMPTS,
    PROPOSALS,
    DisturbedServices,
    disturbed_services,
)
from tests.in_this_process import call
from tests.nodes import STORE
from tests.pipelines.conftest import SMALL, locks_end_with_it

RECORDS = ("candidates", "scores", "trajectories", "judgements", "winners")
PROTOCOLS = {
    "alone": ("share=base",),
    "pooled": ("share=pool", "guards.held_out=warn", "guards.reseed=warn"),
}
RETRIES = (0, 1, 2)
"""Of the actors' clients: with none the pool bridges every moment, with two hardly any.

The proposer has one at least: a role of which no actor has ever been up may fail to start three times only, and its
start asks the service, once or once more.
"""
FIRST_PAUSE_S = 0.1
GIVE_UP_AFTER_S = 60


@contextmanager
def impatient_pools(retries: int) -> Iterator[None]:
    """Pools that make a disturbed call again soon, with actors that send a request again so often."""

    class ImpatientPool(ActorPool):
        def __init__(self, role: Role, *arguments: Any, **named: Any) -> None:
            if role.name == "renderer":
                role = replace(role, arguments={**role.arguments, "retries": retries})
            super().__init__(replace(role, first_pause_s=FIRST_PAUSE_S), *arguments, **named)

    with patch("pipelines.run_pools.ActorPool", ImpatientPool):
        yield


def write_inputs(folder: Path, url: str) -> None:
    (folder / "prompts.txt").write_text("\n".join(PROMPTS), "utf-8")
    (folder / "services.yaml").write_text(
        f"""
give_up_after_s: {GIVE_UP_AFTER_S}
renderer: {{kind: image-api, model: painter, base_url: "{url}", width: 64, height: 64, actors: 2,
            timeout_s: {IMAGE_LIMIT_S / 0.9}}}
proposer: {{kind: openai, model: writer, base_url: "{url}", request_timeout_s: {ANSWER_LIMIT_S}}}
protocol: {{name: paper, candidates: {PROPOSALS}, iterations: 2}}
""",
        "utf-8",
    )


def run(folder: Path, name: str, checkpoint: Path, address: str, protocol: str, retries: int) -> float:
    """Run steer-batch to its end, which has to be a good one; the seconds that it took."""
    settings = (*(f"protocol.{setting}" for setting in PROTOCOLS[protocol]), f"proposer.retries={max(1, retries)}")
    began = time.monotonic()
    with impatient_pools(retries), locks_end_with_it():
        done = call(
            steer_batch,
            "steer-batch",
            *("--preset", folder / "services.yaml", "--predictor", checkpoint, "--address", address),
            *("--users", "all", "--prompts", folder / "prompts.txt", "--out", folder / name),
            *(part for setting in settings for part in ("--set", setting)),
        )
    assert done.returncode == 0, f"{name}: status {done.returncode}\n{done.stderr}"
    return time.monotonic() - began


def records_of(run: Path) -> dict[str, bytes]:
    return {record: (run / f"{record}.parquet").read_bytes() for record in RECORDS}


def refusals_of(run: Path) -> int:
    """Candidates that have no image because the service refuses them."""
    errors = pq.read_table(run / "judgements.parquet")["error"].to_pylist()
    return sum("RefusedError" in error for error in errors if error)


def replaced_in(run: Path) -> int:
    """Actors that were lost, or stuck in a call for too long."""
    return (run / "run.log").read_text("utf-8").count("(replacement ")


def differences(run: Path, whole: Path) -> list[str]:
    """The records that are not as those of the undisturbed run."""
    here, there = records_of(run), records_of(whole)
    return [record for record in RECORDS if here[record] != there[record]]


@contextmanager
def small_ray() -> Iterator[str]:
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": STORE}
    cluster: Any = Cluster(initialize_head=True, head_node_args=node)
    try:
        yield cluster.address
    finally:
        cluster.shutdown()


@dataclass
class Tally:
    """What was met, and what came of it."""

    met: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    replaced: int = 0
    seconds: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in PROTOCOLS})
    wrong: dict[str, list[str]] = field(default_factory=dict)
    """What is not as it should be, by the name of the run."""


def undisturbed(folder: Path, checkpoint: Path, address: str) -> dict[str, float]:
    """The seconds of a run by each protocol, of which there are two, so that nothing is read for the first time."""
    took: dict[str, float] = {}
    for protocol in PROTOCOLS:
        run(folder, protocol, checkpoint, address, protocol, retries=2)
        took[protocol] = run(folder, f"{protocol}-again", checkpoint, address, protocol, retries=2)
        assert not differences(folder / f"{protocol}-again", folder / protocol)
    return took


def disturbed_run(
    folder: Path, services: DisturbedServices, checkpoint: Path, address: str, seed: int, tally: Tally
) -> None:
    """Run with the protocol and the retries that are the seed's, and compare."""
    protocol, retries, name = list(PROTOCOLS)[seed % 2], RETRIES[seed % 3], f"seed{seed}"
    try:
        tally.seconds[protocol].append(run(folder, name, checkpoint, address, protocol, retries))
        if wrong := differences(folder / name, folder / protocol):
            tally.wrong[name] = wrong
        tally.replaced += replaced_in(folder / name)
    except AssertionError as error:
        tally.wrong[name] = [str(error)]
    tally.met += services.met
    tally.requests += services.requests


def main() -> None:
    parser = argparse.ArgumentParser(description="Runs on services that disturb them")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of the first run; the others have those after it")
    parser.add_argument("--chance", type=float, default=0.25, help="with which a request is disturbed")
    parser.add_argument("--keep", type=Path, help="folder in which to leave the runs")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, disturbed_services() as services, small_ray() as address:
        folder = said.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint = embedded_checkpoint(Darkroom(size=64), SMALL)
        write_inputs(folder, services.url)
        plain, tally = undisturbed(folder, checkpoint, address), Tally()
        for seed in range(said.seed, said.seed + said.runs):
            services.disturb(seed=seed, chance=said.chance)
            disturbed_run(folder, services, checkpoint, address, seed, tally)
        refusals = {protocol: refusals_of(folder / protocol) for protocol in PROTOCOLS}
    sys.stderr.write("".join(f"{name}: {', '.join(wrong)}\n" for name, wrong in tally.wrong.items()))
    report(
        "chaos",
        {
            "runs": said.runs,
            "equal": said.runs - len(tally.wrong),
            "requests": tally.requests,
            "disturbed": tally.met.total(),
            "met": dict(tally.met.most_common()),
            "replaced actors": tally.replaced,
            "refusals": refusals,
            "undisturbed_s": {name: round(took, 1) for name, took in plain.items()},
            "median_s": {name: round(statistics.median(took), 1) for name, took in tally.seconds.items() if took},
            "longest_s": {name: round(max(took), 1) for name, took in tally.seconds.items() if took},
        },
    )
    sys.exit(bool(tally.wrong))


if __name__ == "__main__":
    main()
