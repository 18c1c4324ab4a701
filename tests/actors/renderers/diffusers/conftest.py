from pathlib import Path

import pytest

from tests.conftest import MakeOnce


@pytest.fixture(scope="session")
def folders(make_once: MakeOnce) -> dict[str, Path]:
    """Tiny pipelines by name. Not to be changed."""
    from tests.flux2_checkpoints import tiny_flux2, tiny_klein, tiny_unconditional

    makes = {
        "flux2": tiny_flux2,
        "klein": tiny_klein,
        "klein-base": lambda folder: tiny_klein(folder, distilled=False),
        "unconditional": tiny_unconditional,
    }
    return {name: make_once(f"tiny {name}", make) for name, make in makes.items()}
