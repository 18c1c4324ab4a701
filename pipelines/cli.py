"""`steer-batch`: steer many prompts for many people. Heavy imports wait until the work begins."""

import errno
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.plan import Plan
    from pipelines.run import Result
    from pipelines.run_folder import RunFolder

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")

INTERRUPTED = 130
"""The shell's convention for a program that Ctrl-C ended."""


@app.command()
def steer_batch(
    users: Annotated[
        str | None,
        typer.Option(help='Whom to steer for: `all`, `u01,u07`, `@FILE` (an id a line) or `group:"age < 30"`.'),
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="Text file with a prompt a line, or CSV/Parquet: prompt[,prompt_id,+metadata].")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Which models: `embedded` (default), or a YAML file.")] = None,
    scorer: Annotated[
        list[str] | None, typer.Option(help="What steers: `pamela` (default) or `population`. Repeatable.")
    ] = None,
    predictor: Annotated[
        str | None, typer.Option(help="Checkpoint folder; the embedded preset makes and caches its own.")
    ] = None,
    runs: Annotated[int | None, typer.Option(help="Independent passes: same images, other proposals.", min=1)] = None,
    candidates: Annotated[int | None, typer.Option(help="Proposals in each iteration (20).", min=1)] = None,
    iterations: Annotated[int | None, typer.Option(help="At most so many iterations (5).", min=0)] = None,
    patience: Annotated[int | None, typer.Option(help="Stop after so many without a new best (2).", min=1)] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same records (0).", min=0)] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/DATE-TIME.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out; options may be left out.")
    ] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a preset key. Repeatable.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(envvar="RAY_ADDRESS", help="Ray cluster; default: one on this machine.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the settings and the plan; do nothing.")] = False,
) -> None:
    """Steer a text-to-image generator towards each user's taste, by rewriting the prompt.

    A proposer rewrites each prompt, a renderer draws the variations, the PAMELA predictor scores them for
    the user, the best is kept, again. The run folder holds every image, the tables candidates.parquet and
    trajectories.parquet, and gallery.html to look at.

        steer-batch --users all --prompts prompts.txt

        steer-batch --users u01,u07 --prompts prompts.txt --set renderer.photos=my_photos

        steer-batch --users 'group:"age" < 30' --prompts prompts.txt --runs 2

        steer-batch --resume --out runs/2026-11-23-101500
    """
    from predictor.stages import stderr_console

    options: dict[str, Any] = {
        "scorers": tuple(scorer) if scorer else None,
        "predictor": predictor,
        "runs": runs,
        "seed": seed,
        "protocol.candidates": candidates,
        "protocol.iterations": iterations,
        "protocol.patience": patience,
    }
    given = {key: value for key, value in options.items() if value is not None}
    console = stderr_console()
    try:
        if resume:
            plan, folder = _continue(console, out, users, prompts, preset, set_ or [], given, dry_run=dry_run)
        else:
            plan, folder = _begin(console, out, users, prompts, preset, set_ or [], given, dry_run=dry_run)
        if dry_run:
            _print_plan(plan, address)
            return
        assert folder is not None
        result = _run(console, plan, folder, address)
    except ValueError as error:
        raise _refusal(console, str(error)) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
            raise
        where = f"{error.filename}: " if error.filename else ""
        raise _refusal(console, f"{where}{error.strerror}; free some space, then go on with --resume") from error
    _report(console, result, folder.path)
    if result.interrupted:
        console.print(f"Stopped. Go on with: steer-batch --resume --out {folder.path}", markup=False)
        raise typer.Exit(INTERRUPTED)
    if result.failures:
        raise typer.Exit(1)


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _begin(
    console: "Console",
    out: Path | None,
    users: str | None,
    prompts: Path | None,
    preset: str | None,
    overrides: list[str],
    options: dict[str, Any],
    *,
    dry_run: bool,
) -> tuple["Plan", "RunFolder | None"]:
    """Settle a new run and, unless it is a dry one, take its folder."""
    from pipelines.plan import check_disk
    from pipelines.prepare import make_plan
    from pipelines.prompts import read_prompts
    from pipelines.run_folder import RunFolder, check_free
    from pipelines.settings import load_settings

    if users is None or prompts is None:
        missing = " and ".join(name for name, value in (("--users", users), ("--prompts", prompts)) if value is None)
        raise ValueError(f"{missing} is missing; for example: steer-batch --users all --prompts prompts.txt")
    settings = load_settings(preset or "embedded", overrides, options)
    listed = read_prompts(prompts)
    target = out or Path("runs") / datetime.now().astimezone().strftime("%Y-%m-%d-%H%M%S")
    check_free(target)
    plan = make_plan(console, settings, users, listed, dry_run=dry_run)
    if dry_run:
        return plan, None
    check_disk(plan, target)
    from pipelines.run import describe_run

    return plan, RunFolder.create(target, describe_run(plan))


def _continue(
    console: "Console",
    out: Path | None,
    users: str | None,
    prompts: Path | None,
    preset: str | None,
    overrides: list[str],
    options: dict[str, Any],
    *,
    dry_run: bool,
) -> tuple["Plan", "RunFolder"]:
    """Settle a run as it was started; what is said again must be the same."""
    from pipelines.prepare import make_plan, recorded_users
    from pipelines.prompts import Prompt, read_prompts
    from pipelines.run_folder import RunFolder
    from pipelines.settings import load_settings

    if out is None:
        raise ValueError("--resume needs --out: the folder of the run to continue")
    folder = RunFolder.open(out)
    recorded = folder.about["settings"]
    settings = load_settings(preset or recorded["preset"], overrides, options, recorded=None if preset else recorded)
    if prompts is not None:
        listed = read_prompts(prompts)
    else:
        listed = [
            Prompt(id=row["prompt_id"], text=row["text"], metadata=row["metadata"]) for row in folder.about["prompts"]
        ]
    audiences = None if users is not None else recorded_users(folder.about)
    if settings.predictor is None:
        settings = settings.model_copy(update={"predictor": folder.about["checkpoint"]})
    plan = make_plan(console, settings, users or "all", listed, audiences=audiences, dry_run=dry_run)
    folder.check_same(plan.decisive())
    return plan, folder


def _run(console: "Console", plan: "Plan", folder: "RunFolder", address: str | None) -> "Result":
    from actors.pool import PoolBrokenError
    from pipelines.progress import RunProgress
    from pipelines.run import execute

    console.print(f"Run folder: {folder.path}", markup=False)
    progress = RunProgress(console, len(plan.trajectories), 0)
    try:
        return execute(plan, folder, progress, address=address)
    except PoolBrokenError as error:
        raise ValueError(f"{error}; what is done is kept, go on with --resume --out {folder.path}") from error
    finally:
        folder.release()


def _print_plan(plan: "Plan", address: str | None) -> None:
    import yaml

    from actors.pool import cluster_resources, connect, disconnect

    gpus_there = None
    if plan.gpus_wanted or address:
        connect(address)
        gpus_there = cluster_resources().get("GPU", 0.0)
        disconnect()
    typer.echo(yaml.safe_dump(plan.settings.model_dump(mode="json"), sort_keys=False).rstrip())
    typer.echo("")
    typer.echo(plan.describe(gpus_there))


def _report(console: "Console", result: "Result", folder: Path) -> None:
    """The last lines: what came out, how sure it is, where to look."""
    gains = [gain for o in result.outcomes if (gain := o.gain) is not None]
    done = len(result.outcomes) - len(result.failures) - result.unfinished
    console.print(
        f"{done} of {len(result.outcomes)} trajectories finished, {len(result.failures)} failed"
        + (f", {result.unfinished} left" if result.unfinished else "")
        + (f"; mean predicted gain {sum(gains) / len(gains):+.3f}" if gains else ""),
        markup=False,
    )
    if result.verdict is not None:
        means = ", ".join(f"{name} {interval.value:.3f}" for name, interval in result.verdict.means.items())
        console.print(f"True liking (0 to 1) of {result.verdict.raters} raters: {means}", markup=False)
        for name, interval in result.verdict.differences.items():
            console.print(f"  {name:16} {interval}", markup=False)
    for name, reason in result.failures.items():
        console.print(f"failed: {name}: {reason}", markup=False)
    typer.echo(str((folder / "gallery.html").resolve()))


def _refusal(console: "Console", message: str) -> typer.Exit:
    """One clear line and exit status 2."""
    console.print("steer-batch: " + " ".join(message.split()), style="red", markup=False)
    return typer.Exit(2)
