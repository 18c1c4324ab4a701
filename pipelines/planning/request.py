"""Run requests, and how one becomes a plan: settings are resolved, then prompts, renderer, predictor and users."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from actors.messages import Renderer
from pipelines.planning.capabilities import check_guards
from pipelines.planning.people_folder import is_people_folder, people_checkpoint
from pipelines.planning.plan import Plan, check_disk
from pipelines.planning.prompts import Prompt, read_prompts
from pipelines.planning.roles import generic_scorer, make_renderer, proposer_identity, with_resolved_revision
from pipelines.planning.users import NOBODY, Audience, resolve_users
from pipelines.records.run_folder import RunFolder, check_free
from pipelines.settings.renderer import DarkroomSettings
from pipelines.settings.scorer import PERSONAL, generic
from pipelines.settings.settings import Settings, load_settings
from pipelines.tracking.tracker import check_trackers
from predictor.checkpoint import checkpoint_fingerprint, checkpoint_folder, checkpoint_users
from predictor.data.profiles import as_text
from predictor.progress import StageProgress

if TYPE_CHECKING:
    from rich.console import Console


_NO_PREDICTOR = (
    "preset {} has no predictor of its own; name a checkpoint by --predictor DIR "
    "(steer-predictor train makes one from ratings)"
)


_MOST_SKIPPED = 10
"""Photographs that are named on the screen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """The options of a command; None where one was not given."""

    users: tuple[str, ...] | None
    """Each `--users`, in order."""
    prompts: Path | Sequence[Prompt] | None
    """A prompts file, or what would be in one."""
    preset: str | None
    overrides: tuple[str, ...]
    """`--set KEY=VALUE`."""
    options: Mapping[str, Any]
    """Options that are settings, by the dotted key of the setting."""
    dry_run: bool = False

    def read_prompts(self) -> Sequence[Prompt] | None:
        """The prompts; None where none were given.

        Raises
        ------
        ValueError
            As `read_prompts`.
        """
        return read_prompts(self.prompts) if isinstance(self.prompts, Path) else self.prompts


def setting_options(
    *,
    scorers: Sequence[str] | None,
    predictor: str | None,
    title: str | None,
    runs: int | None,
    seed: int | None,
    protocol: str | None,
    share: str | None,
    candidates: int | None,
    iterations: int | None,
    patience: int | None,
) -> dict[str, Any]:
    """The options that are settings, by the dotted key of the setting; without those that are None."""
    options = {
        "scorers": tuple(scorers) if scorers else None,
        "predictor": predictor,
        "title": title,
        "runs": runs,
        "seed": seed,
        "protocol.name": protocol,
        "protocol.share": share,
        "protocol.candidates": candidates,
        "protocol.iterations": iterations,
        "protocol.patience": patience,
    }
    return {key: value for key, value in options.items() if value is not None}


def plan_run(console: "Console", request: RunRequest, out: Path) -> Plan:
    """The plan of a new run that will be written to `out`.

    Raises
    ------
    ValueError
        Something is missing or does not fit: one line, with the remedy.
    """
    settings = load_settings(request.preset or "embedded", request.overrides, request.options)
    needed = {"--users": request.users, "--prompts": request.prompts}
    if PERSONAL not in settings.scorers:
        del needed["--users"]
    if missing := [name for name, value in needed.items() if value is None]:
        raise ValueError(f"{' and '.join(missing)} is missing; try: steer-batch --users all --prompts prompts.txt")
    prompts = request.read_prompts()
    assert prompts is not None
    check_free(out)
    plan = _plan(
        console, settings, prompts, lambda users: resolve_users(request.users or ("all",), users), request.dry_run
    )
    if not request.dry_run:
        check_guards(plan)
        check_disk(plan, out)
    return plan


def plan_continuation(console: "Console", request: RunRequest, folder: RunFolder) -> Plan:
    """The plan of a run that is resumed. Options that are given again must be the same.

    Raises
    ------
    ValueError
        As `plan_run`, or something differs from how the run was started; the message says what.
    """
    about = folder.about
    try:
        recorded, preset, checkpoint = about["settings"], about["settings"]["preset"], about["checkpoint"]
        written = [Prompt(id=row["prompt_id"], text=row["text"], metadata=row["metadata"]) for row in about["prompts"]]
        audiences = [Audience(name=row["user"], user_ids=tuple(row["members"])) for row in about["users"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder.path / 'run.json'}: does not read as a run's description: {error!r}") from error
    settings = load_settings(
        request.preset or preset, request.overrides, request.options, recorded=None if request.preset else recorded
    )
    if settings.predictor is None or is_people_folder(settings.predictor):  # people may have answered more since
        settings = settings.model_copy(update={"predictor": checkpoint})
    prompts = request.read_prompts()
    if prompts is None:
        prompts = written
    said = request.users
    plan = _plan(
        console,
        settings,
        prompts,
        lambda users: audiences if said is None else resolve_users(said, users),
        request.dry_run,
    )
    folder.check_same(plan.reproducibility_key())
    return plan


def _plan(
    console: "Console",
    settings: Settings,
    prompts: Sequence[Prompt],
    choose: Callable[[pa.Table], Sequence[Audience]],
    dry_run: bool,
) -> Plan:
    """The plan. The embedded preset's checkpoint is made here where there is none yet, but not for a dry run."""
    embedded = isinstance(settings.renderer, DarkroomSettings)
    for name in generic(settings.scorers):
        generic_scorer(name)
    if not dry_run:
        check_trackers(settings.tracking)
        if settings.predictor is None and not embedded and settings.wants_predictor:
            raise ValueError(_NO_PREDICTOR.format(settings.preset))
        settings = with_resolved_revision(settings)
    renderer = make_renderer(settings)
    proposer_identity(settings.proposer)  # an instruction that is missing is refused here
    for line in renderer.skipped[:_MOST_SKIPPED]:
        console.print(f"skipped: {line}", style="yellow", markup=False)
    if (more := len(renderer.skipped) - _MOST_SKIPPED) > 0:
        console.print(f"skipped: {more} more, which run.json will name", style="yellow", markup=False)
    if not settings.wants_predictor:
        return _plan_without_users(settings, prompts, renderer)
    if settings.predictor is None:
        people = _future_raters() if embedded else _placeholder_users()
        choose(people)  # so that an unknown user is refused before the checkpoint is made
        checkpoint = _embedded(console, renderer, dry_run) if embedded else None
    else:
        people, checkpoint = None, _named_checkpoint(console, settings.predictor)
    table = people if checkpoint is None else checkpoint_users(checkpoint)
    assert table is not None
    audiences = choose(table)
    return Plan(
        settings=settings,
        checkpoint=checkpoint.resolve() if checkpoint else None,
        checkpoint_fingerprint=checkpoint_fingerprint(checkpoint) if checkpoint else None,
        renderer=renderer,
        people=_people(table),
        audiences=tuple(audiences) if PERSONAL in settings.scorers else (NOBODY,),
        prompts=tuple(prompts),
    )


def _named_checkpoint(console: "Console", predictor: str) -> Path:
    if not is_people_folder(predictor):
        return checkpoint_folder(predictor)
    return people_checkpoint(Path(predictor), lambda line: console.print(line, markup=False))


def _plan_without_users(settings: Settings, prompts: Sequence[Prompt], renderer: Renderer) -> Plan:
    """The plan of a run that needs no predictor."""
    return Plan(
        settings=settings,
        checkpoint=None,
        checkpoint_fingerprint=None,
        renderer=renderer,
        people={},
        audiences=(NOBODY,),
        prompts=tuple(prompts),
    )


def _embedded(console: "Console", renderer: Any, dry_run: bool) -> Path | None:
    from pipelines.planning.embedded_predictor import embedded_checkpoint, existing_checkpoint

    if dry_run:
        return existing_checkpoint(renderer)
    with StageProgress(console) as progress:
        return embedded_checkpoint(renderer, progress=progress, announce=lambda line: console.print(line, markup=False))


def _future_raters() -> pa.Table:
    """The users that the embedded preset's checkpoint will have, once it is made."""
    from pipelines.planning.embedded_predictor import EmbeddedRecipe
    from predictor.simulation.raters import sample_raters

    recipe = EmbeddedRecipe()
    people = sample_raters(recipe.raters, recipe.seed)
    return pa.Table.from_pylist(
        [{"user_id": p.user_id, "age": p.age, "gender": p.gender, "nationality": p.nationality} for p in people]
    )


def _placeholder_users() -> pa.Table:
    """As many users as the paper has (table 1: 199 raters), to plan a run before there is a predictor."""
    return pa.table({"user_id": [f"user{number:03d}" for number in range(1, 200)]})


def _people(table: pa.Table) -> dict[str, str]:
    """User -> demographics in words."""
    return {
        row.pop("user_id"): ", ".join(
            f"{as_text(value)} years old" if name == "age" else as_text(value)
            for name, value in row.items()
            if value is not None
        )
        for row in table.to_pylist()
    }
