"""`steer-study`: who prefers what. Heavy imports wait until the work begins."""

import csv
import json
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from predictor.cli import run
from studies.cli.design import pairs, rating
from studies.cli.elo import elo
from studies.cli.publish import publish
from studies.cli.upkeep import backup, close, remove, reopen

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
    from studies.store.store import Store
    from studies.study import read_study

    made = read_study(folder)
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"--url {url}: must begin with https:// or http://")
    wanted = [*_users(users, made.users), *_names(name or []), *[None] * count]
    if not wanted:
        raise ValueError("nobody to invite: give --users all, --name ada, or --count 20")
    store = Store(made.database)
    if taken := sorted(store.users() & set(name or [])):
        raise ValueError(f"--name {taken[0]}: is invited already; `steer-study remove` takes an invitation back")
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["participant", "user", "link"])
    for (participant, token), user in zip(store.invite(wanted), wanted, strict=True):
        rows.writerow([participant, user or "", f"{url.rstrip('/')}/join/{token}"])
    store.close()


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
        bool, typer.Option("--prolific", help="Let in who comes with ?PROLIFIC_PID=…, without an invitation.")
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
        bool, typer.Option("--behind-proxy", help="Believe a proxy on this machine about who asks, and HTTPS.")
    ] = False,
) -> None:
    """Let people take a study in their browsers, until Ctrl-C. Every answer is on the disk before it is confirmed.

    steer-study serve my_study --port 8000
    """
    import secrets

    from studies.folders import server_lock
    from studies.session import StudySession
    from studies.store.store import Store
    from studies.study import read_study
    from studies.web.app import create_app
    from studies.web.languages import language_of
    from studies.web.serving import listen
    from studies.web.serving import serve as serve_app

    if token is not None and len(token) < 16:
        raise ValueError(f"--token must have at least 16 characters, got {len(token)}")
    spoken = None if language is None else language_of(language)
    token = token or secrets.token_urlsafe(24)
    made = read_study(folder)
    missing = [file for file in made.files() if not file.is_file()]
    if missing:
        raise ValueError(f"{missing[0]}: missing, as are {len(missing) - 1} more; copy the study folder whole")
    with server_lock(folder), listen(host, port) as listening:
        study_session = StudySession(made, Store(made.database), approve_all=approve_all)
        address = f"http://{host}:{port}"
        typer.echo(f"{made.settings.title}: {len(made.blocks)} blocks, at {address} (Ctrl-C stops)")
        if not made.settings.contact:
            typer.echo("Participants are told nobody to write to: put a contact into study.json, and start again.")
        typer.echo(f"Researcher's page: {address}/researcher?token={token}")
        if study_session.unreviewed:
            typer.echo(f"{len(study_session.unreviewed)} images wait to be approved there before anybody can begin.")
        app = create_app(study_session, researcher_token=token, prolific=prolific, language=spoken)
        serve_app(app, listening, behind_proxy=behind_proxy)
    typer.echo(f"Stopped; every answer is in {made.database}. Start again to go on.")


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
    from predictor.simulation.raters import read_truth
    from studies.simulation.rehearsal import rehearse, truth_of
    from studies.study import read_study

    made = read_study(folder)
    if truth_file is not None and not truth_file.is_file():
        raise ValueError(f"--truth {truth_file}: no such file; it lies in a run folder of simulated raters")
    raters = list(read_truth(truth_file or truth_of(made)).values())
    with StageProgress(stderr_console()) as advance:
        answers = rehearse(
            made, raters[:participants], strangers=strangers, seed=seed, at_once=at_once, progress=advance
        )
    typer.echo(f"{folder}: {answers} answers by {len(raters[:participants])} simulated participants")


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
    from studies.results.answers import participants_table
    from studies.results.export import answers_table, export_dataset, write_table
    from studies.study import read_study

    if answers is None and participants is None and dataset is None:
        raise ValueError("nothing to export: give --answers FILE, --participants FILE or --dataset DIR")
    made = read_study(folder)
    if answers is not None:
        table = answers_table(made)
        write_table(table, answers)
        typer.echo(f"{answers}: {len(table)} {(made.settings.kind == 'pairs' and 'votes') or 'ratings'}")
    if participants is not None:
        table = participants_table(made, external_ids=external_ids)
        write_table(table, participants)
        typer.echo(f"{participants}: {len(table)} participants")
    if dataset is not None:
        counts = export_dataset(made, dataset, external_ids=external_ids)
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
    from studies.results.truth import common_truth, judge_runs

    verdict = judge_runs(runs, truth_file or common_truth(runs))
    typer.echo(f"True liking (0 to 1), {verdict.raters} raters, {verdict.cases} steered images, 95% intervals")
    for name, interval in {**verdict.means, **verdict.differences}.items():
        typer.echo(f"  {name:16} {interval}")
    if verdict.caveat:
        typer.echo(verdict.caveat)
    if json_file is not None:
        json_file.write_text(json.dumps(verdict.as_dict(), indent=2) + "\n", "utf-8")


def _users(spec: str | None, known: list[str]) -> list[str]:
    if spec is None:
        return []
    if not known:
        raise ValueError(f"--users {spec}: this study was made for nobody in particular; give --count instead")
    names = known if spec == "all" else [spec] if spec in known else [name.strip() for name in spec.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"--users: unknown user {unknown[0]!r}; the study was made for {', '.join(known[:12])}")
    if len(set(names)) < len(names):
        raise ValueError(f"--users {spec}: names somebody twice; one invitation is enough for a person")
    return names


def _names(names: list[str]) -> list[str]:
    if wrong := [name for name in names if not re.fullmatch(r"[\w.@-]{1,64}", name)]:
        raise ValueError(f"--name {wrong[0]!r}: must be 1 to 64 letters, digits or any of . @ _ -")
    if len(set(names)) < len(names):
        raise ValueError("--name: names somebody twice; one invitation is enough for a person")
    return names


def main() -> None:
    """Entry point of the console script: refusals are one line and exit status 2."""
    run(app, "steer-study")
