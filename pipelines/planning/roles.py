"""From settings to the classes that do the work: which proposer and scorer a preset means."""

import hashlib
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from actors.messages import Proposer
from actors.pool.role import Role
from actors.scorers.scales import SCORERS
from pipelines.settings.placement import Placement
from pipelines.settings.proposer import ChatSettings, OpenAISettings, ProposerSettings, VLLMSettings
from pipelines.settings.scorer import PREDICTOR_SCORERS, GenericScorer, GenericSettings, ScorerSettings, generic
from pipelines.settings.settings import Settings

_PLACEMENT = ("actors", "num_cpus", "num_gpus", "resources", "in_flight", "timeout_s", "setup_timeout_s")


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


def examiner_role(settings: Settings) -> Role | None:
    """Who measures prompts and images beside their scores, where the screen or a guard wants it."""
    if not examines(settings):
        return None
    from actors.scorers.feature_extractor import Examiner

    return _role("examiner", Examiner, {}, settings.examiner)


def examines(settings: Settings) -> bool:
    """Whether a run has an examiner."""
    protocol, guards = settings.protocol, settings.protocol.guards
    return protocol.screen is not None or guards.subject != "off" or guards.drift != "off"


def check_scorers(settings: Settings) -> None:
    """Refuse scorers that this machine lacks the library of, before a model is loaded.

    Raises
    ------
    ValueError
        The Python of a scorer's own environment is missing, or its library is not in this one.
    """
    for name in generic(scorers_at_work(settings, has_predictor=True)):
        python, scale = settings.generic.of(name).python, SCORERS[name]
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
    role = _role(f"scorer {name}", _generic_scorer(name), arguments | _ROUTE.get(name, {}), own)
    return role if own.python is None else replace(role, python=str(Path(own.python).expanduser()))


_ROUTE: dict[str, dict[str, object]] = {
    "q-align": {"name": "q-align", "task": "aesthetic"},
    "q-align-iqa": {"name": "q-align-iqa", "task": "quality"},
}
"""One class, two scorers."""


def _generic_scorer(name: str) -> type:
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
