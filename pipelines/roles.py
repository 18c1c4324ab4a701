"""From settings to the classes that do the work: which proposer and scorer a preset means."""

import hashlib
from pathlib import Path

from actors.messages import Proposer
from actors.pool import Role
from pipelines.placement import Placement
from pipelines.proposer_settings import ChatSettings, OpenAISettings, ProposerSettings
from pipelines.settings import ScorerSettings

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
    from actors.instruction import load_instruction

    return {"instruction": hashlib.sha256(load_instruction(settings.instruction).encode()).hexdigest()[:16]}


def _proposer_class(settings: ProposerSettings) -> type[Proposer]:
    match settings:
        case OpenAISettings():
            from actors.chat.openai_proposer import OpenAIProposer

            return OpenAIProposer
        case ChatSettings():
            from actors.chat.transformers_proposer import TransformersProposer

            return TransformersProposer
        case _:
            from actors.lexicon import Lexicon

            return Lexicon


def scorer_role(settings: ScorerSettings, checkpoint: Path) -> Role:
    """One pool serves `pamela` and `population`: each request says for whom."""
    from actors.scorers import PamelaScorer

    return _role("scorer", PamelaScorer, {"checkpoint": str(checkpoint)}, settings)


def _role(name: str, make: type, arguments: dict[str, object], settings: Placement) -> Role:
    return Role(name=name, make=make, arguments=arguments, **{key: getattr(settings, key) for key in _PLACEMENT})
