"""`steer-batch`: steer many prompts for many people.

Heavy imports are deferred until the work begins, so that `--help` answers at once. Every error is one line on the
screen; the traceback of an unexpected one is in run.log.
"""

import errno
import os
import shlex
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from predictor.error_messages import system_error, type_and_last_line

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.planning.plan import Plan
    from pipelines.planning.request import RunRequest
    from pipelines.records.run_folder import RunFolder
    from pipelines.records.run_log import RunLog
    from pipelines.reporting.results import Result

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="markdown")

SOME_FAILED, REFUSED, UNAVAILABLE, INTERRUPTED = 1, 2, 3, 130
"""Exit statuses; the last one is the shell's convention for a program that Ctrl-C ended."""


_MOST_REFUSALS = 8
"""Reasons for refusals that are printed; run.json has all."""


@app.command()
def steer_batch(
    users: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC",
            help='Whom to steer for: `all`, `u01,u07`, `@FILE` (one id per line) or `group:"age < 30"`, a mean person. '
            "Repeatable: groups are compared with each other.",
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="Text file with one prompt per line, or CSV/Parquet: prompt[,prompt_id,+metadata]."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Which models: `embedded` (default), `local`, `paper`, or a YAML file.")
    ] = None,
    scorer: Annotated[
        list[str] | None,
        typer.Option(
            help="What steers: `pamela` (default), `population`, `laion`, `q-align`, `q-align-iqa`, `imagereward`, "
            "`deqa`, `hpsv3`, `pickscore`. Repeatable; what knows no user steers once per prompt."
        ),
    ] = None,
    predictor: Annotated[
        str | None, typer.Option(help="Checkpoint folder or hub id; the embedded preset makes and caches its own.")
    ] = None,
    runs: Annotated[
        int | None, typer.Option(help="Independent passes: same base images, other proposals.", min=1)
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="How to search: `frugal` (default: fewer renders, guarded), or `paper`, its section 5 exactly."
        ),
    ] = None,
    share: Annotated[
        str | None,
        typer.Option(help="What users of a prompt share: `base` images, the first `round`, or a `pool` of all images."),
    ] = None,
    candidates: Annotated[int | None, typer.Option(help="Proposals in each iteration (20).", min=1)] = None,
    iterations: Annotated[int | None, typer.Option(help="At most so many iterations (5).", min=0)] = None,
    patience: Annotated[int | None, typer.Option(help="Stop after so many without a new best (2).", min=1)] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same records (0).", min=0)] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/DATE-TIME.")] = None,
    title: Annotated[str | None, typer.Option(help="Title of the gallery; default the run folder's name.")] = None,
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

    A proposer rewrites each prompt, a renderer renders the variations, the PAMELA predictor scores them for
    the user, the best is kept, again. The run folder holds every image, the tables candidates.parquet and
    trajectories.parquet, and gallery.html to look at.

        steer-batch --users all --prompts prompts.txt

        steer-batch --users u01,u07 --prompts prompts.txt --set renderer.photos=my_photos

        steer-batch --users 'group:age < 30' --users 'group:age >= 50' --prompts prompts.txt

        steer-batch --users all --prompts prompts.txt --protocol paper

        steer-batch --resume --out runs/2026-11-23-101500
    """
    from pipelines.planning.request import RunRequest, setting_options
    from pipelines.records.run_folder import folder_by_date
    from pipelines.records.run_log import RunLog
    from predictor.progress import stderr_console

    request = RunRequest(
        users=tuple(users) if users else None,
        prompts=prompts,
        preset=preset,
        overrides=tuple(set_ or ()),
        options=setting_options(
            scorers=scorer,
            predictor=predictor,
            title=title,
            runs=runs,
            seed=seed,
            protocol=protocol,
            share=share,
            candidates=candidates,
            iterations=iterations,
            patience=patience,
        ),
        dry_run=dry_run,
    )
    if out is None and not resume:
        out = folder_by_date()
    console = stderr_console()
    log = RunLog()
    with _unexpected_in_one_line(console, log):
        plan, folder = _plan(console, request, out, resume=resume)
        if dry_run:
            _print_plan(console, plan, address)
            return
        assert out is not None
        result = _run(console, plan, folder, out, log, address)
        _print_result(console, result, out)
        if result.interrupted:
            console.print(f"Stopped. Go on with: steer-batch --resume --out {shlex.quote(str(out))}", markup=False)
            raise typer.Exit(INTERRUPTED)
        if result.failures:
            raise typer.Exit(SOME_FAILED)


def main() -> None:
    """Entry point of the console script. `publish` stands apart, so that a run needs no word of its own."""
    try:
        if sys.argv[1:2] == ["publish"]:
            from pipelines.publishing.cli import app as publish
            from predictor.cli import run

            run(lambda: publish(args=sys.argv[2:], prog_name="steer-batch publish"), "steer-batch")
        else:
            app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


@contextmanager
def _unexpected_in_one_line(console: "Console", log: "RunLog") -> Iterator[None]:
    """Print one line for an error that nobody has foreseen, with the path of its traceback."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        where = log.path_of(error) or _write_traceback(error)
        _refusal(console, f"unexpected error: {type_and_last_line(error)}; its traceback is in {where}")
        raise typer.Exit(SOME_FAILED) from error


def _write_traceback(error: BaseException) -> Path:
    """For an error that no run.log holds, because there is no run folder yet."""
    with tempfile.NamedTemporaryFile("w", prefix="steer-batch-", suffix=".log", delete=False, encoding="utf-8") as file:
        file.writelines(traceback.format_exception(error))
    return Path(file.name)


def _plan(
    console: "Console", request: "RunRequest", out: Path | None, *, resume: bool
) -> tuple["Plan", "RunFolder | None"]:
    """The plan, or a refusal before anything is written; and the folder of a run that is resumed."""
    from pipelines.planning.request import plan_continuation, plan_run
    from pipelines.records.run_folder import RunFolder

    try:
        if not resume:
            assert out is not None
            return plan_run(console, request, out), None
        if out is None:
            raise ValueError("--resume needs --out: the folder of the run to continue")
        folder = RunFolder.open(out)
        return plan_continuation(console, request, folder), folder
    except ValueError as error:
        raise _refusal(console, str(error)) from error
    except OSError as error:
        raise _refusal(console, system_error(error)) from error


def _run(
    console: "Console", plan: "Plan", folder: "RunFolder | None", out: Path, log: "RunLog", address: str | None
) -> "Result":
    from actors.pool.actor_pool import PoolBrokenError, RoleUnavailableError
    from actors.pool.cluster import ClusterError
    from pipelines.records.journal import JournalError
    from pipelines.records.run_folder import FolderError, is_run
    from pipelines.run import start_or_continue

    def how_to_resume() -> str:
        return f"go on with --resume --out {shlex.quote(str(out))}" if is_run(out) else "start again"

    def on_lost(reason: str) -> None:
        _refusal(console, f"{reason}; mend it, then {how_to_resume()}")
        console.show_cursor()
        sys.stderr.flush()
        os._exit(UNAVAILABLE)  # every line of the journal is on the disk, and the main thread may be blocked in Ray

    try:
        return start_or_continue(console, plan, folder, out, log, address=address, on_lost=on_lost)
    except KeyboardInterrupt:
        if is_run(out):
            console.print(f"Stopped. Go on with: steer-batch --resume --out {shlex.quote(str(out))}", markup=False)
        raise
    except (ClusterError, FolderError, JournalError) as error:
        raise _refusal(console, str(error)) from error
    except PoolBrokenError as error:
        raise _refusal(console, f"{error}; mend it, then {how_to_resume()}") from error
    except RoleUnavailableError as error:
        raise _refusal(console, f"stopped: {error}; then {how_to_resume()}", UNAVAILABLE) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
            raise
        where = f"{error.filename}: " if error.filename else ""
        message = f"{where}{error.strerror}; what is finished is kept: free some space, then {how_to_resume()}"
        raise _refusal(console, message) from error


def _print_plan(console: "Console", plan: "Plan", address: str | None) -> None:
    import yaml

    from actors.pool.cluster import ClusterError, cluster_resources, connect, disconnect
    from pipelines.planning.preflight import local_gpus

    there: dict[str, float] = {"GPU": local_gpus()}
    if address:
        try:
            connect(address)
        except ClusterError as error:
            raise _refusal(console, str(error)) from error
        there = cluster_resources()
        disconnect()
    typer.echo(yaml.safe_dump(plan.settings.model_dump(mode="json"), sort_keys=False).rstrip())
    typer.echo("")
    typer.echo(plan.describe(there))


def _print_result(console: "Console", result: "Result", folder: Path) -> None:
    """The last lines: counts, gains, warnings, how well people are known, the verdict, failures, and the gallery."""
    done = len(result.outcomes) - len(result.failures) - result.unfinished
    console.print(
        f"{done} of {len(result.outcomes)} trajectories finished, {len(result.failures)} failed"
        + (f", {result.unfinished} left" if result.unfinished else "")
        + "".join(f"; mean gain by {scorer} {gain:+.3f}" for scorer, gain in result.mean_gains.items()),
        markup=False,
    )
    if lines := result.winner_warnings:
        console.print(f"{len(lines)} warnings of guards, in winners.parquet; the first: {lines[0]}", markup=False)
    if result.uncertain:
        gains = "1 gain is below its" if result.uncertain == 1 else f"{result.uncertain} gains are below their"
        console.print(f"{gains} uncertainty; the gallery says which", markup=False)
    for line in result.certainty.lines():
        console.print(line, markup=False)
    if result.verdict is not None:
        means = ", ".join(f"{name} {interval.value:.3f}" for name, interval in result.verdict.means.items())
        console.print(f"True liking (0 to 1) of {result.verdict.raters} raters: {means}", markup=False)
        for name, interval in result.verdict.differences.items():
            console.print(f"  {name:16} {interval}", markup=False)
        if result.verdict.caveat:
            console.print(result.verdict.caveat, style="yellow", markup=False)
    for name, reason in result.failures.items():
        console.print(f"failed: {name}: {reason}", markup=False)
    for line in result.refusals[:_MOST_REFUSALS]:
        console.print(line, markup=False)
    if (more := len(result.refusals) - _MOST_REFUSALS) > 0:
        console.print(f"{more} more reasons for refusals are in run.json", markup=False)
    typer.echo(str((folder / "gallery.html").resolve()))


def _refusal(console: "Console", message: str, status: int = REFUSED) -> typer.Exit:
    """One clear line and the exit status."""
    console.print("steer-batch: " + " ".join(message.split()), style="red", markup=False)
    return typer.Exit(status)
