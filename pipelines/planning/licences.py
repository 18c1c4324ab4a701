"""Licences of models: those to accept on the hub before a download, and conditions on showing images."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Licence:
    """A model's terms. `gated`: nothing is downloaded before they are accepted on its page."""

    name: str
    gated: bool = False


LICENCES = {
    "black-forest-labs/FLUX.2-dev": Licence(
        "FLUX [dev] Non-Commercial License: review images before people see them, say they are generated",
        gated=True,
    ),
    "black-forest-labs/FLUX.2-klein-4B": Licence("Apache 2.0"),
    "black-forest-labs/FLUX.2-klein-9B": Licence("FLUX Non-Commercial License", gated=True),
    "meta-llama/Llama-3.1-8B-Instruct": Licence("Llama 3.1 Community License", gated=True),
    "Qwen/Qwen3-4B-Instruct-2507": Licence("Apache 2.0"),
}


def licence_lines(models: Iterable[str]) -> list[str]:
    """A line for each model whose terms are known, with the page where they are accepted."""
    lines = []
    for model in models:
        if (licence := LICENCES.get(model)) is not None:
            accept = f"; accept it on https://huggingface.co/{model}, then `hf auth login`" if licence.gated else ""
            lines.append(f"{model}: {licence.name}{accept}")
    return lines
