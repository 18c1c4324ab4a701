"""Demographics and image metadata in natural language, for a frozen text encoder (paper, section 3.2).

Common columns have a template of their own, any other column is written `name: value`. Missing values are left out;
a row without any value gives None, which the model replaces by a null token.
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


def _phrases(row: Mapping[str, Any], templates: Mapping[str, str]) -> list[str]:
    known = {name: value for name, value in row.items() if name not in IDENTIFIERS and value not in (None, "")}
    return [
        templates[name].format(known[name]) if name in templates else f"{name.replace('_', ' ')}: {known[name]}"
        for name in sorted(known)
    ]
