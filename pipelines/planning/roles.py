"""From settings to the classes that do the work: the roles of a run, in one place.

What a run asks of its machines, what --dry-run says of it, which pools come up and what each has cost all follow from
`RunRoles`. The classes are named here without their models' libraries: the driver imports none of them.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from actors.messages import Proposer, Renderer
from actors.pool.role import Role
from actors.scorers.plugins import own_scorer
from actors.scorers.registry import SCORERS, scale_of
from pipelines.settings.placement import Placement
from pipelines.settings.proposer import ChatSettings, OpenAISettings, ProposerSettings, VLLMSettings
from pipelines.settings.renderer import ComfyUISettings, DarkroomSettings, DiffusersSettings, ImageApiSettings
from pipelines.settings.scorer import PREDICTOR_SCORERS, GenericScorer, GenericSettings, ScorerSettings, generic
from pipelines.settings.settings import Settings

_PLACEMENT = ("actors", "num_cpus", "num_gpus", "resources", "in_flight", "timeout_s", "setup_timeout_s", "startup_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRoles:
    """All roles of a run. A role may stand behind several scorers."""

    renderer: Role
    text_encoder: Role | None
    """Of the renderer, where it has actors of its own."""
    embedded_text: Callable[[str], str] | None
    """What of a prompt the renderer is given the feature extractor's embedding of; None: it is given none."""
    proposer: Role
    scorers: Mapping[str, Role]
    """The held-out one too, where there is one."""
    predictor: Role | None
    """Whom guards ask about images, whether or not a scorer has it behind it."""
    feature_extractor: Role | None

    @property
    def all(self) -> list[Role]:
        """Each once, those first that an image needs."""
        first = (self.renderer, self.text_encoder, self.feature_extractor, self.proposer)
        roles = [role for role in (*first, *self.scorers.values(), self.predictor) if role is not None]
        return list({role.name: role for role in roles}.values())


def run_roles(settings: Settings, checkpoint: Path | None) -> RunRoles:
    """The roles of a run; `checkpoint` is None where nothing goes by a predictor."""
    return RunRoles(
        renderer=renderer_role(settings),
        text_encoder=text_encoder_role(settings),
        embedded_text=_embedded_text(settings),
        proposer=proposer_role(settings.proposer),
        scorers=scorer_roles(settings, checkpoint),
        predictor=scorer_role(settings.scorer, checkpoint) if checkpoint is not None else None,
        feature_extractor=_feature_extractor_role(settings),
    )


def make_renderer(settings: Settings) -> Renderer:
    """The renderer itself, for its identity; nothing is loaded yet.

    Raises
    ------
    ValueError
        The photographs' folder is missing or holds none.
    """
    role = renderer_role(settings)
    return role.make(**role.arguments)


def with_resolved_revision(settings: Settings) -> Settings:
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
    from actors.renderers.diffusers.weights.pipeline_source import find_pipeline
    from actors.renderers.diffusers.weights.weights_file import find_weights_file

    library_versions()
    source = find_pipeline(renderer.model, renderer.revision)
    if settings.text_encoder.actors:
        from actors.renderers.diffusers.renderer import text_encoder_components

        text_encoder_components(source)
    gguf = None if renderer.gguf is None else find_weights_file(renderer.gguf, ".gguf").reference
    loras = tuple(
        lora.model_copy(update={"file": find_weights_file(lora.file, ".safetensors").reference})
        for lora in renderer.loras
    )
    pinned = {"revision": source.commit, "gguf": gguf, "loras": loras}
    return settings.model_copy(update={"renderer": renderer.model_copy(update=pinned)})


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
            from actors.renderers.services.image_services import SETTINGS

            rate = renderer.requests_per_minute
            from actors.renderers.services.mapped_service import read_mapping

            named = {"service", "model", "width", "height", "extra", *SETTINGS}
            arguments = renderer.model_dump(include=named) | {
                "mapping": None if renderer.mapping is None else read_mapping(Path(renderer.mapping)),
                "base_url": renderer.address,
                "api_key_env": renderer.api_key_env,
                "requests_per_minute": rate and rate / renderer.actors,
                "give_up_s": 0.9 * renderer.timeout_s,  # before the pool does
            }
            return _role("renderer", ImageApi, arguments, renderer)
        case ComfyUISettings():
            from actors.renderers.services.comfyui import ComfyUI
            from actors.renderers.services.comfyui_workflow import read_workflow

            arguments = renderer.model_dump(include={"base_url", "api_key_env", "width", "height"}) | {
                "workflow": read_workflow(Path(renderer.workflow)),
                "give_up_s": 0.9 * renderer.timeout_s,  # before the pool does
            }
            return _role("renderer", ComfyUI, arguments, renderer)


def text_encoder_role(settings: Settings) -> Role | None:
    """The renderers' text encoder, where it has actors of its own."""
    renderer = settings.renderer
    if not settings.text_encoder.actors:
        return None
    assert isinstance(renderer, DiffusersSettings)
    from actors.renderers.diffusers.text_encoder import Flux2TextEncoder

    arguments = renderer.model_dump(
        include={"model", "revision", "dtype", "guidance_scale", "text_encoder_quantization"}
    )
    arguments["device"] = settings.text_encoder.device
    return _role("text_encoder", Flux2TextEncoder, arguments, settings.text_encoder)


def _embedded_text(settings: Settings) -> Callable[[str], str] | None:
    if not isinstance(settings.renderer, DarkroomSettings):
        return None
    from actors.renderers.darkroom.darkroom import photographed

    return photographed


def proposer_role(settings: ProposerSettings) -> Role:
    arguments = settings.model_dump(exclude={"kind", *Placement.model_fields})
    return _role("proposer", _proposer_class(settings), arguments, settings)


def proposer_identity(settings: ProposerSettings) -> dict[str, str]:
    """What decides proposals beside the settings: the words of the instruction, wherever they come from.

    Raises
    ------
    ValueError
        The instruction's file is missing, not UTF-8, or lacks a placeholder.
    """
    if not isinstance(settings, ChatSettings):
        return {}
    from actors.proposers.chat.instruction import load_instruction

    return {"instruction": hashlib.sha256(load_instruction(settings.instruction).encode()).hexdigest()[:16]}


def _proposer_class(settings: ProposerSettings) -> type[Proposer]:
    match settings:
        case OpenAISettings():
            from actors.proposers.chat.openai_proposer import OpenAIProposer

            return OpenAIProposer
        case VLLMSettings():
            from actors.proposers.chat.vllm_proposer import VLLMProposer

            return VLLMProposer
        case ChatSettings():
            from actors.proposers.chat.transformers_proposer import TransformersProposer

            return TransformersProposer
        case _:
            from actors.proposers.lexicon import Lexicon

            return Lexicon


def scorer_roles(settings: Settings, checkpoint: Path | None) -> dict[str, Role]:
    """The role behind each scorer of a run: one for `pamela` and `population` together, one for each other."""
    names = scorers_at_work(settings, has_predictor=checkpoint is not None)
    roles = {name: _generic_role(name, settings.generic) for name in generic(names)}
    if checkpoint is not None:
        predictor = scorer_role(settings.scorer, checkpoint)
        roles |= {name: predictor for name in names if name not in roles}
    return {name: roles[name] for name in names}


def scorers_at_work(settings: Settings, *, has_predictor: bool) -> tuple[str, ...]:
    """Those that steer, and the held-out one, where it can be had."""
    guards = settings.protocol.guards
    held_out = guards.held_out_scorer
    if guards.held_out == "off" or held_out in settings.scorers:
        return settings.scorers
    return settings.scorers if held_out in PREDICTOR_SCORERS and not has_predictor else (*settings.scorers, held_out)


def _feature_extractor_role(settings: Settings) -> Role | None:
    """Where a guard or the renderer goes by it."""
    guards = settings.protocol.guards
    guarded = guards.subject != "off" or guards.drift != "off"
    if not guarded and _embedded_text(settings) is None:
        return None
    from actors.scorers.feature_extractor import FeatureExtractor

    return _role("feature_extractor", FeatureExtractor, {}, settings.feature_extractor)


def check_scorers(settings: Settings) -> None:
    """Refuse scorers that this machine lacks the library of, before a model is loaded.

    Raises
    ------
    ValueError
        The Python of a scorer's own environment is missing, or its library is not in this one.
    """
    for name in generic(scorers_at_work(settings, has_predictor=True)):
        python, scale = settings.generic.of(name).python, scale_of(name)
        if python is not None and not Path(python).expanduser().is_file():
            raise ValueError(f"generic.{name}.python: no such file {python!r}; name the Python of an environment")
        if python is None and scale.library and find_spec(scale.library) is None:
            raise ValueError(
                f"scorer {name}: no module {scale.library!r} in this environment; {scale.install} "
                f"and name it: --set generic.{name}.python=ENVIRONMENT/bin/python"
            )


def scorer_role(settings: ScorerSettings, checkpoint: Path) -> Role:
    """One pool serves `pamela` and `population`: each request says for whom."""
    from actors.scorers.pamela import PamelaScorer

    return _role("scorer", PamelaScorer, {"checkpoint": str(checkpoint)}, settings)


def _generic_role(name: str, settings: GenericSettings) -> Role:
    own = settings.of(name)
    arguments = own.model_dump(exclude=set(GenericScorer.model_fields))
    if name not in SCORERS:
        arguments = arguments["arguments"]
    role = _role(f"scorer {name}", generic_scorer(name), arguments | _ROUTE.get(name, {}), own)
    return role if own.python is None else replace(role, python=str(Path(own.python).expanduser()))


_ROUTE: dict[str, dict[str, object]] = {
    "q-align": {"name": "q-align", "task": "aesthetic"},
    "q-align-iqa": {"name": "q-align-iqa", "task": "quality"},
}
"""One class, two scorers."""


def generic_scorer(name: str) -> type:
    """The class of a scorer that knows no user; nothing is loaded yet.

    Raises
    ------
    ValueError
        It is one of one's own that cannot be imported, or is no scorer.
    """
    if name not in SCORERS:
        return own_scorer(name)
    from actors.scorers.deqa import DeQAScorer
    from actors.scorers.hps import HPSv3Scorer
    from actors.scorers.image_reward import ImageRewardScorer
    from actors.scorers.iqa import LaionScorer, QAlignScorer
    from actors.scorers.pickscore import PickScoreScorer

    classes: dict[str, type] = {
        "laion": LaionScorer,
        "q-align": QAlignScorer,
        "q-align-iqa": QAlignScorer,
        "imagereward": ImageRewardScorer,
        "deqa": DeQAScorer,
        "hpsv3": HPSv3Scorer,
        "pickscore": PickScoreScorer,
    }
    return classes[name]


def _role(name: str, make: type, arguments: dict[str, object], settings: Placement) -> Role:
    return Role(name=name, make=make, arguments=arguments, **{key: getattr(settings, key) for key in _PLACEMENT})
