"""Loads a diffusers pipeline, or some of its components, onto one device, after checking that it can be used."""

import inspect
import json
from collections.abc import Collection, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from actors.renderers.diffusers.weights.lora import load_loras
from actors.renderers.diffusers.weights.memory import check_memory
from actors.renderers.diffusers.weights.pipeline_source import PipelineSource
from actors.renderers.diffusers.weights.quantization import QUANTIZATIONS, check_quantization
from actors.renderers.diffusers.weights.weights_format import WeightsFormat
from predictor.error_messages import first_line

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
    source: PipelineSource, components: Collection[str], form: WeightsFormat, *, device: str, offload: str = "none"
) -> Any:
    """The pipeline with these components only, in this form, ready on the device.

    Raises
    ------
    ValueError
        It cannot be found, cannot be used, cannot be had in this form, or does not fit into memory.
    """
    import torch

    found = pipeline_class(source)
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"{source.name}: torch {torch.__version__} sees no GPU; install a CUDA build, or set num_gpus=0 to use CPUs"
        )
    from_gguf = form.gguf is not None and source.denoiser in components
    folder = source.complete(components, without_weights=[source.denoiser] if from_gguf else [])
    check_memory(source.name, form.bytes_of(source, components), offload, device)
    replaced: dict[str, Any] = dict.fromkeys(source.components - set(components))
    if from_gguf:
        replaced[source.denoiser] = _denoiser_from_gguf(source, folder, form, device if offload == "none" else "cpu")
    # FLUX.2's processor also handles images and needs torchvision for that; its plain tokenizer gives the same ids.
    plain = "tokenizer" in components and source.class_of("tokenizer") == "PixtralProcessor"
    if plain:
        replaced["tokenizer"] = None
    options = {"device_map": device} if offload == "none" else {}
    if quantized := form.quantized(source, components):
        options["quantization_config"] = _quantization_config(source, folder, quantized, form.dtype, device)
    try:
        pipeline = found.from_pretrained(
            folder, dtype=getattr(torch, form.dtype), use_safetensors=True, **options, **replaced
        )
    except ImportError as error:  # weights that come quantised need the library that made them
        raise ValueError(f"{source.name}: {first_line(error)}") from error
    if plain:
        from transformers import AutoTokenizer

        pipeline.register_modules(tokenizer=AutoTokenizer.from_pretrained(folder / "tokenizer"))
    load_loras(pipeline, form.loras if source.denoiser in components else ())
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _quantization_config(
    source: PipelineSource, folder: Path, quantized: Mapping[str, str], dtype: str, device: str
) -> Any:
    """What quantises each of these components while it is read."""
    import diffusers
    import transformers

    loaders = {"diffusers": diffusers, "transformers": transformers}
    configs = {}
    for component, name in quantized.items():
        library = source.library_of(component)
        check_quantization(name, library, device)
        config = json.loads((folder / component / "config.json").read_text("utf-8"))
        if stored := config.get("quantization_config"):
            raise ValueError(
                f"{source.name}: {component} is quantised already, by {stored.get('quant_method')}; "
                f"leave its quantization out"
            )
        configs[component] = QUANTIZATIONS[name].config(loaders[library], dtype)
    return diffusers.PipelineQuantizationConfig(quant_mapping=configs)


def _denoiser_from_gguf(source: PipelineSource, folder: Path, form: WeightsFormat, device: str) -> Any:
    """The denoiser, in the pipeline's configuration, with the weights of a GGUF file."""
    import diffusers
    import torch

    assert form.gguf is not None
    dtype = getattr(torch, form.dtype)
    try:
        return getattr(diffusers, source.class_of(source.denoiser) or "").from_single_file(
            str(form.gguf.path()),
            config=str(folder),
            subfolder=source.denoiser,
            quantization_config=diffusers.GGUFQuantizationConfig(compute_dtype=dtype),
            dtype=dtype,
            device=device,
        )
    except ImportError as error:
        raise ValueError("renderer.gguf: gguf is not installed; pip install 'pamela-steer[quantization]'") from error
    except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"renderer.gguf: {form.gguf.reference} is no {source.class_of(source.denoiser)} of this pipeline: "
            f"{first_line(error)}"
        ) from error
