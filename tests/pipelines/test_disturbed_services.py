"""A run whose services disturb every fourth request, in every way, ends as one that nobody disturbed."""

from pathlib import Path

import pytest

from tests.benchmarks.bench_chaos import PROTOCOLS, differences, refusals_of, run, write_inputs
from tests.disturbed_services import disturbed_services

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("protocol", "seed", "retries"), [("alone", 6, 0), ("pooled", 7, 1)], ids=["bridged by the pool", "by the client"]
)
def test_a_disturbed_run_has_the_records_and_refusals_of_an_undisturbed_one(
    ray_head: str, checkpoint: Path, tmp_path: Path, protocol: str, seed: int, retries: int
) -> None:
    assert protocol in PROTOCOLS
    with disturbed_services() as services:
        write_inputs(tmp_path, services.url)
        run(tmp_path, "undisturbed", checkpoint, ray_head, protocol, retries)
        services.disturb(seed=seed, chance=0.25)
        run(tmp_path, "disturbed", checkpoint, ray_head, protocol, retries)
        assert services.met.total() > services.requests / 10
        assert len(services.met) > 5
    assert refusals_of(tmp_path / "undisturbed") > 0
    assert differences(tmp_path / "disturbed", tmp_path / "undisturbed") == []
