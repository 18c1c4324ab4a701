"""From what a person typed to a plan: the renderer, the predictor with its users, whom to steer for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipelines.plan import Plan
from pipelines.prompts import Prompt
from pipelines.roles import make_renderer
from pipelines.settings import Settings
from pipelines.users import NOBODY, Audience, resolve_users
from predictor.checkpoint import checkpoint_fingerprint, checkpoint_folder, checkpoint_users
from predictor.profiles import demographic_phrases
from predictor.stages import StageProgress

if TYPE_CHECKING:
    from rich.console import Console


def make_plan(
    console: "Console",
    settings: Settings,
    users: str,
    prompts: Sequence[Prompt],
    *,
    audiences: Sequence[Audience] | None = None,
    dry_run: bool = False,
) -> Plan:
    """Settle a run; where the embedded preset has no checkpoint yet, make it (but not for a dry run).

    Raises
    ------
    ValueError
        The photographs, the checkpoint or a user are not to be had.
    """
    renderer = make_renderer(settings.renderer)
    for line in getattr(renderer, "skipped", ()):
        console.print(f"skipped: {line}", style="yellow", markup=False)
    checkpoint = checkpoint_folder(settings.predictor) if settings.predictor else _embedded(console, renderer, dry_run)
    table = checkpoint_users(checkpoint) if checkpoint else _raters_to_be()
    resolved = resolve_users(users, table) if audiences is None else list(audiences)
    return Plan(
        settings=settings,
        checkpoint=checkpoint.resolve() if checkpoint else None,
        checkpoint_fingerprint=checkpoint_fingerprint(checkpoint) if checkpoint else None,
        renderer=renderer,
        people=_people(table),
        audiences=tuple(resolved) if "pamela" in settings.scorers else (NOBODY,),
        prompts=tuple(prompts),
    )


def recorded_users(about: Mapping[str, Any]) -> list[Audience]:
    """The audiences that run.json lists."""
    return [Audience(name=row["user"], members=tuple(row["members"])) for row in about["users"]]


def _embedded(console: "Console", renderer: Any, dry_run: bool) -> Path | None:
    from pipelines.embedded import embedded_checkpoint, existing_checkpoint

    if dry_run:
        return existing_checkpoint(renderer)
    with StageProgress(console) as progress:
        return embedded_checkpoint(renderer, progress=progress, announce=lambda line: console.print(line, markup=False))


def _raters_to_be() -> pa.Table:
    """The users that the embedded preset's checkpoint will have."""
    from pipelines.embedded import EmbeddedRecipe
    from predictor.raters import sample_raters

    recipe = EmbeddedRecipe()
    people = sample_raters(recipe.raters, recipe.seed)
    return pa.Table.from_pylist(
        [{"user_id": p.user_id, "age": p.age, "gender": p.gender, "nationality": p.nationality} for p in people]
    )


def _people(table: pa.Table) -> dict[str, str]:
    return {row["user_id"]: ", ".join(demographic_phrases(row)) for row in table.to_pylist()}
