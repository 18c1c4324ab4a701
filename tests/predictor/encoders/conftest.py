"""Tiny checkpoints, built once; tests that change one copy it."""

from pathlib import Path

import pytest

from tests.checkpoints import tiny_embedding_model, tiny_siglip, tiny_siglip2


@pytest.fixture(scope="session")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_siglip(tmp_path_factory.mktemp("siglip"))


@pytest.fixture(scope="session")
def siglip2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_siglip2(tmp_path_factory.mktemp("siglip2"))


@pytest.fixture(scope="session")
def embedding_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_embedding_model(tmp_path_factory.mktemp("embedding"))
