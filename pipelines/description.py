"""What the predictor can tell from an image beside a score, and what guards cannot notice where it cannot."""

import json

from pipelines.plan import Plan
from pipelines.scorer_settings import PREDICTOR_SCORERS
from predictor.checkpoint import checkpoint_categories
from predictor.encoders.registry import IMAGE_ENCODERS


def describes(plan: Plan) -> bool:
    """Whether the predictor can tell metadata from an image: it knows categories, and has an encoder of both."""
    return _categories(plan) != {} and not undescribed(plan)


def compares(plan: Plan) -> bool:
    """Whether the image guard is on, and the predictor's image encoder has a text half to compare images with."""
    return plan.protocol.guards.image != "off" and _image_encoder(plan) not in (None, *IMAGE_ENCODERS)


def unguarded(plan: Plan) -> list[str]:
    """Which guards are on and can notice nothing, and why."""
    guards, lines = plan.protocol.guards, []
    if guards.image != "off" and not compares(plan):
        why = "there is no predictor" if plan.checkpoint is None else f"{_image_encoder(plan)} has no text half"
        lines.append(f"The image guard is off: {why}; a predictor on SigLIP has one.")
    if guards.held_out != "off":
        scorer = guards.held_out_scorer
        if scorer in PREDICTOR_SCORERS and plan.checkpoint is None:
            lines.append(f"The held-out guard is off: {scorer} needs a predictor; name another held_out_scorer.")
        elif scorer in plan.settings.scorers:
            lines.append(f"The held-out guard is off where {scorer} steers: it cannot be held out from itself.")
    return lines


def _image_encoder(plan: Plan) -> str | None:
    if plan.checkpoint is None:
        return None
    return json.loads((plan.checkpoint / "config.json").read_text("utf-8"))["image_encoder"]


def undescribed(plan: Plan) -> list[str]:
    """Why metadata that the predictor knows categories of stays unknown, where the prompts file does not give it."""
    if plan.checkpoint is None or not (known := _categories(plan)):
        return []
    encoder = _image_encoder(plan)
    missing = sorted(name for name in known if any(name not in prompt.metadata for prompt in plan.prompts))
    if not missing or encoder not in IMAGE_ENCODERS:
        return []
    return [
        f"image metadata ({', '.join(missing)}) stays unknown: the predictor's image encoder "
        f"{encoder} has no text half; give them as columns of the prompts file"
    ]


def _categories(plan: Plan) -> dict[str, list[str]]:
    return {} if plan.checkpoint is None else checkpoint_categories(plan.checkpoint)
