"""`steer-study`: who prefers what. Heavy imports wait until the work begins."""

import json
from pathlib import Path
from typing import Annotated

import typer

from predictor.cli import run
from studies.elo_cli import elo

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Find out who prefers what, with intervals.",
)


@app.callback()
def study() -> None:
    """Find out who prefers what, with intervals."""


@app.command()
def truth(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of steer-batch.")],
    truth_file: Annotated[
        Path | None, typer.Option("--truth", help="truth.parquet; default: the one in the run folder.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the verdict to this file, too.")] = None,
) -> None:
    """Judge runs by simulated raters whose taste is known: own, other and initial images.

    steer-study truth runs/2026-11-23-101500
    """
    from studies.truth import common_truth, judge_runs

    verdict = judge_runs(runs, truth_file or common_truth(runs))
    typer.echo(f"True liking (0 to 1), {verdict.raters} raters, {verdict.cases} steered images, 95% intervals")
    for name, interval in {**verdict.means, **verdict.differences}.items():
        typer.echo(f"  {name:16} {interval}")
    if verdict.caveat:
        typer.echo(verdict.caveat)
    if json_file is not None:
        json_file.write_text(json.dumps(verdict.as_dict(), indent=2) + "\n", "utf-8")


app.command()(elo)


def main() -> None:
    """Entry point of the console script: refusals are one line and exit status 2."""
    run(app, "steer-study")
