"""What the predictor and the renderer of a plan can do beside scoring and rendering, and a warning for each thing that
the protocol wants and they cannot."""

from collections.abc import Iterator

from pipelines.planning.plan import Plan
from pipelines.settings.scorer import PREDICTOR_SCORERS
from pipelines.settings.search import Guard
from predictor.checkpoint import checkpoint_categories
from predictor.encoders.registry import IMAGE_ENCODERS


def can_classify_metadata(plan: Plan) -> bool:
    """Whether the predictor can classify an image's metadata: it knows categories, and compares images with text."""
    return _categories(plan) != {} and not metadata_warnings(plan)


def can_compare_with_text(plan: Plan) -> bool:
    """Whether the image guard is on, and the predictor can compare images with text."""
    return plan.protocol.guards.image != "off" and plan.image_encoder not in (None, *IMAGE_ENCODERS)


def guard_warnings(plan: Plan) -> list[str]:
    """A line for each guard that is on and lacks what it needs to measure."""
    return [f"The {name} guard is off: {why}." for name, _, why in _blind_guards(plan)]


def check_guards(plan: Plan) -> None:
    """Refuse guards that are to reject, and lack what they need to measure.

    Raises
    ------
    ValueError
        There is such a guard; the message says which, and what it lacks.
    """
    for name, level, why in _blind_guards(plan):
        if level == "reject":
            raise ValueError(f"protocol.guards.{name.replace('-', '_')}=reject: it would reject nothing: {why}")


def preview_warnings(plan: Plan) -> list[str]:
    """A line where the protocol has previews and the renderer has none."""
    if plan.protocol.previews is None or plan.renderer.preview_identity() is not None:
        return []
    return ["There were no previews: this renderer has none with these settings; every candidate was rendered whole."]


def seed_warnings(plan: Plan) -> list[str]:
    """A line where the renderer's service takes no seed."""
    if plan.renderer.identity().get("deterministic", True):
        return []
    return [
        "The image service takes no seed: an image that is drawn again is another one, so that runs and fresh seeds "
        "differ by chance, and a run that is repeated gives other images."
    ]


def _blind_guards(plan: Plan) -> Iterator[tuple[str, Guard, str]]:
    guards = plan.protocol.guards
    if guards.image != "off" and not can_compare_with_text(plan):
        blind = f"{plan.image_encoder} has no text half; a predictor on SigLIP has one"
        why = "it needs a predictor; name one on SigLIP by --predictor" if plan.checkpoint is None else blind
        yield "image", guards.image, why
    if guards.held_out != "off":
        scorer = guards.held_out_scorer
        if scorer in PREDICTOR_SCORERS and plan.checkpoint is None:
            why = f"{scorer} needs a predictor; name one by --predictor, or another protocol.guards.held_out_scorer"
            yield "held-out", guards.held_out, why
        elif scorer in plan.settings.scorers:
            yield "held-out", guards.held_out, f"{scorer} steers, and cannot be held out from itself"


def metadata_warnings(plan: Plan) -> list[str]:
    """A line where the predictor knows metadata that neither the prompts file gives nor it can classify itself."""
    if plan.checkpoint is None or not (known := _categories(plan)):
        return []
    encoder = plan.image_encoder
    missing = sorted(name for name in known if any(name not in prompt.metadata for prompt in plan.prompts))
    if not missing or encoder not in IMAGE_ENCODERS:
        return []
    return [
        f"image metadata ({', '.join(missing)}) stays unknown: the predictor's image encoder "
        f"{encoder} has no text half; give them as columns of the prompts file"
    ]


def _categories(plan: Plan) -> dict[str, list[str]]:
    return {} if plan.checkpoint is None else checkpoint_categories(plan.checkpoint)
