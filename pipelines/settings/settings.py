"""The settings of a run, from a preset, `--set` and options: typed, closed, and free of heavy imports.

There are two kinds of settings. Those that decide the records (protocol, seed, models) are a run's reproducibility key:
they are hashed, and have to be the same when it is resumed. Where and how fast a run goes (`Placement`) may change,
because no record depends on it.
"""

import copy
import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Self, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, ValidationError, field_serializer, field_validator, model_validator
from pydantic.fields import FieldInfo

from actors.scorers.plugins import is_own
from actors.scorers.registry import SCORERS
from pipelines.settings.placement import Closed, Placement
from pipelines.settings.proposer import LexiconSettings, ProposerSettings
from pipelines.settings.renderer import DarkroomSettings, DiffusersSettings, RendererSettings, TextEncoderSettings
from pipelines.settings.scorer import GenericScorer, GenericSettings, ScorerSettings, generic, needs_predictor
from pipelines.settings.search import SearchSettings
from pipelines.settings.service import variable_name
from predictor.error_messages import fault_of

PRESETS = Path(__file__).parent / "presets"
PROTOCOLS = Path(__file__).parent / "protocols"
DEFAULT_PROTOCOL = "frugal"


class Settings(Closed):
    """Everything a run needs to know beside its users and prompts. Defaults are the embedded preset's."""

    preset: str = "embedded"
    seed: int = Field(default=0, ge=0)
    runs: int = Field(default=1, ge=1)
    scorers: tuple[str, ...] = ("pamela",)
    predictor: str | None = Field(
        default=None, description="checkpoint folder; none: the embedded preset makes its own"
    )
    title: str | None = Field(default=None, min_length=1, description="of the gallery; none: the run folder's name")
    nodes_timeout_s: float = Field(
        default=0, ge=0, description="how long a cluster may take to start its nodes; 0: they have to be there"
    )
    give_up_after_s: float = Field(
        default=600, gt=0, description="a role that has answered nobody for so long, while calls failed, stops the run"
    )
    price_per_gpu_hour: float | None = Field(
        default=None, ge=0, description="price of a GPU hour, in any currency; none: costs are given in GPU hours only"
    )
    end_command: str | None = Field(
        default=None,
        min_length=1,
        description="command to run when the run has ended; gets a JSON summary on standard input",
    )
    end_webhook_env: str | None = Field(
        default=None, description="name of an environment variable with a URL to which the same summary is posted"
    )
    tracking: tuple[Literal["wandb", "mlflow"], ...] = Field(
        default=(), description="experiment trackers that get the run's metrics; none: no tracker"
    )
    tracking_project: str = Field(default="pamela-steer", min_length=1, description="under which they keep this run")
    protocol: SearchSettings = Field(default_factory=lambda: SearchSettings(**_protocol(None, None)))
    renderer: RendererSettings = DarkroomSettings()
    text_encoder: TextEncoderSettings = TextEncoderSettings()
    proposer: ProposerSettings = LexiconSettings()
    scorer: ScorerSettings = ScorerSettings()
    feature_extractor: Placement = Placement()
    generic: GenericSettings = GenericSettings()

    @field_validator("tracking", mode="before")
    @classmethod
    def _may_be_one(cls, names: Any) -> Any:
        return (names,) if isinstance(names, str) else names

    @field_validator("end_webhook_env")
    @classmethod
    def _names_a_variable(cls, name: str | None) -> str | None:
        return variable_name(name)

    @model_validator(mode="after")
    def _only_diffusers_part_from_their_text_encoder(self) -> Self:
        if self.text_encoder.actors and not isinstance(self.renderer, DiffusersSettings):
            raise ValueError(
                f"text_encoder.actors: a {self.renderer.kind} renderer has no text encoder, "
                f"got {self.text_encoder.actors}; set text_encoder.actors=0"
            )
        return self

    @property
    def wants_predictor(self) -> bool:
        """Whether a scorer needs a predictor, or one is named and a guard uses it."""
        guards = self.protocol.guards
        held_out = guards.held_out != "off" and needs_predictor((guards.held_out_scorer,))
        return needs_predictor(self.scorers) or (self.predictor is not None and (held_out or guards.image != "off"))

    @field_serializer("generic")
    def _only_those_in_use(self, settings: GenericSettings) -> dict[str, Any]:
        guards = self.protocol.guards
        used = {*self.scorers, *([] if guards.held_out == "off" else [guards.held_out_scorer])}
        values = {name: settings.of(name).model_dump(mode="json") for name in generic(tuple(sorted(used)))}
        own = {name: values.pop(name) for name in list(values) if name not in SCORERS}
        return values | ({"own": own} if own else {})


def load_settings(
    preset: str,
    overrides: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    recorded: Mapping[str, Any] | None = None,
) -> Settings:
    """Resolve settings: a preset, then `--set KEY=VALUE`, then options of the command line; the later override.

    `recorded` are the settings of a run that is resumed; they take the place of the preset.

    Raises
    ------
    ValueError
        An unknown preset, key or scorer, or a value that does not fit; the message names it.
    """
    if recorded is None:
        values = _read_preset(preset)
        values["protocol"] = _protocol(values.get("protocol"), (options or {}).get("protocol.name"))
    else:
        values = copy.deepcopy({**recorded})
        values.pop("preset", None)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"--set {override!r}: must be KEY=VALUE, such as renderer.size=128")
        _assign(values, key.strip(), _parse(text), override)
    if "preset" in values:
        raise ValueError("setting 'preset': cannot be set, it says where settings come from; use --preset")
    if any(override.partition("=")[0].strip() == "protocol.name" for override in overrides):
        raise ValueError("setting 'protocol.name': cannot be set, it says where settings come from; use --protocol")
    for key, value in (options or {}).items():
        _assign(values, key, value, key)
    try:
        settings = Settings.model_validate({**values, "preset": preset})
    except ValidationError as error:
        raise ValueError(_explain(error)) from error
    named = (*settings.scorers, settings.protocol.guards.held_out_scorer)
    if unknown := [name for name in named if name not in SCORERS and not is_own(name)]:
        raise ValueError(
            f"unknown scorer {unknown[0]!r}; known are {', '.join(SCORERS)}, or one of your own: mypackage:MyScorer"
        )
    if len(set(settings.scorers)) < len(settings.scorers) or not settings.scorers:
        raise ValueError(f"--scorer: name each scorer once, got {', '.join(settings.scorers) or 'none'}")
    return settings


def preset_names() -> list[str]:
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def protocol_names() -> list[str]:
    return sorted(path.stem for path in PROTOCOLS.glob("*.yaml"))


def reproducibility_key(settings: Settings) -> dict[str, Any]:
    """The settings that decide the records, as plain values: not placement, patience with services, the title."""
    values = settings.model_dump(
        mode="json",
        exclude={
            *(
                "preset",
                "predictor",
                "title",
                "nodes_timeout_s",
                "give_up_after_s",
                "text_encoder",
                "feature_extractor",
            ),
            *("price_per_gpu_hour", "end_command", "end_webhook_env", "tracking", "tracking_project"),
        },
    )
    for role in ("renderer", "proposer", "scorer"):
        where = {*Placement.model_fields, *getattr(settings, role).where}
        values[role] = {key: value for key, value in values[role].items() if key not in where}
    places = GenericScorer.model_fields  # of which `python` is one more
    of_scorers = values["generic"] | values["generic"].pop("own", {})
    values["generic"] = {
        name: {key: value[key] for key in value if key not in places} for name, value in of_scorers.items()
    }
    return values


def fingerprint(values: Mapping[str, Any]) -> str:
    """A digest of plain values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What differs between two nested mappings, a line each: `protocol.candidates was 20, is 10`."""
    lines = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            lines.append(f"{prefix}{key} was {_short(old)}, is {_short(new)}")
    return lines


def _read_preset(preset: str) -> dict[str, Any]:
    path = PRESETS / f"{preset}.yaml" if preset in preset_names() else Path(preset)
    if path.suffix.lower() not in (".yaml", ".yml") or not path.is_file():
        raise ValueError(f"unknown preset {preset!r}; known are {', '.join(preset_names())}, or give a YAML file")
    return _read(path)


def _protocol(of_preset: Any, name: str | None) -> Any:
    """The protocol that the command line or the preset names, with the preset's own settings over it."""
    if not isinstance(of_preset, dict | None):
        return of_preset  # pydantic says what is wrong
    own = dict(of_preset or {})
    name = name or own.pop("name", DEFAULT_PROTOCOL)
    if name not in protocol_names():
        raise ValueError(f"unknown protocol {name!r}; known are {', '.join(protocol_names())}")
    named = _read(PROTOCOLS / f"{name}.yaml")
    if isinstance(own.get("guards"), dict):
        own["guards"] = {**named.get("guards", {}), **own["guards"]}
    return {**named, **own, "name": name}


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values or {}, dict):
        raise ValueError(f"{path}: a preset is a mapping of settings, got {type(values).__name__}")
    return dict(values or {})


def _parse(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return text


def _assign(values: dict[str, Any], key: str, value: Any, said: str) -> None:
    *path, last = key.split(".")
    inner = values
    for part in path:
        inner = inner.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ValueError(f"--set {said!r}: {part!r} is a single value and has no keys")
    inner[last] = value


def _explain(error: ValidationError) -> str:
    """The first error, in one line, with the known keys where one is unknown."""
    first = error.errors(include_url=False)[0]
    key, model = _locate(first["loc"])
    if first["type"] != "extra_forbidden":
        return f"setting {key}: {fault_of(first)}" if key else f"setting {fault_of(first)}"
    nearest = _nearest(key)
    guess = f"; did you mean {nearest}?" if nearest else ""
    return f"unknown setting {key!r}; there are {', '.join(_keys_of(model))}{guess}"


def _nearest(key: str) -> str | None:
    """The known setting that is spelt most like an unknown one, or that has its name elsewhere."""
    known = list(_dotted(Settings))
    if key in known:  # of another kind of renderer or proposer
        return None
    last = key.rpartition(".")[2]
    elsewhere = [other for other in known if other.rpartition(".")[2] == last]
    alike = difflib.get_close_matches(key, known, n=1, cutoff=0.8)
    return next(iter([*elsewhere, *alike]), None)


def _dotted(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key of a model and of the models in it."""
    for name, field in zip(_keys_of(model), _fields_of(model), strict=True):
        yield prefix + name
        kinds = get_args(field.annotation) if isinstance(field.annotation, UnionType) else (field.annotation,)
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _dotted(kind, f"{prefix}{name}.")


def _keys_of(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items() if name != "preset"]


def _fields_of(model: type[BaseModel]) -> list[FieldInfo]:
    return [field for name, field in model.model_fields.items() if name != "preset"]


def _locate(location: Sequence[int | str]) -> tuple[str, type[BaseModel]]:
    """The dotted key of a pydantic error's location, without the kind of a union, and the model that it belongs to."""
    keys: list[str] = []
    model: type[BaseModel] = Settings
    annotation: Any = Settings
    for part in map(str, location):
        if isinstance(annotation, UnionType):
            annotation = next(kind for kind in get_args(annotation) if kind.model_fields["kind"].default == part)
        elif get_origin(annotation) is tuple:
            keys.append(part)
            annotation = get_args(annotation)[0]
        else:
            keys.append(part)
            found = (f for name, f in model.model_fields.items() if part == (f.alias or name))
            annotation = next((f.annotation for f in found), None)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return ".".join(keys), model


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
