"""LoRAs (Hu et al. 2021, arXiv:2106.09685) on a pipeline, each with its weight, apart from the pipeline's own."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from actors.renderers.diffusers.weights.weights_file import WeightsFile
from predictor.error_messages import first_line


def load_loras(pipeline: Any, loras: Sequence[tuple[WeightsFile, float]]) -> None:
    """Load LoRAs into a pipeline, and weigh them.

    Raises
    ------
    ValueError
        The pipeline takes none, or one of them is for another model.
    """
    if not loras:
        return
    if not hasattr(pipeline, "load_lora_weights"):
        raise ValueError(f"renderer.loras: a {type(pipeline).__name__} takes no LoRA; leave them out")
    if find_spec("peft") is None:
        raise ValueError("renderer.loras: peft is not installed; pip install 'pamela-steer[diffusers]'")
    names = [f"lora{number}" for number in range(len(loras))]
    for name, (file, _) in zip(names, loras, strict=True):
        _load(pipeline, name, file)
    pipeline.set_adapters(names, adapter_weights=[weight for _, weight in loras])


def _load(pipeline: Any, name: str, file: WeightsFile) -> None:
    path = file.path()
    try:
        pipeline.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=name, use_safetensors=True)
    except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"renderer.loras: {file.reference} is no LoRA of this {type(pipeline).__name__}: {first_line(error)}"
        ) from error
    # diffusers only warns where a file has no layer that the pipeline has.
    if not any(name in adapters for adapters in pipeline.get_list_adapters().values()):
        raise ValueError(
            f"renderer.loras: {file.reference} has no layer of this {type(pipeline).__name__}; name one made for it"
        )
