"""`steer-study`: who prefers what. Heavy imports wait until the work begins."""

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from predictor.cli import run
from studies.cli.design import pairs, rating
from studies.cli.elo import elo
from studies.cli.publish import publish
from studies.cli.upkeep import backup, close, remove, reopen

if TYPE_CHECKING:
    from studies.commands.serving import RunningStudy

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Find out who prefers what, with intervals.",
)

_StudyFolder = Annotated[Path, typer.Argument(help="Study folder.")]


@app.callback()
def study() -> None:
    """Find out who prefers what, with intervals.

    pairs or rating makes a study, invite and serve let people take it, elo reports.
    """


app.command()(pairs)
app.command()(rating)


@app.command()
def invite(
    folder: _StudyFolder,
    users: Annotated[str | None, typer.Option(help="Whom the images were steered for: all, or u01,u07.")] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(help="Somebody whose answers are to be known by this name, as `enroll --user` takes it."),
    ] = None,
    count: Annotated[int, typer.Option(help="Further invitations, for anybody.", min=0)] = 0,
    url: Annotated[str, typer.Option(help="Where the study will be reached.")] = "http://127.0.0.1:8000",
) -> None:
    """Print invitation links as CSV: participant,user,link. They are shown once, and kept as hashes only.

    steer-study invite my_study --users all --url https://study.example.org

    steer-study invite my_ratings --name ada

    steer-study invite my_study --count 50 > links.csv
    """
    from studies.commands import upkeep

    invited = upkeep.invite(folder, users=users, names=name or (), count=count, url=url)
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["participant", "user", "link"])
    rows.writerows([each.participant, each.user or "", each.link] for each in invited)


@app.command()
def serve(
    folder: _StudyFolder,
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8000,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for all. Put HTTPS in front of it.")
    ] = "127.0.0.1",
    approve_all: Annotated[
        bool, typer.Option("--approve-all", help="Show images that nobody has reviewed; for your own images.")
    ] = False,
    prolific: Annotated[
        bool, typer.Option("--prolific", help="Admit visitors with ?PROLIFIC_PID=…, without an invitation.")
    ] = False,
    token: Annotated[
        str | None, typer.Option(envvar="STEER_STUDY_TOKEN", help="Of the researcher's page; default: a new one.")
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            help="Language of everybody's pages: en, de, fr, es, ja, ar, or your own catalogue (a file *.po); default: "
            "what each browser asks for.",
            show_default=False,
        ),
    ] = None,
    behind_proxy: Annotated[
        bool,
        typer.Option(
            "--behind-proxy", help="Trust the client address and scheme that a proxy on this machine forwards."
        ),
    ] = False,
) -> None:
    """Let people take a study in their browsers, until Ctrl-C. Every answer is on the disk before it is confirmed.

    steer-study serve my_study --port 8000
    """
    from studies.commands import serving
    from studies.study import read_study

    serving.serve(
        folder,
        port=port,
        host=host,
        approve_all=approve_all,
        prolific=prolific,
        token=token,
        language=language,
        behind_proxy=behind_proxy,
        on_start=_say_where,
    )
    typer.echo(f"Stopped; every answer is in {read_study(folder).database}. Start again to go on.")


def _say_where(served: "RunningStudy") -> None:
    study = served.study
    typer.echo(f"{study.settings.title}: {len(study.blocks)} blocks, at {served.address} (Ctrl-C stops)")
    if not study.settings.contact:
        typer.echo("Participants see no contact: set contact in study.json and start again.")
    typer.echo(f"Researcher's page: {served.researcher_page}")
    if served.unreviewed:
        typer.echo(f"{served.unreviewed} images wait to be approved there before anybody can begin.")


@app.command()
def simulate(
    folder: _StudyFolder,
    truth_file: Annotated[
        Path | None, typer.Option("--truth", help="truth.parquet of the raters; default: the source's own.")
    ] = None,
    participants: Annotated[
        int | None, typer.Option(help="How many of the raters take part; default: all.", min=1)
    ] = None,
    strangers: Annotated[bool, typer.Option("--strangers", help="Invite them as nobody in particular.")] = False,
    seed: Annotated[int, typer.Option(help="Of their looks; the same seed gives the same answers.", min=0)] = 0,
    at_once: Annotated[int, typer.Option(help="How many take the study at the same time.", min=1)] = 1,
) -> None:
    """Let raters with a known taste take a study over HTTP, as people would, on a server of its own.

    steer-study simulate my_study
    """
    from predictor.progress import StageProgress, stderr_console
    from studies.commands import serving

    with StageProgress(stderr_console()) as advance:
        done = serving.simulate(
            folder,
            truth=truth_file,
            participants=participants,
            strangers=strangers,
            seed=seed,
            at_once=at_once,
            progress=advance,
        )
    typer.echo(f"{folder}: {done.answers} answers by {done.participants} simulated participants")


@app.command()
def export(
    folder: _StudyFolder,
    answers: Annotated[Path | None, typer.Option(help="Write votes or ratings: .csv, .parquet or .jsonl.")] = None,
    participants: Annotated[Path | None, typer.Option(help="Write participants and their demographics.")] = None,
    dataset: Annotated[
        Path | None, typer.Option(help="Write a dataset folder with its images: ratings, or choices of pairs.")
    ] = None,
    external_ids: Annotated[
        bool, typer.Option("--external-ids", help="With the ids of the recruiting platform, which are personal data.")
    ] = False,
) -> None:
    """Write what a study has gathered; the server may be running.

    steer-study export my_study --answers votes.parquet --participants people.csv

    steer-study export my_ratings --dataset my_dataset

    steer-study export my_study --dataset my_choices
    """
    from studies.commands import results

    written = results.export(
        folder, answers=answers, participants=participants, dataset=dataset, external_ids=external_ids
    )
    if written.answers is not None:
        typer.echo(f"{answers}: {len(written.answers)} {'votes' if written.kind == 'pairs' else 'ratings'}")
    if written.participants is not None:
        typer.echo(f"{participants}: {len(written.participants)} participants")
    if (counts := written.dataset) is not None:
        kept = ", ".join(
            f"{counts[name]} {name}" for name in ("users", "images", "ratings", "choices") if name in counts
        )
        left = ", ".join(f"{counts[name]} {name}" for name in ("practice", "attention", "repeat"))
        typer.echo(f"{dataset}: {kept}; left out: {left}")


app.command()(elo)
for _command in (publish, backup, remove, close, reopen):
    app.command()(_command)


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
    from studies.commands import results

    verdict = results.truth(runs, truth=truth_file, json=json_file)
    typer.echo(f"True liking (0 to 1), {verdict.raters} raters, {verdict.cases} steered images, 95% intervals")
    for name, interval in {**verdict.means, **verdict.differences}.items():
        typer.echo(f"  {name:16} {interval}")
    if verdict.caveat:
        typer.echo(verdict.caveat)


def main() -> None:
    """Entry point of the console script: refusals are one line and exit status 2."""
    run(app, "steer-study")
