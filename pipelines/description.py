"""Whether what an image shows can be found zero-shot, and why not where it cannot (`predictor.zero_shot`)."""

import json

from pipelines.plan import Plan
from predictor.checkpoint import checkpoint_categories
from predictor.encoders.registry import IMAGE_ENCODERS


def describes(plan: Plan) -> bool:
    """Whether the predictor can tell metadata from an image: it knows categories, and has an encoder of both."""
    return _categories(plan) != {} and not undescribed(plan)


def undescribed(plan: Plan) -> list[str]:
    """Why metadata that the predictor knows categories of stays unknown, where the prompts file does not give it."""
    if plan.checkpoint is None or not (known := _categories(plan)):
        return []
    config = json.loads((plan.checkpoint / "config.json").read_text("utf-8"))
    missing = sorted(name for name in known if any(name not in prompt.metadata for prompt in plan.prompts))
    if not missing or config["image_encoder"] not in IMAGE_ENCODERS:
        return []
    return [
        f"image metadata ({', '.join(missing)}) stays unknown: the predictor's image encoder "
        f"{config['image_encoder']} has no text half; give them as columns of the prompts file"
    ]


def _categories(plan: Plan) -> dict[str, list[str]]:
    return {} if plan.checkpoint is None else checkpoint_categories(plan.checkpoint)
