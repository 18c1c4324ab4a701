"""One cluster for all tests of this folder: starting one takes longer than most of them."""

from collections.abc import Iterator

import pytest

from tests.faults.toy_run import Run, steer
from tests.nodes import Nodes

WHOLE = ("renderer_1", "renderer_2", "proposer", "scorer")


@pytest.fixture(scope="package")
def cluster() -> Iterator[Nodes]:
    nodes = Nodes()
    nodes.need(**dict.fromkeys(WHOLE, 1))
    nodes.join()
    yield nodes
    nodes.shutdown()


@pytest.fixture
def nodes(cluster: Nodes) -> Nodes:
    """The cluster, with what earlier tests have broken put up again."""
    cluster.need(**dict.fromkeys(WHOLE, 1))
    return cluster


@pytest.fixture(scope="package")
def undisturbed(cluster: Nodes, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return steer(tmp_path_factory.mktemp("undisturbed") / "run")
