"""Audiences, from `--users all | u01,u07 | @FILE | group:"age < 30"`, given once or several times."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from predictor.data.delimited import encoding_of, undecodable
from predictor.data.tables import select

_GROUP = "group:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """One person, or a group that is steered for as one mean user."""

    name: str
    user_ids: tuple[str, ...]

    @property
    def is_group(self) -> bool:
        return is_group(self.name)


NOBODY = Audience(name="*", user_ids=())
"""The audience of scorers that know no user."""


def is_group(name: str) -> bool:
    """Whether an audience of this name is a group."""
    return name.startswith(_GROUP)


def shown_name(name: str) -> str:
    """An audience's name for readers: of a group, its predicate."""
    return name.removeprefix(_GROUP).strip()


def resolve_users(specs: Sequence[str], table: pa.Table) -> list[Audience]:
    """The audiences that `--users` specifications name, in their order.

    Parameters
    ----------
    table
        The users a predictor knows: user_id and demographics.

    Raises
    ------
    ValueError
        A user is unknown, the file is missing, nobody is in a group, or the same people are named twice.
    """
    named: dict[tuple[str, ...], Audience] = {}
    for audience in (audience for spec in specs for audience in _resolve(spec, table)):
        earlier = named.setdefault(audience.user_ids, audience)
        if earlier is not audience:
            raise ValueError(_twice(earlier, audience))
    return list(named.values())


def _twice(earlier: Audience, later: Audience) -> str:
    if earlier.name != later.name:
        return f"{earlier.name!r} and {later.name!r} are the same people; name them once"
    kind = "group" if later.is_group else "user"
    return f"{kind} {later.name!r} is named twice; name each {kind} once"


def _resolve(spec: str, table: pa.Table) -> list[Audience]:
    known: list[str] = table["user_id"].to_pylist()
    if spec == "all":
        return [_person(user) for user in known]
    if is_group(spec):
        user_ids = select(table, spec.removeprefix(_GROUP))["user_id"].to_pylist()
        if not user_ids:
            raise ValueError(f"{spec}: nobody of {len(known)} users is in this group; widen the predicate")
        return [Audience(name=spec, user_ids=tuple(user_ids))]
    names = _read_names(Path(spec[1:])) if spec.startswith("@") else [part.strip() for part in spec.split(",")]
    names = [name for name in names if name]
    if not names:
        raise ValueError(f"--users {spec!r} names nobody; use all, u01,u07, @FILE or group:PREDICATE")
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3) or known[:3]
            raise ValueError(f"unknown user {name!r}; the predictor knows {len(known)}, such as {', '.join(near)}")
    return [_person(name) for name in names]


def _person(user: str) -> Audience:
    return Audience(name=user, user_ids=(user,))


def _read_names(path: Path) -> list[str]:
    if not path.is_file():
        raise ValueError(f"--users @{path}: no such file")
    try:
        lines = path.read_text(encoding_of(path)).splitlines()
    except UnicodeError as error:
        raise ValueError(f"--users @{path}: {undecodable(path)}; save it as UTF-8 text") from error
    return [line.strip() for line in lines if not line.lstrip().startswith("#")]
