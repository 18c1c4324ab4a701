"""How a study goes: by block and participant, with what should make a researcher look twice.

Nobody is left out here: a flag is a reason to look, and who is left out of an analysis is decided there, openly. A
reader that is kept sums up only those anew of whom something has changed, by SQL on a connection of its own: so a
server goes on answering, however large the study has become.
"""

import json
import math
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from studies.results.answers import SLACK, Checks
from studies.store.database import open_for_reading
from studies.study import Study
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
    """Rating studies: images that have fewer ratings than wanted, rejected ones not counted."""

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

    Invariant: after a reading, what is kept of each participant is what the store held of them when it began.

    Raises
    ------
    ValueError
        The study's store does not read.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._db = open_for_reading(study.database)
        self._db.execute("PRAGMA temp_store = MEMORY")
        self._db.executescript(_TEMPORARY)
        checks = [(trial.trial_id, trial.expected) for trial in study.of_kind("attention")]
        self._db.executemany("INSERT INTO checks VALUES (?, ?)", checks)
        self._changes: dict[str, int] = {}
        self._sums: dict[str, list[_Sums]] = {}
        self._medians: dict[str, float | None] = {}
        self._repeats: dict[str, float] = {}
        self._agreement = _Agreement(study) if study.settings.kind == "pairs" else None

    def close(self) -> None:
        self._db.close()

    def read(self) -> StudyProgress:
        self._db.execute("BEGIN")  # one state of the store for all sums
        try:
            people = [dict(row) for row in self._db.execute("SELECT * FROM participants ORDER BY number")]
            self._catch_up({person["participant"]: person["changes"] for person in people})
            lacking = None if self._agreement else self._lacking()
        finally:
            self._db.execute("COMMIT")
        return self._progress(people, lacking)

    def _catch_up(self, changes: Mapping[str, int]) -> None:
        """Forget whoever has changed or is gone, and read anew whoever has changed."""
        stale = [name for name, count in changes.items() if self._changes.get(name) != count]
        for name in [*stale, *(self._changes.keys() - changes.keys())]:
            self._sums.pop(name, None)
            self._medians.pop(name, None)
            self._repeats.pop(name, None)
            if self._agreement:
                self._agreement.forget(name)
        self._db.execute("DELETE FROM changed")
        self._db.executemany("INSERT INTO changed VALUES (?)", [(name,) for name in stale])
        kind = self._study.settings.kind
        for sums in map(_Sums.of, self._db.execute(_SUMS[kind])):
            self._sums.setdefault(sums.participant, []).append(sums)
        self._medians.update({name: _median_s(self._sums.get(name, ())) for name in stale})
        self._repeats.update(self._db.execute(_REPEATS[kind]).fetchall())
        if self._agreement:
            self._agreement.learn(self._db.execute(_CHOICES))
        self._changes = dict(changes)

    def _progress(self, people: Sequence[Mapping[str, Any]], lacking: int | None) -> StudyProgress:
        everything = [sums for own in self._sums.values() for sums in own]
        usual = _median_s(everything)
        participants = []
        for person in people:
            name = person["participant"]
            own = self._sums.get(name, [])
            more = lacking != 0 and len(own) < self._study.blocks_expected(person["user"])
            took, repeats = self._medians[name], self._repeats.get(name)
            participants.append(_participant(person, own, took, repeats, usual, more=more))
        return StudyProgress(
            participants=tuple(participants),
            blocks=_blocks(self._study, everything),
            answers=sum(sums.answered for sums in everything),
            median_s=usual,
            agreement=self._agreement.mean() if self._agreement else None,
            lacking=lacking,
        )

    def _lacking(self) -> int:
        wanted = self._study.settings.ratings_per_image or 1
        given = dict(self._db.execute("SELECT trial_id, ratings FROM rated").fetchall())
        rejected = {row["item_id"] for row in self._db.execute("SELECT item_id FROM reviews WHERE NOT approved")}
        asked = (trial for trial in self._study.of_kind("trial") if trial.image not in rejected)
        return sum(given.get(trial.trial_id, 0) < wanted for trial in asked)


class _Agreement:
    """How often two participants who saw the same two images chose the same one.

    Pairs of participants are averaged within each pair of images, then over pairs of images. Chance is 0.5 without
    ties.
    """

    def __init__(self, study: Study) -> None:
        self._images: dict[str, int] = {}
        """Trial -> number of its pair of images, which other trials may share."""
        self._keys = {item_id: item.image for item_id, item in study.items.items()}
        numbers: dict[tuple[str, frozenset[str]], int] = {}
        for trial in study.of_kind("trial"):
            pair = (trial.prompt_id, frozenset(self._keys[item] for item in trial.items))
            self._images[trial.trial_id] = numbers.setdefault(pair, len(numbers))
        self._chosen: dict[int, Counter[str]] = defaultdict(Counter)
        self._by_participant: dict[str, list[tuple[int, str]]] = defaultdict(list)
        self._alike: dict[int, float] = {}
        """By pair of images that at least two people saw: the share of pairs of people who agree."""

    def forget(self, participant: str) -> None:
        for images, chosen in self._by_participant.pop(participant, ()):
            self._chosen[images][chosen] -= 1
            self._count(images)

    def learn(self, rows: Iterable[tuple[str, str, str]]) -> None:
        """Take in who chose which item in which trial; `tie` is no item."""
        for participant, trial_id, item in rows:
            images = self._images.get(trial_id)
            if images is not None:
                chosen: str = self._keys.get(item, item)
                self._by_participant[participant].append((images, chosen))
                self._chosen[images][chosen] += 1
                self._count(images)

    def mean(self) -> float | None:
        return math.fsum(self._alike.values()) / len(self._alike) if self._alike else None

    def _count(self, images: int) -> None:
        counts = self._chosen[images].values()
        people = sum(counts)
        if people > 1:
            self._alike[images] = sum(n * (n - 1) for n in counts) / (people * (people - 1))
        else:
            self._alike.pop(images, None)


# Who is to be summed up anew, and which trials are attention checks: beside the answers, while the connection is open.
_TEMPORARY = """
CREATE TEMP TABLE changed (participant TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP TABLE checks (trial_id TEXT PRIMARY KEY, expected TEXT NOT NULL) WITHOUT ROWID;
"""

_SUMS_BY_PARTICIPANT_AND_BLOCK = """
SELECT a.participant, a.block,
       count(*) FILTER (WHERE NOT a.dropped) AS assigned,
       count(x.participant) AS answered,
       count(x.participant) FILTER (WHERE c.trial_id IS NOT NULL) AS checks,
       count(x.participant) FILTER (WHERE {passed}) AS passed,
       json_group_array(x.response_ms) FILTER (WHERE x.response_ms IS NOT NULL) AS response_ms,
       {sides}
FROM changed CROSS JOIN assignments a USING (participant)
LEFT JOIN {table} x USING (participant, position) LEFT JOIN checks c ON c.trial_id = a.trial_id
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
SELECT a.participant, {alike} FROM changed CROSS JOIN assignments a USING (participant)
CROSS JOIN {table} again USING (participant, position)
CROSS JOIN assignments b ON b.trial_id = a.trial_id AND b.participant = a.participant AND NOT b.repeat
CROSS JOIN {table} first ON first.participant = b.participant AND first.position = b.position
WHERE a.repeat GROUP BY a.participant
"""

_CHOSEN = "iif({x}.winner = 'left', {x}.left, iif({x}.winner = 'right', {x}.right, 'tie'))"

_REPEATS = {
    "pairs": _REPEATED.format(table="votes", alike=f"avg({_CHOSEN.format(x='first')} = {_CHOSEN.format(x='again')})"),
    "rating": _REPEATED.format(table="ratings", alike="avg(abs(first.rating - again.rating))"),
}

_CHOICES = f"""
SELECT a.participant, a.trial_id, {_CHOSEN.format(x="v")}
FROM changed CROSS JOIN assignments a USING (participant) JOIN votes v USING (participant, position)
WHERE NOT a.repeat
"""


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
    response_ms: NDArray[np.int64]

    @classmethod
    def of(cls, row: sqlite3.Row) -> "_Sums":
        sums: dict[str, Any] = dict(row)
        return cls(**sums | {"response_ms": np.array(json.loads(sums["response_ms"]), np.int64)})


def _participant(
    person: Mapping[str, Any],
    own: Sequence[_Sums],
    took: float | None,
    repeats_same: float | None,
    usual: float | None,
    *,
    more: bool,
) -> ParticipantProgress:
    answered, assigned = sum(s.answered for s in own), sum(s.assigned for s in own)
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


def _blocks(study: Study, everything: Iterable[_Sums]) -> tuple[BlockProgress, ...]:
    by_block: dict[int, list[_Sums]] = defaultdict(list)
    for sums in everything:
        by_block[sums.block].append(sums)
    rating = study.settings.kind == "rating"
    return tuple(
        BlockProgress(
            block=number,
            user=None if rating else study.blocks[number][0].user,
            trials=study.settings.block if rating else len(study.blocks[number]),
            begun=len(by_block.get(number, ())),
            answered=sum(sums.answered for sums in by_block.get(number, ())),
            assigned=sum(sums.assigned for sums in by_block.get(number, ())),
        )
        for number in (sorted(by_block) if rating else study.blocks)
    )


def _median_s(everything: Sequence[_Sums]) -> float | None:
    times = np.concatenate([sums.response_ms for sums in everything]) if everything else np.empty(0)
    return float(np.median(times)) / 1000 if len(times) else None
