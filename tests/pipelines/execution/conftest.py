"""Which pools a driver's test runs on."""

import pytest

from tests.pools import IN_PROCESS, ON_RAY, Pools


@pytest.fixture(params=[IN_PROCESS, ON_RAY], ids=str)
def pools(request: pytest.FixtureRequest) -> Pools:
    """Both, for the tests that ask for it."""
    if request.param is ON_RAY:
        request.getfixturevalue("ray")
    return request.param
