"""`serve` and `simulate`: people, or simulated participants, take a study."""

import secrets
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from predictor.data.folders import StrPath
from predictor.simulation.raters import read_truth
from studies.folders import server_lock
from studies.session import StudySession
from studies.simulation.rehearsal import rehearse, truth_of
from studies.store.store import Store
from studies.study import Study, read_study
from studies.web.app import create_app
from studies.web.languages import language_of
from studies.web.serving import listen
from studies.web.serving import serve as serve_app


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningStudy:
    """A study that can be reached."""

    study: Study
    address: str
    researcher_page: str
    """With the token that lets its holder in."""
    unreviewed: int
    """Images that wait to be approved there before anybody can begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """How many simulated participants took a study, and their answers."""

    participants: int
    answers: int


def serve(
    folder: StrPath,
    *,
    port: int = 8000,
    host: str = "127.0.0.1",
    approve_all: bool = False,
    prolific: bool = False,
    token: str | None = None,
    language: str | None = None,
    behind_proxy: bool = False,
    on_start: Callable[[RunningStudy], None] = lambda served: None,
) -> None:
    """Let people take a study in their browsers, until Ctrl-C or SIGTERM.

    Every answer is on the disk before it is confirmed.

    Parameters
    ----------
    folder
        Study folder.
    host
        Address to listen on; 0.0.0.0 for all. Put HTTPS in front of it.
    approve_all
        Show images that nobody has reviewed; for your own images.
    prolific
        Admit visitors with ?PROLIFIC_PID=…, without an invitation.
    token
        Of the researcher's page; None: a new one.
    language
        Of everybody's pages: en, de, fr, es, ja, ar, or your own catalogue (a file *.po); None: what each browser asks
        for.
    behind_proxy
        Trust the client address and scheme that a proxy on this machine forwards.
    on_start
        Is told where the study can be reached, once the port is taken.

    Raises
    ------
    ValueError
        There is no such study or language, it is served already, an image is missing, or the port cannot be taken.
    """
    if token is not None and len(token) < 16:
        raise ValueError(f"--token must have at least 16 characters, got {len(token)}")
    spoken = None if language is None else language_of(language)
    token = token or secrets.token_urlsafe(24)
    study = read_study(Path(folder))
    if missing := [file for file in study.files() if not file.is_file()]:
        more = f", and so are {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise ValueError(f"{missing[0]}: is missing{more}; copy the study folder whole")
    with server_lock(study.folder), listen(host, port) as listening, closing(Store(study.database)) as store:
        session = StudySession(study, store, approve_all=approve_all)
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        page = f"{address}/researcher?token={token}"
        on_start(RunningStudy(study=study, address=address, researcher_page=page, unreviewed=len(session.unreviewed)))
        app = create_app(session, researcher_token=token, prolific=prolific, language=spoken)
        serve_app(app, listening, behind_proxy=behind_proxy)


def simulate(
    folder: StrPath,
    *,
    truth: StrPath | None = None,
    participants: int | None = None,
    strangers: bool = False,
    seed: int = 0,
    at_once: int = 1,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Rehearsal:
    """Let raters with a known taste take a study over HTTP, as people would, on a server of its own.

    Parameters
    ----------
    folder
        Study folder.
    truth
        truth.parquet of the raters; None: that of what the study was made of.
    participants
        How many of the raters take part; None: all.
    strangers
        Invite them as nobody in particular.
    seed
        Of their looks; the same seed gives the same answers.
    at_once
        How many take the study at the same time.

    Raises
    ------
    ValueError
        There is no such study or truth, people are invited to the study, or it is served at the moment.
    """
    study = read_study(Path(folder))
    if truth is not None and not Path(truth).is_file():
        raise ValueError(f"--truth {truth}: no such file; it lies in a run folder of simulated raters")
    if participants is not None and participants < 1:
        raise ValueError(f"--participants must be at least 1, got {participants}")
    raters = list(read_truth(truth_of(study) if truth is None else Path(truth)).values())
    if participants is not None and participants > len(raters):
        raise ValueError(f"--participants {participants}: there are {len(raters)} raters; lower it, or leave it out")
    raters = raters[:participants]
    answers = rehearse(study, raters, strangers=strangers, seed=seed, at_once=at_once, progress=progress)
    return Rehearsal(participants=len(raters), answers=answers)
