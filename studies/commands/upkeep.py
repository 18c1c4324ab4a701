"""`invite`, `backup`, `remove`, `close` and `reopen`: what a researcher does while a study runs."""

import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from predictor.data.folders import StrPath
from studies.store.backup import back_up
from studies.store.store import Store
from studies.study import read_study


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationLink:
    """The link of somebody who is invited. It is told once: the study keeps only its hash."""

    participant: str
    """A random name."""
    user: str | None
    """Whom images were steered for, or the name by which answers are to be known."""
    link: str


def invite(
    folder: StrPath,
    *,
    users: str | Sequence[str] | None = None,
    names: Sequence[str] = (),
    count: int = 0,
    url: str = "http://127.0.0.1:8000",
) -> list[InvitationLink]:
    """Invite people to a study; its server may be running.

    Parameters
    ----------
    folder
        Study folder.
    users
        Whom the images were steered for: `"all"`, `"u01,u07"` or `["u01", "u07"]`.
    names
        Those whose answers are to be known by these names, as `enroll` takes them.
    count
        Further invitations, for anybody.
    url
        Where the study will be reached.

    Raises
    ------
    ValueError
        There is no such study or user, nobody to invite, or somebody is invited already.
    """
    study = read_study(Path(folder))
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"--url {url}: must begin with https:// or http://")
    somebody = {"--users": _users(users, study.users), "--name": _names(names)}
    wanted = [*somebody["--users"], *somebody["--name"], *[None] * count]
    if not wanted:
        raise ValueError("nobody to invite: give --users all, --name ada, or --count 20")
    with closing(Store(study.database)) as store:
        invited = store.users()
        for option, names in somebody.items():
            for name in names:
                if name in invited:
                    raise ValueError(
                        f"{option} {name}: is invited already; `steer-study remove` takes an invitation back, by the "
                        "random name in `steer-study export --participants`"
                    )
                invited.add(name)
        return [
            InvitationLink(participant=participant, user=user, link=f"{url.rstrip('/')}/join/{token}")
            for (participant, token), user in zip(store.invite(wanted), wanted, strict=True)
        ]


def backup(folder: StrPath, out: StrPath) -> int:
    """Copy a study with all answers that are confirmed by now; its server may be running.

    The copy is a study folder like the study itself. It holds the key and what people told: keep it as safe.

    Returns
    -------
    How many answers are in the copy.

    Raises
    ------
    ValueError
        There is no such study, nobody was invited yet, or there is something at `out` already.
    """
    return back_up(read_study(Path(folder)), Path(out))


def remove(folder: StrPath, participant: str) -> None:
    """Delete everything that a participant answered and told, as if they had withdrawn; the server may be running.

    It cannot be undone, and it does not reach copies: those of `backup`, exports and reports are yours to delete.

    Parameters
    ----------
    participant
        Their random name (p-…), or their id at Prolific.

    Raises
    ------
    ValueError
        There is no such study, or they take no part in it.
    """
    with _store(folder) as store:
        name = store.named(participant)
        if name is None:
            raise ValueError(f"{participant}: takes no part in this study; see `steer-study export --participants`")
        store.withdraw(name)


def close(folder: StrPath) -> None:
    """Let nobody new begin; those who have begun may go on. The server may be running.

    Raises
    ------
    ValueError
        There is no such study.
    """
    with _store(folder) as store:
        store.close_to_newcomers()


def reopen(folder: StrPath) -> None:
    """Let people begin again after `close`.

    Raises
    ------
    ValueError
        There is no such study.
    """
    with _store(folder) as store:
        store.reopen()


def _store(folder: StrPath) -> closing[Store]:
    """The store of a study, closed when the block ends."""
    return closing(Store(read_study(Path(folder)).database))


def _users(spec: str | Sequence[str] | None, known: list[str]) -> list[str]:
    """The users of a specification, who are all known."""
    if spec is None:
        return []
    told = spec if isinstance(spec, str) else ",".join(spec)
    if not known:
        raise ValueError(f"--users {told}: this study was made for nobody in particular; give --count instead")
    if not isinstance(spec, str):
        names = [*spec]
    elif spec == "all":
        names = known
    else:  # a user's id may have a comma in it
        names = [spec] if spec in known else [name.strip() for name in spec.split(",")]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"--users: unknown user {unknown[0]!r}; the study was made for {', '.join(known[:12])}")
    if len(set(names)) < len(names):
        raise ValueError(f"--users {told}: names somebody twice; one invitation is enough for a person")
    return names


def _names(names: Sequence[str]) -> Sequence[str]:
    names = [names] if isinstance(names, str) else names
    if wrong := [name for name in names if not re.fullmatch(r"[\w.@-]{1,64}", name)]:
        raise ValueError(f"--name {wrong[0]!r}: must be 1 to 64 letters, digits or any of . @ _ -")
    if len(set(names)) < len(names):
        raise ValueError("--name: names somebody twice; one invitation is enough for a person")
    return names
