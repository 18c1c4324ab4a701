"""`export`, `publish` and `truth`: what a study has gathered, and what simulated raters think of its runs."""

import json as json_text
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from predictor.data.folders import StrPath, paths_of
from predictor.data.output_folder import prepare_output_file
from predictor.hub.upload import check_repository, upload_dataset
from predictor.simulation.verdict import Verdict
from studies.results.answers import participants_table
from studies.results.export import answers_table, export_dataset, write_table
from studies.results.publication import Publication, write_publication
from studies.results.truth import common_truth, judge_runs
from studies.study import Kind, read_study


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What was written; None where it was not asked for."""

    kind: Kind
    answers: pa.Table | None
    """Votes, or ratings."""
    participants: pa.Table | None
    dataset: Mapping[str, int] | None
    """How many users, images and ratings or choices the dataset has, and how many answers were left out, and which."""


def export(
    folder: StrPath,
    *,
    answers: StrPath | None = None,
    participants: StrPath | None = None,
    dataset: StrPath | None = None,
    external_ids: bool = False,
) -> Export:
    """Write what a study has gathered; its server may be running.

    Parameters
    ----------
    folder
        Study folder.
    answers
        File for the votes or ratings: .csv, .parquet or .jsonl.
    participants
        File for the participants and their demographics.
    dataset
        Dataset folder to write with its images: ratings, or choices of pairs.
    external_ids
        With the ids of the recruiting platform, which are personal data.

    Raises
    ------
    ValueError
        There is no such study, nothing is asked for or gathered yet, or something cannot be written.
    """
    if answers is participants is dataset is None:
        raise ValueError("nothing to export: give --answers FILE, --participants FILE or --dataset DIR")
    study = read_study(Path(folder))
    said = people = counts = None
    if answers is not None:
        said = answers_table(study)
        write_table(said, Path(answers))
    if participants is not None:
        people = participants_table(study, external_ids=external_ids)
        write_table(people, Path(participants))
    if dataset is not None:
        counts = export_dataset(study, Path(dataset), external_ids=external_ids)
    return Export(kind=study.settings.kind, answers=said, participants=people, dataset=counts)


def publish(
    folder: StrPath,
    out: StrPath,
    *,
    repo: str | None = None,
    licence: str | None = None,
    public: bool = False,
    on_made: Callable[[Publication], None] = lambda made: None,
) -> Publication:
    """Make a data set of a study: Parquet, images and a card, without anything that tells who took part.

    Parameters
    ----------
    folder
        Study folder.
    out
        New folder for the data set.
    repo
        Data set on the Hugging Face hub to push it to: owner/name.
    licence
        As the hub calls it, such as cc-by-4.0; None: `other`.
    public
        For everybody to see on the hub; else only for its owner.
    on_made
        Told what was written, before it is pushed.

    Returns
    -------
    What was written, with the address of the commit where it was pushed.

    Raises
    ------
    ValueError
        There is no such study, nobody has answered, `out` is taken, or the hub does not take it: then the data set
        stays in `out`.
    """
    if repo is not None:
        check_repository(repo)
    made = write_publication(read_study(Path(folder)), Path(out), licence=licence)
    on_made(made)
    if repo is None:
        return made
    return replace(made, address=upload_dataset(Path(out), repo, message="A study of steer-study", public=public))


def truth(runs: StrPath | Sequence[StrPath], *, truth: StrPath | None = None, json: StrPath | None = None) -> Verdict:
    """Judge runs by simulated raters whose taste is known: own, other and initial images.

    Parameters
    ----------
    runs
        Run folders of steer-batch.
    truth
        The raters' truth.parquet; None: the one in the run folders.
    json
        Write the verdict to this file, too.

    Raises
    ------
    ValueError
        A folder is no finished run for simulated raters, or the runs were steered for different people.
    """
    folders = paths_of(runs)
    if json is not None:
        prepare_output_file(Path(json), option="--json")
    verdict = judge_runs(folders, common_truth(folders) if truth is None else Path(truth))
    if json is not None:
        Path(json).write_text(json_text.dumps(verdict.as_dict(), indent=2) + "\n", "utf-8")
    return verdict
