"""From settings to renderers: which class draws, and whose text encoder it draws from."""

from typing import Any

from actors.messages import Renderer
from actors.pool.role import Role
from pipelines.settings.placement import Placement
from pipelines.settings.renderer import DarkroomSettings, DiffusersSettings, ImageApiSettings
from pipelines.settings.settings import Settings

_PLACEMENT = ("actors", "num_cpus", "num_gpus", "resources", "in_flight", "timeout_s", "setup_timeout_s")


def make_renderer(settings: Settings) -> Renderer:
    """The renderer itself, for its identity; nothing is loaded yet.

    Raises
    ------
    ValueError
        The photographs' folder is missing or holds none.
    """
    role = renderer_role(settings)
    return role.make(**role.arguments)


def pinned(settings: Settings) -> Settings:
    """The settings with a revision on the hub made a commit, so that every node and every resumption draws alike.

    Raises
    ------
    ValueError
        There is no such pipeline, it cannot be had, or its library is not installed.
    """
    renderer = settings.renderer
    if not isinstance(renderer, DiffusersSettings):
        return settings
    from actors.renderers.diffusers.pipeline_loading import library_versions
    from actors.renderers.diffusers.pipeline_source import find_pipeline

    library_versions()
    source = find_pipeline(renderer.model, renderer.revision)
    if settings.text_encoder.actors:
        from actors.renderers.diffusers.renderer import text_encoder_components

        text_encoder_components(source)
    return settings.model_copy(update={"renderer": renderer.model_copy(update={"revision": source.commit})})


def renderer_role(settings: Settings) -> Role:
    renderer = settings.renderer
    match renderer:
        case DarkroomSettings():
            from actors.renderers.darkroom.darkroom import Darkroom

            return _role(
                "renderer", Darkroom, renderer.model_dump(include={"photos", "size", "preview_size"}), renderer
            )
        case DiffusersSettings():
            from actors.renderers.diffusers.renderer import DiffusersRenderer

            arguments = renderer.model_dump(exclude={"kind", *Placement.model_fields})
            apart = settings.text_encoder.device if settings.text_encoder.actors else None
            arguments |= {"device": renderer.device, "text_encoder_device": apart}
            return _role("renderer", DiffusersRenderer, arguments, renderer)
        case ImageApiSettings():
            from actors.renderers.services.image_api import ImageApi

            rate = renderer.requests_per_minute
            arguments = renderer.model_dump(include={"service", "model", "width", "height", "extra"}) | {
                "base_url": renderer.address,
                "api_key_env": renderer.api_key_env,
                "requests_per_minute": rate and rate / renderer.actors,
                "give_up_s": 0.9 * renderer.timeout_s,  # before the pool does
            }
            return _role("renderer", ImageApi, arguments, renderer)


def text_encoder_role(settings: Settings) -> Role | None:
    """The renderers' text encoder, where it has actors of its own."""
    renderer = settings.renderer
    if not settings.text_encoder.actors:
        return None
    assert isinstance(renderer, DiffusersSettings)
    from actors.renderers.diffusers.text_encoder import Flux2TextEncoder

    arguments = renderer.model_dump(include={"model", "revision", "dtype", "guidance_scale"})
    arguments["device"] = settings.text_encoder.device
    return _role("text_encoder", Flux2TextEncoder, arguments, settings.text_encoder)


def _role(name: str, make: type, arguments: dict[str, Any], settings: Placement) -> Role:
    return Role(name=name, make=make, arguments=arguments, **{key: getattr(settings, key) for key in _PLACEMENT})
