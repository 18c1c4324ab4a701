"""journal.jsonl: one line for each finished round of each cohort. It is all that `--resume` replays.

The file is append-only, and is forced to the disk before the search goes on. A process that is killed while it writes
leaves a torn last line, which is dropped. Any other line that does not read back is an error, because a journal that
was edited is no record.

The scores of a round are an array of users and images in single precision, written as base64 of its little-endian
bytes: 5.3 bytes a score. Its columns are the images of the line's candidates, in their order, without those that an
earlier round has scored. The proposals are JSON, compressed by zlib and written as base64. Most are never rendered,
and they resemble each other; as plain text they would take more room than the scores.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.search.notices import Check, Notice
from pipelines.search.rounds import Candidate, FreshImage, GuardVerdict, Proposed, Reseeded, Round, Scores
from predictor.data.folders import AppendOnlyLines


class JournalError(ValueError):
    """A line that was written whole does not read back."""


class Journal:
    """The journal of one run folder, open for appending. The driver is its only writer."""

    def __init__(self, path: Path) -> None:
        """Open the journal, dropping a torn last line for good."""
        self._lines = AppendOnlyLines(path)

    def append(self, cohort_id: str, finished: Round) -> None:
        """Write the line of one round; returns once it would survive a power failure.

        Raises
        ------
        OSError
            The disk is full or broken; nothing of the line is then in the journal.
        """
        self._lines.append(_line(cohort_id, finished))

    def close(self) -> None:
        """After a line that is being written: its thread outlives the task that waited for it."""
        self._lines.close()


def parse(where: str, line: bytes) -> tuple[str, Round]:
    """Read a line back: the cohort's id, and its round. `where` it stands is for the error.

    Raises
    ------
    JournalError
        It is not a line of a journal.
    """
    try:
        values: dict[str, Any] = json.loads(line)
        if "trajectory" in values:
            raise ValueError("an earlier version wrote it: start a new run")
        _refuse_others(values, _KEYS)
        cohort_id, number = values["cohort"], values["number"]
        if not isinstance(cohort_id, str) or not isinstance(number, int):
            raise TypeError("a cohort is not text, or a round no whole number")
        chosen = values.get("chosen", {})
        _check("an image that was chosen is not text", chosen.values(), str)
        proposed = _unpacked(values["proposed"]) if "proposed" in values else ()
        if not proposed and not values.get("reseeded") and not chosen:
            raise ValueError("a round of nothing")
        return cohort_id, Round(
            number=number,
            proposed=tuple(map(_proposed, proposed)),
            scores=_scores(values.get("users", 0), values.get("scores", "")),
            verdicts={key: _verdict(verdict) for key, verdict in values.get("verdicts", {}).items()},
            reseeded={user: _reseeded(again) for user, again in values.get("reseeded", {}).items()},
            chosen=chosen,
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise JournalError(f"{where}: not a line of a journal: {error}") from error


def cohort_of(where: str, line: bytes) -> str:
    """The cohort's id of a line, without reading the rest of a line that begins as all do; errors as `parse`."""
    if line.startswith(_BEGINS):
        try:
            name, _ = json.JSONDecoder().raw_decode(line[len(_BEGINS) :].decode())
        except ValueError as error:
            raise JournalError(f"{where}: not a line of a journal: {error}") from error
        if isinstance(name, str):
            return name
    return parse(where, line)[0]


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The whole lines of a journal, each with the byte at which it begins."""
    place = 0
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield place, line
                place += len(line)


_BEGINS = b'{"cohort": '
_KEYS = frozenset({"cohort", "number", "proposed", "users", "scores", "verdicts", "reseeded", "chosen"})


def _line(cohort_id: str, finished: Round) -> bytes:
    values: dict[str, Any] = {"cohort": cohort_id, "number": finished.number}
    if finished.proposed:
        values["proposed"] = _packed([_proposed_as_recorded(proposals) for proposals in finished.proposed])
        values["users"] = len(finished.scores)
        values["scores"] = base64.b64encode(finished.scores.astype("<f4").tobytes()).decode()
    if finished.verdicts:
        values["verdicts"] = {
            key: _without_defaults(verdict, GuardVerdict()) for key, verdict in finished.verdicts.items()
        }
    if finished.chosen:
        values["chosen"] = dict(finished.chosen)
    if finished.reseeded:
        values["reseeded"] = {user: asdict(again) for user, again in finished.reseeded.items()}
    return json.dumps(values, ensure_ascii=False).encode() + b"\n"


_CANDIDATE, _PROPOSED = Candidate(prompt=""), Proposed(users=(), candidates=())


def _proposed_as_recorded(proposals: Proposed) -> dict[str, Any]:
    candidates = [{"prompt": c.prompt, **_without_defaults(c, _CANDIDATE)} for c in proposals.candidates]
    rest = {name: getattr(proposals, name) for name in ("shared", "seeds", "refused") if getattr(proposals, name)}
    return {"users": proposals.users, "candidates": candidates, **rest}


def _without_defaults(value: Any, default: Any) -> dict[str, Any]:
    plain = asdict(default)
    return {name: each for name, each in asdict(value).items() if each != plain[name]}


def _packed(values: Any) -> str:
    return base64.b64encode(zlib.compress(json.dumps(values, ensure_ascii=False).encode())).decode()


def _unpacked(text: Any) -> Any:
    if isinstance(text, list):
        raise TypeError("an earlier version wrote it: start a new run")
    if not isinstance(text, str):
        raise TypeError("proposals are not text")
    decompressor = zlib.decompressobj()
    try:
        proposals = decompressor.decompress(base64.b64decode(text, validate=True))
    except zlib.error as error:
        raise ValueError(f"proposals do not decompress: {error}") from error
    if not decompressor.eof or decompressor.unused_data:
        raise ValueError("proposals end before their time, or go on after their end")
    return json.loads(proposals)


def _scores(users: Any, text: Any) -> Scores:
    if not isinstance(users, int) or not isinstance(text, str):
        raise TypeError("scores are not text")
    flat = np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)
    return flat.reshape(users, -1) if users and flat.size else flat.reshape(users, 0)


def _proposed(values: Mapping[str, Any]) -> Proposed:
    _refuse_others(values, frozenset(field.name for field in fields(Proposed)))
    _check("what proposals are for and of is no list", [values["users"], values["candidates"]], list)
    users, seeds, refused = tuple(values["users"]), tuple(values.get("seeds", ())), values.get("refused", {})
    _check("a user is not text", users, str)
    _check("a seed is not a whole number", seeds, int)
    _check("a count is not a whole number", refused.values(), int)
    _check("shared is not true or false", [values.get("shared", False)], bool)
    if not users:
        raise ValueError("proposals for nobody")
    candidates = tuple(map(_candidate, values["candidates"]))
    return Proposed(
        users=users, candidates=candidates, shared=values.get("shared", False), seeds=seeds, refused=refused
    )


def _candidate(values: Mapping[str, Any]) -> Candidate:
    candidate = Candidate(**{**values, **_notices(values)})
    texts = (candidate.image, candidate.error, candidate.preview)
    _check("a prompt is not text", [candidate.prompt, *(text for text in texts if text is not None)], str)
    _check("a score is not a number", [candidate.preview_score], int | float | None)
    return candidate


def _verdict(values: Mapping[str, Any]) -> GuardVerdict:
    verdict = GuardVerdict(**{**values, **_notices(values)})
    _check("an error is not text", [verdict.error], str | None)
    _check("what a guard measured is not a number", verdict.measured.values(), int | float)
    return verdict


def _reseeded(values: Mapping[str, Any]) -> Reseeded:
    initial, final = (tuple(FreshImage(**each) for each in values[part]) for part in ("initial", "final"))
    for image in (*initial, *final):
        _check("a score is not a number", [image.score], int | float | None)
        _check("an image or error is not text", [image.image, image.error], str | None)
    _check("a prompt is not text", [values["prompt"]], str)
    seeds = tuple(values["seeds"])
    _check("a seed is not a whole number", seeds, int)
    parts: dict[str, Any] = {**values, **_notices(values), "seeds": seeds, "initial": initial, "final": final}
    return Reseeded(**parts)


def _notices(values: Mapping[str, Any]) -> dict[str, Any]:
    rejected = values.get("rejected")
    return {
        "warnings": tuple(map(_notice, values.get("warnings", ()))),
        "rejected": None if rejected is None else _notice(rejected),
    }


def _notice(values: Any) -> Notice:
    if not isinstance(values, Mapping):
        raise TypeError(f"a notice is not a mapping, got {values!r}")
    parts: dict[str, Any] = {**values, "check": Check(values["check"])}
    notice = Notice(**parts)
    _check("what a check measured is not a number", (notice.measured, notice.limit), int | float)
    _check("the words of a check are not text", [notice.words], str)
    return notice


def _refuse_others(values: Mapping[str, Any], known: AbstractSet[str]) -> None:
    if others := sorted(values.keys() - known):
        raise ValueError(f"unknown key {others[0]!r}")


def _check(problem: str, values: Iterable[Any], kind: Any) -> None:
    if not all(isinstance(value, kind) for value in values):
        raise TypeError(problem)
