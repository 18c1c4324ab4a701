"""An image service that a mapping file describes: where a request puts each setting, and an answer has the image.

    # fal.yaml
    path: fal-ai/flux/dev
    key_header: {name: Authorization, value: "Key {key}"}
    body:
      prompt: "{prompt}"
      seed: "{seed}"
      image_size: {width: "{width}", height: "{height}"}
      num_inference_steps: "{num_inference_steps}"
      guidance_scale: "{guidance_scale}"
    image: images.0.url
    refused: has_nsfw_concepts.0

A value that is one placeholder alone becomes the setting with its type, and is left out where the setting is none. A
place such as `images.0.url` goes into the answer key by key; where it ends at a list, its first element is meant. A
service that answers before the image is there has a section `poll`:

    poll: {url: urls.get, state: status, done: [succeeded], failed: [failed, canceled], error: error, every_s: 1}
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from actors.messages import RefusedError
from actors.renderers.services.image_services import SETTINGS, Drawing, Found, Pending
from actors.renderers.services.service_images import image_of
from actors.renderers.services.setting_file import read_setting_file
from actors.service_client import ServiceError, UnusableAnswerError
from predictor.error_messages import first_fault

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_KNOWN = SETTINGS | {"prompt", "seed", "width", "height", "model"}


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KeyHeader(_Closed):
    """The header that carries the key, which takes the place of {key}."""

    name: str = "Authorization"
    value: str = "Bearer {key}"


class Poll(_Closed):
    """How a service that answers at once is asked for the image later."""

    url: str
    """Place of the address to ask."""
    state: str
    """Place of the word that says how far it is."""
    done: tuple[str, ...] = ("succeeded", "completed", "COMPLETED")
    failed: tuple[str, ...] = ("failed", "canceled", "cancelled")
    error: str = "error"
    """Place of the reason, where it failed."""
    every_s: float = Field(default=1.0, gt=0)


class MappedService(_Closed):
    """What a mapping file says; an `ImageService`."""

    path_: str = Field(alias="path")
    probe_: str = Field(default="", alias="probe")
    key_header: KeyHeader = KeyHeader()
    fixed_headers: dict[str, str] = Field(default={}, alias="headers")
    body_: dict[str, Any] = Field(alias="body")
    image_: str = Field(alias="image")
    refused: str | None = None
    poll: Poll | None = None

    @property
    def takes(self) -> frozenset[str]:
        return frozenset(_placeholders(self.body_) & (SETTINGS | {"seed"}))

    @property
    def wraps_errors(self) -> bool:
        return self.poll is None

    def headers(self, key: str) -> Mapping[str, str]:
        return {self.key_header.name: self.key_header.value.replace("{key}", key)}

    def path(self, model: str) -> str:
        return self.path_.replace("{model}", model)

    def probe(self, model: str) -> str:
        return self.probe_.replace("{model}", model)

    def body(self, model: str, drawing: Drawing) -> dict[str, Any]:
        values = {name: getattr(drawing, name) for name in _KNOWN - {"model", "seed"}}
        return _filled(self.body_, values | {"model": model, "seed": drawing.short_seed})

    def image(self, answer: Mapping[str, Any]) -> Found:
        if self.poll is not None and (state := _at(answer, self.poll.state)) is not None:
            if state in self.poll.failed:
                raise RefusedError(f"the service failed ({_at(answer, self.poll.error) or state}); change the prompt")
            if state not in self.poll.done:
                return self._pending(answer, self.poll)
        if self.refused is not None and _at(answer, self.refused):
            raise RefusedError(f"the service refused the image ({self.refused}: {_at(answer, self.refused)})")
        found = _at(answer, self.image_)
        if not isinstance(found, str) or not found:
            raise UnusableAnswerError(f"the service answered without an image at {self.image_}")
        return image_of(found)

    def _pending(self, answer: Mapping[str, Any], poll: Poll) -> Pending:
        url = _at(answer, poll.url)
        if not isinstance(url, str):
            raise ServiceError(f"the service's answer has no address at {poll.url}, where the image will be; ask again")
        return Pending(url=url, every_s=poll.every_s)


def read_mapping(file: Path) -> dict[str, Any]:
    """The content of a mapping file, as plain values, which `mapped` accepts on any machine.

    Raises
    ------
    ValueError
        It is missing, no YAML, or no mapping of a service; the message says what is wrong and where.
    """
    return read_setting_file(file, setting="renderer.mapping", parse=yaml.safe_load, check=mapped)


def mapped(content: Any) -> MappedService:
    """The service that the content of a mapping file describes.

    Raises
    ------
    ValueError
        A key is unknown or missing, a placeholder is unknown, or the prompt has no place.
    """
    try:
        service = MappedService.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{first_fault(error)}; see docs/models.md") from error
    there = _placeholders(service.body_)
    if unknown := sorted(there - _KNOWN):
        raise ValueError(f"body: unknown placeholder {{{unknown[0]}}}; there are {', '.join(sorted(_KNOWN))}")
    if "prompt" not in there:
        raise ValueError('body: lacks "{prompt}"; write it where the prompt belongs')
    return service


def _placeholders(value: Any) -> set[str]:
    match value:
        case str():
            return set(_PLACEHOLDER.findall(value))
        case Mapping():
            return set().union(*map(_placeholders, value.values()))
        case list():
            return set().union(*map(_placeholders, value))
        case _:
            return set()


def _filled(value: Any, settings: Mapping[str, Any]) -> Any:
    match value:
        case str() if whole := _PLACEHOLDER.fullmatch(value):
            return settings[whole[1]]
        case str():
            return _PLACEHOLDER.sub(lambda found: str(settings[found[1]]), value)
        case Mapping():
            inner = {name: _filled(each, settings) for name, each in value.items()}
            return {name: each for name, each in inner.items() if each is not None or value[name] is None}
        case list():
            return [_filled(each, settings) for each in value]
        case _:
            return value


def _at(answer: Any, place: str) -> Any:
    """The value at a place such as `images.0.url`; None where there is none."""
    for part in place.split("."):
        try:
            answer = answer[int(part)] if isinstance(answer, list) else answer[part]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return answer[0] if isinstance(answer, list) and answer else answer
