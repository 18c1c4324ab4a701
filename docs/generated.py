"""Parts of the reference that are written by the program itself, so that they cannot differ from it.

A page holds a line `<!-- generated: commands steer-batch -->`; `fill_in` puts Markdown in its place.
"""

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from pipelines.cli import app as steer_batch
from pipelines.live.cli import app as steer_live
from pipelines.publishing.cli import app as publish
from pipelines.settings.placement import Placement
from pipelines.settings.settings import Settings
from predictor.cli import app as steer_predictor
from studies.cli.main import app as steer_study

ROOT = Path(__file__).parents[1]
APPS: Mapping[str, typer.Typer] = {
    "steer-batch": steer_batch,
    "steer-batch-publish": publish,
    "steer-predictor": steer_predictor,
    "steer-study": steer_study,
    "steer-live": steer_live,
}
_MARKER = re.compile(r"^<!-- generated: (\w+)(?: ([\w-]+))? -->$", re.MULTILINE)
_COMPLETION = {"install_completion", "show_completion"}
_WORDS = {"text": "TEXT", "list": "TEXT", "Path": "PATH", "integer": "N", "number": "NUMBER"}


def fill_in(page: str) -> str:
    """A page with every marker replaced."""
    return _MARKER.sub(lambda marker: _WRITERS[marker[1]](*marker.groups()[1:]), page)


def commands(name: str) -> str:
    """Every command of one console script: what it does, its arguments and its options."""
    root = typer.main.get_command(APPS[name])
    commands = root.commands.items() if isinstance(root, TyperGroup) else [("", root)]
    parts = []
    for sub, command in commands:
        assert isinstance(command, TyperCommand)
        parts += [*([f"### {name} {sub}", ""] if sub else []), *_command(name, command)]
    return "\n".join(parts)


def settings(_: str | None = None) -> str:
    """Every key that a preset or `--set` may have, a section a role."""
    simple = {key: field for key, field in Settings.model_fields.items() if not _models(field.annotation)}
    parts = ["### The run", "", *_table(simple)]
    parts += ["### Every role", "", _EVERY_ROLE, "", *_table(Placement.model_fields, "ROLE.")]
    for key, field in Settings.model_fields.items():
        parts += _section(key, _models(field.annotation))
    return "\n".join(parts)


def api(package: str) -> str:
    """The docstrings of what the package offers, then of every module, in the order of its folders."""
    modules = [(package, ":no-index:")] if (ROOT / package / "__init__.pyi").is_file() else []
    for path in sorted((ROOT / package).rglob("*.py"), key=lambda path: (path.parent, path.name)):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if path.name not in ("__init__.py", "cli.py") and ".cli." not in module:
            modules.append((module, ""))
    parts = []
    for module, option in modules:  # what the package offers comes again in its module, where links lead
        parts += [f"## {module}", "", "```{eval-rst}", f".. automodule:: {module}", f"    {option}".rstrip(), "```", ""]
    return "\n".join(parts)


_WRITERS = {"commands": commands, "settings": settings, "api": api}
UNDESCRIBED = {
    "preset": "what `--preset` said",
    "seed": "of proposals and images; the same seed gives the same records",
    "runs": "independent passes: the same image seeds, other proposals",
    "scorers": "what `--scorer` said",
    "actors": "how many actors the role has",
    "setup_timeout_s": "an actor may take so long to load",
    "iterations": "at most so many after the base prompt",
    "width": "of an image, in pixels",
    "height": "of an image, in pixels",
    "dtype": "number format of the weights",
    "num_inference_steps": "denoising steps of an image",
    "temperature": "of the language model's sampling",
    "top_p": "of the language model's sampling",
    "max_new_tokens": "the most tokens of one answer",
}
"""What keys mean whose class does not say it."""

_EVERY_ROLE = (
    "`ROLE` is `renderer`, `text_encoder`, `proposer`, `scorer`, the role that measures features for screen and "
    "guards, or `generic.NAME` for a scorer that knows no user. The records depend on none of these keys, so they may "
    "change when a run is resumed. A role or a kind may have another default; it is then listed there."
)


def _command(name: str, command: TyperCommand) -> Iterator[str]:
    """The help text with its examples as code, then a table of parameters."""
    for paragraph in _paragraphs(command.help or ""):
        text = inspect.cleandoc(paragraph)
        yield from ["```sh", text.replace("\n", " \\\n    "), "```"] if text.startswith("steer-") else [text]
        yield ""
    yield from ("| argument or option | default | what |", "|---|---|---|")
    for parameter in command.params:
        if parameter.name in _COMPLETION:
            continue
        assert isinstance(parameter, TyperOption | TyperArgument)
        said = parameter.help or ""
        if isinstance(parameter.envvar, str):
            said += f" Environment variable: `{parameter.envvar}`."
        yield f"| `{_spelled(parameter)}` | {_default(parameter)} | {_cell(said)} |"
    yield ""


def _paragraphs(help_text: str) -> list[str]:
    return [paragraph for paragraph in inspect.cleandoc(help_text).split("\n\n") if paragraph.strip()]


def _spelled(parameter: TyperOption | TyperArgument) -> str:
    """As one types it: `--seed INTEGER`, `IMAGES…`."""
    many = "…" if parameter.multiple or parameter.nargs == -1 else ""
    if isinstance(parameter, TyperArgument):
        return _cell(parameter.metavar or (parameter.name or "").upper()) + many
    if parameter.is_flag:
        return parameter.opts[0]
    assert parameter.type_descriptor is not None
    kind = _type(parameter.type_descriptor.annotation).removesuffix(" or none")
    return f"{parameter.opts[0]} {parameter.metavar or _WORDS.get(kind, kind.upper())}"


def _default(parameter: TyperOption | TyperArgument) -> str:
    if parameter.required:
        return "required"
    return "" if parameter.default in (None, "", []) or parameter.default is False else f"`{parameter.default}`"


def _section(prefix: str, models: list[type[BaseModel]]) -> Iterator[str]:
    """A section for a setting that has keys of its own; one table for each kind where there are several."""
    if not models or models == [Placement]:
        return
    yield from (f"### {prefix}", "")
    nested: list[tuple[str, list[type[BaseModel]]]] = []
    for model in models:
        own = {key: field for key, field in model.model_fields.items() if not _models(field.annotation)}
        nested += [
            (f"{prefix}.{field.alias or key}", _models(field.annotation))
            for key, field in model.model_fields.items()
            if _models(field.annotation)
        ]
        if issubclass(model, Placement):
            own = {key: field for key, field in own.items() if not _same(Placement.model_fields.get(key), field)}
        if len(models) > 1:
            yield from (f"`kind: {own.pop('kind').default}`", "")
        if own:
            yield from _table(own, f"{prefix}.")
        elif not nested:
            yield from ("Only the keys of every role.", "")
    for name, inner in nested:
        yield from _section(name, inner)


def _same(a: FieldInfo | None, b: FieldInfo) -> bool:
    return a is not None and (a.default, a.annotation) == (b.default, b.annotation)


def _table(fields: Mapping[str, FieldInfo], prefix: str = "") -> Iterator[str]:
    yield from ("| key | value | default | what |", "|---|---|---|---|")
    for key, field in fields.items():
        name = f"`{prefix}{field.alias or key}`"
        value, default = _value(field), "required"
        if field.default is not PydanticUndefined:
            default = "none" if field.default is None else f"`{_plain(field.default)}`"
        yield f"| {name} | {_cell(value)} | {_cell(default)} | {_cell(field.description or UNDESCRIBED[key])} |"
    yield ""


def _plain(value: Any) -> str:
    return str(list(value) if isinstance(value, tuple) else value)


def _value(field: FieldInfo) -> str:
    """What a value may be: its type and its limits."""
    limits = []
    for limit in field.metadata:
        for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"), ("multiple_of", "a multiple of")):
            if (bound := getattr(limit, name, None)) is not None and isinstance(limit, annotated_types.BaseMetadata):
                limits.append(f"{sign} {bound:g}")
    return " ".join([_type(field.annotation), ", ".join(limits)]).strip()


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{word}`" for word in arguments)
    if origin in (UnionType, Union):
        return " or ".join(_type(part) for part in arguments if part is not NoneType)
    names = {int: "integer", float: "number", str: "text", bool: "`true` or `false`", tuple: "list", dict: "mapping"}
    return names.get(origin or annotation, getattr(annotation, "__name__", str(annotation)))


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The settings classes that an annotation allows."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
