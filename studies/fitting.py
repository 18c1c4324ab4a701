"""What `steer-study elo` does, as a call: votes of any origin in, a report out."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from predictor.data.folders import StrPath
from predictor.data.output_folder import prepare_output_file
from studies.elo.analysis import Options, Report, analyse
from studies.elo.bradley_terry import Ties
from studies.elo.inference.intervals import Generalisation
from studies.elo.reporting.records import write_json
from studies.elo.reporting.report import write_report
from studies.elo.vote_files import read_votes, votes_of
from studies.results.votes import StudyVotes, study_votes
from studies.study import read_study


class ArrowStream(Protocol):
    """A table of any library that hands it over as Arrow: pandas, DuckDB, Polars, PyArrow."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


Source = StrPath | ArrowStream | Sequence[Mapping[str, Any]]
"""A study folder, a file of votes, a table, or a list of records."""


def fit(
    votes: Source,
    *,
    columns: Mapping[str, str] | None = None,
    values: Mapping[str, str] | None = None,
    control: str | Sequence[str] = (),
    leave_out: str | Sequence[str] = (),
    ties: Ties = "half",
    generalise_to: Generalisation = "people+prompts",
    prior: float = 0.0,
    conditions: str | Sequence[str] | None = None,
    largest_part: bool = False,
    stop_at_width: float | None = None,
    looks: int | None = None,
    drop_failed: bool = False,
    predictor: str | None = None,
    out: StrPath | None = None,
    json: StrPath | None = None,
) -> Report:
    """Who prefers what: Bradley–Terry on the Elo scale, with intervals for other people and other prompts.

    Parameters
    ----------
    votes
        A study folder or a file, by its path; or a table (PyArrow, pandas, DuckDB, Polars) or a list of records, in
        the columns and layouts that `steer-study elo` reads.
    columns
        What our columns are called there, where that is not known: {"left": "model_x", "right": "model_y"}.
    values
        What stands for left, right, tie and both_bad as a winner, and what is to be left out: {"draw": "tie"}.
    control
        Covariates to hold equal, of which the table has a column for each side: "length" for length_left, length_right.
    leave_out
        Participants whose votes are not to count.
    ties
        "half": a tie is half a win to each; "davidson": an outcome of its own (Davidson 1970).
    generalise_to
        For whom intervals and tests hold; `studies.elo.inference.intervals` defines it.
    prior
        Wins that are added to each side of every compared pair; 0 for plain maximum likelihood.
    conditions
        Only votes between these.
    largest_part
        Leave out conditions that no vote connects with most others, instead of refusing.
    stop_at_width
        Report whether every interval is at most this many Elo wide, end to end, and how many more votes that takes.
    looks
        How many looks were fixed before the first vote; says at each whether there is a best (Pocock 1977). A study
        that was made with a number of looks has it.
    drop_failed, predictor
        For study folders: leave out participants who failed an attention check; compare this checkpoint's scores with
        the votes.
    out
        Folder to write elo.json, elo.parquet, elo.svg and report.html to.
    json
        Write elo.json to this file, too.

    Raises
    ------
    ValueError
        The input is wrong, with the line that the command prints.

    Example:

        report = studies.fit("votes.csv", columns={"left": "model_x", "right": "model_y"})
        print(report.conditions[0].condition, report.conditions[0].elo, *report.warnings)
    """
    options = Options(
        ties=ties,
        generalise_to=generalise_to,
        prior=prior,
        largest_part=largest_part,
        stop_at_width=stop_at_width,
        looks=looks,
        conditions=_names(conditions) or None,
    )
    if out is not None and Path(out).is_file():
        raise ValueError(f"--out {out}: is a file; name a folder")
    for option, path in (("--out", None if out is None else Path(out, "elo.json")), ("--json", json)):
        if path is not None:  # an analysis is not to be lost at its end
            prepare_output_file(Path(path), option=option)
    given = votes_from(
        votes, columns=columns, values=values, control=_names(control), drop_failed=drop_failed, predictor=predictor
    )
    report = report_on(given, options, leave_out=_names(leave_out))
    if out is not None:
        write_report(report, Path(out), given.examples, title=given.title)
    if json is not None:
        write_json(report, Path(json))
    return report


def votes_from(
    source: Source,
    *,
    columns: Mapping[str, str] | None = None,
    values: Mapping[str, str] | None = None,
    control: Sequence[str] = (),
    drop_failed: bool = False,
    predictor: str | None = None,
) -> StudyVotes:
    """The votes of any source, with the caveats and pictures that a study has; parameters as those of `fit`."""
    path = Path(source) if isinstance(source, str | os.PathLike) else None
    if path is not None and path.is_dir():
        if columns or values or control:
            raise ValueError("--columns, --values and --control are for files; a study has names of its own")
        return study_votes(read_study(path), drop_failed=drop_failed, predictor=predictor)
    if drop_failed or predictor is not None:
        raise ValueError("--drop-failed and --predictor are for study folders; a file may have left_score, right_score")
    if path is not None:
        return StudyVotes(votes=read_votes(path, columns, values=values, controls=control))
    return StudyVotes(votes=votes_of(_table(source), columns, values=values, controls=control))


def report_on(given: StudyVotes, options: Options, *, leave_out: Sequence[str] = ()) -> Report:
    """The analysis of votes with all their caveats."""
    options = replace(options, looks=_looks(given.looks, options.looks))
    report = analyse(given.votes.without(leave_out) if leave_out else given.votes, options)
    running = _running(given, options) if given.unfinished else ()
    return replace(report, warnings=(*running, *report.warnings, *given.caveats))


def _names(told: str | Sequence[str] | None) -> tuple[str, ...]:
    """One name or several."""
    return (told,) if isinstance(told, str) else tuple(told or ())


def _looks(fixed: int | None, told: int | None) -> int | None:
    """The number of looks: a study's own, which no later wish can change."""
    if fixed is not None and told not in (None, fixed):
        raise ValueError(f"--looks {told}: this study was made with {fixed}, before its first vote; leave --looks out")
    return fixed or told


def _running(given: StudyVotes, options: Options) -> tuple[str]:
    """That the study still runs, and what looking at it does."""
    people = "1 participant has" if given.unfinished == 1 else f"{given.unfinished:,} participants have"
    if options.looks is not None:
        does = f"This look counts as one of the {options.looks} that were fixed before the first vote."
    elif options.stop_at_width is not None:
        does = "Stopping as soon as every interval is narrow enough leaves intervals as they are."
    else:
        does = (
            "Looking does no harm, but stopping because of what is seen does: whoever stops at the first significant "
            "difference finds one in many studies that have none. Fix the looks before the first vote (--looks 5), or "
            "stop on width (--stop-at-width 40)."
        )
    return (f"The study is running: {people} not finished. {does}",)


def _table(source: Any) -> pa.Table:
    if hasattr(source, "__arrow_c_stream__"):
        table = pa.table(source)
        plain = [pa.large_string() if pa.types.is_string_view(own.type) else own.type for own in table.schema]
        return table.cast(pa.schema(list(zip(table.column_names, plain, strict=True))))  # Polars hands over views
    if isinstance(source, Sequence) and all(isinstance(record, Mapping) for record in source):
        names = dict.fromkeys(name for record in source for name in record)
        try:
            return pa.table({name: pa.array([record.get(name) for record in source]) for name in names})
        except pa.ArrowException as error:
            raise ValueError(f"votes: these records are no table: {error}") from error
    raise ValueError(
        f"votes must be a path, a table or a list of records, got {type(source).__name__}; pandas, DuckDB, Polars and "
        "PyArrow have tables"
    )
