"""The checkpoint of the pipelines' tests; and hosts are made for those alone who ask for them."""

import os

import pytest

from tests.pipelines.conftest import checkpoint

__all__ = ["checkpoint"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip = pytest.mark.skip(reason="makes network namespaces; run by make test-cluster")
    for item in items:
        if item.get_closest_marker("cluster") and "STEER_TEST_CLUSTER" not in os.environ:
            item.add_marker(skip)
