"""`steer-study elo`: votes in, a table on the terminal and a report folder out."""

from pathlib import Path
from typing import Annotated

import typer


def elo(
    source: Annotated[Path, typer.Argument(metavar="STUDY|FILE", help="A study folder, or a file of votes.")],
    columns: Annotated[
        str, typer.Option(help="Columns of the file by ours: left=model_x,right=model_y,…", show_default=False)
    ] = "",
    values: Annotated[
        str,
        typer.Option(
            help="What the file writes for a winner: model_a=left,model_b=right,'tie (bothbad)'=both_bad,skip=out.",
            show_default=False,
        ),
    ] = "",
    control: Annotated[
        str,
        typer.Option(
            help="Covariates to hold equal: length,brightness, of columns length_left, length_right and so on.",
            show_default=False,
        ),
    ] = "",
    leave_out: Annotated[
        Path | None, typer.Option(help="File of participants to leave out, one a line; the report says how many.")
    ] = None,
    ties: Annotated[str, typer.Option(help="half (a tie is half a win to each) or davidson.")] = "half",
    generalise_to: Annotated[
        str,
        typer.Option(
            help="For whom intervals and tests hold: people+prompts (other people and other prompts), people (other "
            "people, these very prompts), prompts (these very people, other prompts), these (chance in single votes)."
        ),
    ] = "people+prompts",
    prior: Annotated[
        float, typer.Option(help="Wins added to each side of every compared pair; 0: plain maximum likelihood.", min=0)
    ] = 0.0,
    conditions: Annotated[str | None, typer.Option(help="Only votes between these: own,initial,…")] = None,
    largest_part: Annotated[
        bool, typer.Option("--largest-part", help="Leave out conditions that no vote connects with most others.")
    ] = False,
    stop_at_width: Annotated[
        float | None,
        typer.Option(
            help="Report whether every interval is at most this many Elo wide, and how many more votes that takes.",
            min=0.1,
        ),
    ] = None,
    looks: Annotated[
        int | None,
        typer.Option(
            help="Number of looks fixed before the first vote; report whether one condition is the best at this look, "
            "at the level of one of them.",
            min=1,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for elo.json, elo.parquet, elo.svg and report.html.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write elo.json to this file, too.")] = None,
    predictor: Annotated[
        str | None, typer.Option(help="Studies: compare this checkpoint's scores with the votes.")
    ] = None,
    drop_failed: Annotated[
        bool, typer.Option("--drop-failed", help="Studies: leave out participants who failed an attention check.")
    ] = False,
) -> None:
    """Who prefers what: Bradley–Terry on the Elo scale, with intervals for other people and other prompts.

    A file has one vote a row: participant, prompt_id, left, right, winner (left, right, tie, both_bad, or the
    condition's name); or counts, single responses, rankings, or the best of several, also as others publish them. Who
    voted, and on which prompt, may be missing. A study may be running meanwhile.

        steer-study elo my_study --out report

        steer-study elo votes.csv --columns left=model_x,right=model_y --out report
    """
    from studies.elo.reporting.text import table_of
    from studies.elo.vote_files import column_mapping, participants_named_in, value_mapping
    from studies.fitting import fit

    report = fit(
        source,
        columns=column_mapping(columns),
        values=value_mapping(values),
        control=_names(control),
        leave_out=participants_named_in(leave_out) if leave_out else (),
        ties=ties,  # pyrefly: ignore[bad-argument-type]  (refused if unknown)
        generalise_to=generalise_to,  # pyrefly: ignore[bad-argument-type]
        prior=prior,
        conditions=_names(conditions or ""),
        largest_part=largest_part,
        stop_at_width=stop_at_width,
        looks=looks,
        drop_failed=drop_failed,
        predictor=predictor,
        out=out,
        json=json_file,
    )
    typer.echo(table_of(report))
    if out is not None:
        typer.echo(f"\n{out / 'report.html'}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
