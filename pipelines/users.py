"""Whom to steer for: `--users all | u01,u07 | @FILE | group:"age < 30"`."""

import difflib
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from predictor.tables import select

_GROUP = "group:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """One person, or a group that is steered for as one mean person."""

    name: str
    members: tuple[str, ...]


NOBODY = Audience(name="*", members=())
"""For scorers that know no user."""


def resolve_users(spec: str, table: pa.Table) -> list[Audience]:
    """The audiences that a `--users` specification names, in the order of the table or of the list.

    Parameters
    ----------
    table
        The users a predictor knows: user_id and demographics.

    Raises
    ------
    ValueError
        A user is unknown or named twice, the file is missing, or nobody is in the group.
    """
    known: list[str] = table["user_id"].to_pylist()
    if spec == "all":
        return [_person(user) for user in known]
    if spec.startswith(_GROUP):
        members = select(table, spec.removeprefix(_GROUP))["user_id"].to_pylist()
        if not members:
            raise ValueError(f"{spec}: nobody of {len(known)} users is in this group; widen the predicate")
        return [Audience(name=spec, members=tuple(members))]
    names = _read_names(Path(spec[1:])) if spec.startswith("@") else [part.strip() for part in spec.split(",")]
    names = [name for name in names if name]
    if not names:
        raise ValueError(f"--users {spec!r} names nobody; use all, u01,u07, @FILE or group:PREDICATE")
    for index, name in enumerate(names):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3) or known[:3]
            raise ValueError(f"unknown user {name!r}; the predictor knows {len(known)}, such as {', '.join(near)}")
        if name in names[:index]:
            raise ValueError(f"user {name!r} is named twice; name each user once")
    return [_person(name) for name in names]


def _person(user: str) -> Audience:
    return Audience(name=user, members=(user,))


def _read_names(path: Path) -> list[str]:
    if not path.is_file():
        raise ValueError(f"--users @{path}: no such file")
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"--users @{path}: not UTF-8 (byte {error.start}); save it as UTF-8 text") from error
    return [line.strip() for line in lines if not line.lstrip().startswith("#")]
