"""A study rehearsed: simulated participants are invited, and take it on a server of this machine."""

import secrets
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from predictor.simulation.raters import Rater
from studies.folders import server_lock
from studies.session import StudySession
from studies.simulation.participants import SimulatedParticipant, take_study
from studies.store.database import read_rows
from studies.store.store import Store
from studies.study import Study
from studies.web.app import create_app
from studies.web.serving import serving


def rehearse(
    study: Study,
    raters: Sequence[Rater],
    *,
    strangers: bool = False,
    seed: int = 0,
    at_once: int = 1,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> int:
    """Invite the raters, as themselves where the study was made for them, and let them take it.

    Returns
    -------
    How many answers they gave.

    Raises
    ------
    ValueError
        People were invited to this study already, or it is served at the moment.
    """
    with server_lock(study.folder), closing(Store(study.database)) as store:
        people = read_rows(study.database, "SELECT count(*) AS n FROM participants WHERE source <> 'simulated'")[0]["n"]
        if people:
            raise ValueError(
                f"{study.folder}: {people} people are invited to it; rehearse on a copy, so that no answers mix"
            )
        users = [r.user_id if r.user_id in study.users and not strangers else None for r in raters]
        invited = store.invite(users, source="simulated")
        app = create_app(StudySession(study, store, approve_all=True), researcher_token=secrets.token_urlsafe(24))
        with serving(app) as address:
            participants = [
                SimulatedParticipant(rater=rater, link=f"{address}/join/{token}")
                for rater, (_, token) in zip(raters, invited, strict=True)
            ]
            return take_study(participants, seed=seed, at_once=at_once, progress=progress)


def truth_of(study: Study) -> Path:
    """The truth.parquet of what the study was made of.

    Raises
    ------
    ValueError
        There is none: the study was made of runs or images that no simulated raters belong to.
    """
    found = [path for source in study.settings.sources if (path := Path(source) / "truth.parquet").is_file()]
    if not found:
        raise ValueError(
            f"{study.folder}: no simulated raters belong to what it was made of; name their truth.parquet by --truth"
        )
    return found[0]
