"""Loads a diffusers pipeline, or some of its components, onto one device, after checking that it can be used."""

import inspect
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from actors.renderers.diffusers.memory import check_memory
from actors.renderers.diffusers.pipeline_source import PipelineSource, weight_bytes

DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
TEXT_ENCODER_COMPONENTS = {
    "Flux2Pipeline": frozenset({"text_encoder", "tokenizer"}),
    "Flux2KleinPipeline": frozenset({"text_encoder", "tokenizer"}),
}
"""Pipelines that render from embeddings made elsewhere -> the components that make those."""
_REQUIRED_PARAMETERS = ("num_inference_steps", "generator", "width", "height")


def library_versions() -> dict[str, str]:
    """Versions of the libraries whose code decides pixels.

    Raises
    ------
    ValueError
        diffusers is not installed.
    """
    try:
        return {name: version(name) for name in ("diffusers", "transformers", "torch")}
    except PackageNotFoundError as error:
        raise ValueError(f"{error.name} is not installed; pip install 'pamela-steer[diffusers]'") from error


def pipeline_class(source: PipelineSource) -> Any:
    """The pipeline's class, if it is a text-to-image pipeline.

    Raises
    ------
    ValueError
        diffusers has no such class, or it needs more than a prompt, or lacks a parameter that the renderer sets.
    """
    import diffusers

    found = getattr(diffusers, source.class_name, None)
    if found is None:
        raise ValueError(
            f"{source.name}: diffusers {version('diffusers')} has no {source.class_name}; install one that has it"
        )
    parameters = inspect.signature(found.__call__).parameters
    if "prompt" not in parameters:
        raise ValueError(f"{source.name}: {source.class_name} takes no text prompt; give a text-to-image pipeline")
    empty = inspect.Parameter.empty
    needed = [n for n, p in parameters.items() if p.default is empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    if more := [name for name in needed if name not in ("self", "prompt")]:
        raise ValueError(f"{source.name}: {source.class_name} wants {', '.join(more)} beside a prompt; take another")
    if lacking := [name for name in _REQUIRED_PARAMETERS if name not in parameters]:
        raise ValueError(f"{source.name}: {source.class_name} takes no {', '.join(lacking)}; take another pipeline")
    return found


def load_pipeline(
    source: PipelineSource, components: Collection[str], *, dtype: str, device: str, offload: str = "none"
) -> Any:
    """The pipeline with these components only, ready on the device.

    Raises
    ------
    ValueError
        It cannot be found, cannot be used, or does not fit into memory.
    """
    import torch

    found = pipeline_class(source)
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"{source.name}: torch {torch.__version__} sees no GPU; install a CUDA build, or set num_gpus=0 to use CPUs"
        )
    folder = source.complete(components)
    check_memory(source.name, weight_bytes(folder, components, DTYPE_BYTES[dtype]), offload, device)
    absent: dict[str, Any] = dict.fromkeys(source.components - set(components))
    # FLUX.2's processor also handles images and needs torchvision for that; its plain tokenizer gives the same ids.
    plain = "tokenizer" in components and source.class_of("tokenizer") == "PixtralProcessor"
    if plain:
        absent["tokenizer"] = None
    where = {"device_map": device} if offload == "none" else {}
    pipeline = found.from_pretrained(folder, dtype=getattr(torch, dtype), use_safetensors=True, **where, **absent)
    if plain:
        from transformers import AutoTokenizer

        pipeline.register_modules(tokenizer=AutoTokenizer.from_pretrained(folder / "tokenizer"))
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
