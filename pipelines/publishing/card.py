"""The card of a published run: what is in it, how it was made, under which terms, and what was agreed with people."""

from collections.abc import Mapping
from typing import Any

from pipelines.planning.licences import licence_lines
from predictor.hub.card import card_text

_CONFIGS = [
    {"config_name": "trajectories", "data_files": "data/trajectories.parquet", "default": True},
    {"config_name": "candidates", "data_files": "data/candidates.parquet"},
    {"config_name": "images", "data_dir": "images"},
]


def card_of(about: Mapping[str, Any], *, licence: str | None, people: int, trajectories: int, images: int) -> str:
    """README.md with the hub's front matter; `about` is run.json."""
    settings = about["settings"]
    models = [name for role in ("renderer", "proposer") if (name := settings[role].get("model"))]
    front = {
        "license": licence or "other",
        "task_categories": ["text-to-image"],
        "tags": ["personalised-image-generation", "pamela-steer"],
        "configs": _CONFIGS,
    }
    kind = settings["renderer"]["kind"]
    drawn = "develops real photographs as the prompt says" if kind == "darkroom" else "generates every image"
    terms = [f"- {line}" for line in licence_lines(models)] or ["- None is known of the models that were used."]
    lines = [
        "# Prompts that were steered towards people's taste",
        "",
        f"{trajectories} searches for {people} people, {len(about['prompts'])} prompts and {images} images. A language "
        f"model rewrites a prompt, a renderer ({kind}) {drawn}, a reward model predicts how a person likes the image, "
        "and the best goes on.",
        "",
        "- `trajectories`: initial and final prompt, image and score of each search",
        "- `candidates`: every image that was scored on the way",
        "- `images`: the files, with prompt and seed",
        "",
        "## How it was made",
        "",
        f"- pamela-steer {about['versions'].get('pamela-steer', '')}, settings {about['settings_hash']}",
        *(f"- {role}: {settings[role]['kind']} {settings[role].get('model') or ''}".rstrip() for role in _MADE_BY),
        f"- scorers: {', '.join(settings['scorers'])}",
        "",
        "## Licence",
        "",
        *terms,
        "",
        "## People",
        "",
        "The scores are predictions of a reward model, not ratings. The people whom it stands for are labels that were "
        "dealt out at random; which label is whose was kept nowhere, and their answers and demographics are not in "
        "here. Whoever publishes this has to have their consent for it.",
    ]
    return card_text(front, lines)


_MADE_BY = ("renderer", "proposer")
