"""How a study goes: by block and participant, with what should make a researcher look twice.

Nobody is left out here: a flag is a reason to look, and who is left out of an analysis is decided there, openly. Sums
are made by SQLite, on a connection of their own, so that a server goes on answering while a large study is summed up.
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from statistics import median
from typing import Any

from studies.results.answers import SLACK, Checks
from studies.store.database import open_for_reading
from studies.study import Study, Trial
from studies.wording import ANCHORS

FAST = 0.4
"""A participant whose median response takes less than this share of the study's median is flagged as fast."""

FASTEST_S = 1.0
"""So is one whose median is less than this, whatever the others': nobody looks and decides so fast for long."""

ONE_SIDED = 0.85
"""Share of answers on one side from which on a participant is flagged (with at least 20 answers)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockProgress:
    """One block: for whom it is, how many began it, and how many of their answers are there."""

    block: int
    user: str | None
    trials: int
    begun: int
    answered: int
    assigned: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticipantProgress:
    """One participant, practice not counted."""

    participant: str
    source: str
    user: str | None
    state: str
    last_seen_at: str | None
    """When they last did something, as ISO 8601 in UTC."""
    answered: int
    assigned: int
    median_s: float | None
    checks: Checks
    repeats_same: float | None
    """Share of repeated trials answered alike; of ratings, the mean difference in points of the slider."""
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyProgress:
    """All of a study."""

    participants: tuple[ParticipantProgress, ...]
    blocks: tuple[BlockProgress, ...]
    answers: int
    median_s: float | None
    agreement: float | None
    """Pairs: in how many of 100 cases two participants, shown the same two images, choose the same one."""
    lacking: int | None
    """Rating studies: images that have fewer ratings than wanted."""

    def count(self, state: str) -> int:
        return sum(p.state == state for p in self.participants)


def progress(study: Study) -> StudyProgress:
    """Read how the study goes, beside a running server.

    Raises
    ------
    ValueError
        The study's store does not read.
    """
    with closing(ProgressReader(study)) as reader:
        return reader.read()


class ProgressReader:
    """Reads how a study goes, again and again, for one thread at a time.

    Raises
    ------
    ValueError
        The study's store does not read.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._db = open_for_reading(study.database)
        _bring_key(study, self._db)

    def close(self) -> None:
        self._db.close()

    def read(self) -> StudyProgress:
        self._db.execute("BEGIN")  # one state of the store for all sums
        try:
            return self._sum_up()
        finally:
            self._db.execute("COMMIT")

    def _sum_up(self) -> StudyProgress:
        study, pairs = self._study, self._study.settings.kind == "pairs"
        sums = [_Sums.of(row) for row in self._db.execute(_SUMS[study.settings.kind])]
        by_participant, by_block = _grouped(sums, "participant"), _grouped(sums, "block")
        repeats = dict(self._db.execute(_REPEATS[study.settings.kind]).fetchall())
        lacking = None if pairs else self._lacking()
        usual = _median_s(sums)
        participants = []
        for person in self._db.execute("SELECT * FROM participants ORDER BY number"):
            own = by_participant.get(person["participant"], [])
            more = lacking != 0 and len(own) < study.blocks_expected(person["user"])
            participants.append(_participant(person, own, repeats.get(person["participant"]), usual, more=more))
        return StudyProgress(
            participants=tuple(participants),
            blocks=_blocks(study, by_block),
            answers=sum(s.answered for s in sums),
            median_s=usual,
            agreement=self._db.execute(_AGREEMENT).fetchone()[0] if pairs else None,
            lacking=lacking,
        )

    def _lacking(self) -> int:
        wanted = self._study.settings.ratings_per_image or 1
        enough = self._db.execute("SELECT count(*) FROM rated WHERE ratings >= ?", (wanted,)).fetchone()[0]
        return len(self._study.of_kind("trial")) - enough


# The key, beside the answers for as long as the connection is open: SQLite sums up what it can join.

_KEY = """
CREATE TEMP TABLE checks (trial_id TEXT PRIMARY KEY, expected TEXT NOT NULL) WITHOUT ROWID;
CREATE TEMP TABLE compared (trial_id TEXT PRIMARY KEY, images INTEGER NOT NULL, first TEXT NOT NULL) WITHOUT ROWID;
"""


def _bring_key(study: Study, db: sqlite3.Connection) -> None:
    """Tables of attention checks, and of which trials compare the same two images (`first` names one of them)."""
    db.execute("PRAGMA temp_store = MEMORY")
    db.executescript(_KEY)
    checks = [(trial.trial_id, trial.expected) for trial in study.of_kind("attention")]
    db.executemany("INSERT INTO checks VALUES (?, ?)", checks)
    if study.settings.kind == "pairs":
        db.executemany("INSERT INTO compared VALUES (?, ?, ?)", _compared(study, study.of_kind("trial")))


def _compared(study: Study, trials: Iterable[Trial]) -> Iterable[tuple[str, int, str]]:
    numbers: dict[tuple[str, str, str], int] = {}
    for trial in trials:
        (one, first), (two, _) = sorted((study.items[item].image, item) for item in trial.items)
        yield trial.trial_id, numbers.setdefault((trial.prompt_id, one, two), len(numbers)), first


_SUMS_BY_PARTICIPANT_AND_BLOCK = """
SELECT a.participant, a.block,
       count(*) FILTER (WHERE NOT a.dropped) AS assigned,
       count(x.participant) AS answered,
       count(x.participant) FILTER (WHERE c.trial_id IS NOT NULL) AS checks,
       count(x.participant) FILTER (WHERE {passed}) AS passed,
       json_group_array(x.response_ms) FILTER (WHERE x.response_ms IS NOT NULL) AS response_ms,
       {sides}
FROM assignments a LEFT JOIN {table} x USING (participant, position) LEFT JOIN checks c ON c.trial_id = a.trial_id
WHERE a.block > 0 GROUP BY a.participant, a.block
"""

_SUMS = {
    "pairs": _SUMS_BY_PARTICIPANT_AND_BLOCK.format(
        table="votes",
        passed="x.winner = c.expected",
        sides="count(*) FILTER (WHERE x.winner = 'left') AS lefts,count(*) FILTER (WHERE x.winner = 'right') AS rights",
    ),
    "rating": _SUMS_BY_PARTICIPANT_AND_BLOCK.format(
        table="ratings",
        passed=f"iif(c.expected = '{ANCHORS[-1]}', x.rating >= {100 - SLACK}, x.rating <= {SLACK}) "
        "AND c.trial_id IS NOT NULL",
        sides="0 AS lefts, 0 AS rights",
    ),
}

_REPEATED = """
SELECT a.participant, {alike} FROM assignments a
JOIN {table} again USING (participant, position)
JOIN assignments b ON b.trial_id = a.trial_id AND b.participant = a.participant AND NOT b.repeat
JOIN {table} first ON first.participant = b.participant AND first.position = b.position
WHERE a.repeat GROUP BY a.participant
"""

_CHOSEN = "iif({x}.winner = 'left', {x}.left, iif({x}.winner = 'right', {x}.right, 'tie'))"

_REPEATS = {
    "pairs": _REPEATED.format(table="votes", alike=f"avg({_CHOSEN.format(x='first')} = {_CHOSEN.format(x='again')})"),
    "rating": _REPEATED.format(table="ratings", alike="avg(abs(first.rating - again.rating))"),
}

_AGREEMENT = f"""
WITH choices AS (
    SELECT k.images, iif(v.winner = 'tie', 2, {_CHOSEN.format(x="v")} = k.first) AS chosen, count(*) AS n
    FROM compared k JOIN assignments a ON a.trial_id = k.trial_id AND NOT a.repeat
    JOIN votes v USING (participant, position) GROUP BY 1, 2),
pairs AS (
    SELECT 1.0 * sum(n * (n - 1)) / (sum(n) * (sum(n) - 1)) AS alike FROM choices GROUP BY images HAVING sum(n) > 1)
SELECT avg(alike) FROM pairs
"""
"""Pairs of participants are averaged within each pair of images, then over pairs of images; chance is 0.5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sums:
    """One participant's answers in one block."""

    participant: str
    block: int
    assigned: int
    answered: int
    checks: int
    passed: int
    lefts: int
    rights: int
    response_ms: list[int]

    @classmethod
    def of(cls, row: sqlite3.Row) -> "_Sums":
        told = dict(row)
        return cls(**{**told, "response_ms": json.loads(told["response_ms"])})


def _participant(
    person: Mapping[str, Any], own: Sequence[_Sums], repeats_same: float | None, usual: float | None, *, more: bool
) -> ParticipantProgress:
    answered, assigned = sum(s.answered for s in own), sum(s.assigned for s in own)
    took = _median_s(own)
    checks = Checks(attention_passed=sum(s.passed for s in own), attention=sum(s.checks for s in own))
    return ParticipantProgress(
        participant=person["participant"],
        source=person["source"],
        user=person["user"],
        state=_state(person, more or answered < assigned),
        last_seen_at=person["last_seen_at"],
        answered=answered,
        assigned=assigned,
        median_s=took,
        checks=checks,
        repeats_same=repeats_same,
        flags=tuple(_flags(own, checks, answered, took, usual)),
    )


def _flags(
    own: Sequence[_Sums], checks: Checks, answered: int, took: float | None, usual: float | None
) -> Iterable[str]:
    if took is not None and usual is not None and answered >= 5 and took < max(FASTEST_S, FAST * usual):
        yield "fast"
    if checks.attention_passed < checks.attention:
        yield "failed attention check"
    lefts, rights = sum(s.lefts for s in own), sum(s.rights for s in own)
    if lefts + rights >= 20 and max(lefts, rights) >= ONE_SIDED * (lefts + rights):
        yield "one side only"


def _state(person: Mapping[str, Any], more: bool) -> str:
    if person["withdrawn_at"]:
        return "withdrew"
    if not person["consented_at"]:
        return "invited"
    return "begun" if more else "finished"


def _blocks(study: Study, by_block: Mapping[int, Sequence[_Sums]]) -> tuple[BlockProgress, ...]:
    rating = study.settings.kind == "rating"
    return tuple(
        BlockProgress(
            block=number,
            user=None if rating else study.blocks[number][0].user,
            trials=study.settings.block if rating else len(study.blocks[number]),
            begun=len(by_block.get(number, ())),
            answered=sum(s.answered for s in by_block.get(number, ())),
            assigned=sum(s.assigned for s in by_block.get(number, ())),
        )
        for number in (sorted(by_block) if rating else study.blocks)
    )


def _median_s(sums: Iterable[_Sums]) -> float | None:
    times = [ms for s in sums for ms in s.response_ms]
    return median(times) / 1000 if times else None


def _grouped(sums: Iterable[_Sums], name: str) -> Mapping[Any, list[_Sums]]:
    groups: dict[Any, list[_Sums]] = defaultdict(list)
    for own in sums:
        groups[getattr(own, name)].append(own)
    return groups
