"""Demographics and image metadata in natural language, for a frozen text encoder (paper, section 3.2).

Common columns have a template of their own, any other column is written `name: value`. Missing values are left out; a
row without any value gives None, which the transformer replaces by a null token (or zeros, `ModelConfig.zeroed`), and
the taste model by the mean.
"""

from collections.abc import Mapping
from typing import Any

_DEMOGRAPHICS = {
    "age": "{} years old",
    "age_binned": "aged {}",
    "gender": "{}",
    "nationality": "nationality {}",
    "education": "education {}",
    "art_experience": "art experience {}",
}

_METADATA = {
    "content": "content: {}",
    "style": "style: {}",
    "emotion": "emotion: {}",
}

IDENTIFIERS = frozenset({"user_id", "image_id", "file", "prompt", "prompt_id", "split", "group_id"})


def describe_person(row: Mapping[str, Any]) -> str | None:
    """One sentence for one row of the users' table.

    Example:

        describe_person({"user_id": "u1", "age": 31, "gender": "female"})
        # -> "A person, 31 years old, female."
    """
    phrases = _phrases(row, _DEMOGRAPHICS)
    return f"A person, {', '.join(phrases)}." if phrases else None


def describe_image(row: Mapping[str, Any]) -> str | None:
    """One sentence for the metadata columns of one row of the images' (or the prompts') table.

    Example:

        describe_image({"image_id": "i1", "file": "a.png", "content": "animal", "style": None})
        # -> "An image, content: animal."
    """
    phrases = _phrases(row, _METADATA)
    return f"An image, {', '.join(phrases)}." if phrases else None


def as_text(value: Any) -> str:
    """A value of a table in words: whole floats without decimals, the elements of a list with commas between them.

    Example:

        as_text(18.0) == "18"
        as_text(["oil", "canvas"]) == "oil, canvas"
    """
    match value:
        case float() if value.is_integer():
            return str(int(value))
        case list() | tuple():
            return ", ".join(map(as_text, value))
        case dict():
            return ", ".join(f"{name} {as_text(inner)}" for name, inner in value.items() if inner is not None)
        case _:
            return str(value)


def _phrases(row: Mapping[str, Any], templates: Mapping[str, str]) -> list[str]:
    told = {name: as_text(value) for name, value in row.items() if name not in IDENTIFIERS and value is not None}
    known = {name: text for name, text in told.items() if text}
    return [
        templates[name].format(known[name]) if name in templates else f"{name.replace('_', ' ')}: {known[name]}"
        for name in sorted(known)
    ]
