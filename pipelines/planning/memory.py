"""The memory that a run's diffusers pipeline takes, by component and by quantisation, before anything is loaded."""

from collections.abc import Mapping

from actors.messages import Renderer
from pipelines.settings.renderer import DiffusersSettings
from pipelines.settings.settings import Settings


def memory_lines(renderer: Renderer, settings: Settings) -> list[str]:
    """Memory of each actor in lines, for --dry-run: none for a renderer that loads no weights."""
    own = settings.renderer
    if not isinstance(own, DiffusersSettings):
        return []
    from actors.renderers.diffusers.renderer import DiffusersRenderer, text_encoder_components
    from actors.renderers.diffusers.weights.pipeline_source import check_reachable

    assert isinstance(renderer, DiffusersRenderer)
    try:
        check_reachable(own.model, own.revision)
        form, source = renderer.weights_format, renderer.source
        lines = [_line("renderer", form.bytes_of(source, renderer.components), own.offload)]
        by_name = {
            name: _gigabytes(sum(other.bytes_of(source, renderer.components).values()))
            for name, other in form.alternatives().items()
        }
        lines.append(f"              by quantization: {', '.join(f'{name} {size}' for name, size in by_name.items())}")
        if settings.text_encoder.actors:
            apart = form.bytes_of(source, text_encoder_components(source))
            lines.append(_line("text encoder", apart, "none"))
    except ValueError as error:  # the hub does not tell: a plan is worth having all the same
        return [f"memory        not known before the weights are here: {error}"]
    return lines


def _line(role: str, sizes: Mapping[str, int], offload: str) -> str:
    from actors.renderers.diffusers.weights.memory import HEADROOM, needed_bytes

    parts = ", ".join(f"{name} {_gigabytes(size)}" for name, size in sizes.items())
    waiting = "" if offload == "none" else f", with offload {offload}"
    return (
        f"memory        {_gigabytes(needed_bytes(sizes, offload))} GB for each {role}{waiting}: weights {parts}, and "
        f"{HEADROOM - 1:.0%} for the rest"
    )


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.2f}" if size < 1e10 else f"{size / 1e9:.1f}"
