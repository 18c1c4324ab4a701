"""How a study goes: by block and participant, with what should make a researcher look twice.

Nobody is left out here: a flag is a reason to look, and who is left out of an analysis is decided there, openly.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import mean, median
from typing import Any

from studies.results.answers import Checks, attention_checks, ratings_table, votes_table
from studies.store.database import read_rows
from studies.study import Study

FAST = 0.4
"""A participant whose median response takes less than this share of the study's median is flagged as fast."""

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
    pairs = study.settings.kind == "pairs"
    rows = (votes_table if pairs else ratings_table)(study).to_pylist()
    people = read_rows(study.database, "SELECT * FROM participants ORDER BY number")
    handed = read_rows(
        study.database, "SELECT participant, trial_id, block FROM assignments WHERE NOT dropped AND block > 0"
    )
    answered = [row for row in rows if row["kind"] != "practice"]
    usual = _median_s(answered)
    by_participant = _grouped(answered, "participant")
    assigned = Counter(row["participant"] for row in handed)
    blocks = {name: len({row["block"] for row in rows}) for name, rows in _grouped(handed, "participant").items()}
    lacking = None if pairs else _lacking(study, answered)
    checks = attention_checks(rows)
    return StudyProgress(
        participants=tuple(
            _participant(
                person,
                by_participant.get(person["participant"], []),
                assigned[person["participant"]],
                checks,
                usual,
                more=lacking != 0 and blocks.get(person["participant"], 0) < study.blocks_expected(person["user"]),
            )
            for person in people
        ),
        blocks=_blocks(study, handed, answered),
        answers=len(answered),
        median_s=usual,
        agreement=agreement(answered) if pairs else None,
        lacking=lacking,
    )


def agreement(votes: Sequence[Mapping[str, Any]]) -> float | None:
    """How often two participants who saw the same two images chose the same one; None where no two did.

    Pairs of participants are averaged within each pair of images, then over pairs of images. Chance is 0.5 without
    ties.
    """
    chosen: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for vote in votes:
        if vote["kind"] == "trial" and not vote["repeat"]:
            one, two = sorted((vote["left_image"], vote["right_image"]))
            winner = vote["winner"] if vote["winner"] == "tie" else vote[f"{vote['winner']}_image"]
            chosen[vote["prompt_id"], one, two].append(winner)
    shared = [mean(a == b for a, b in combinations(winners, 2)) for winners in chosen.values() if len(winners) > 1]
    return mean(shared) if shared else None


def _participant(
    person: Mapping[str, Any],
    answers: Sequence[Mapping[str, Any]],
    assigned: int,
    checks: Mapping[str, Checks],
    usual: float | None,
    *,
    more: bool,
) -> ParticipantProgress:
    name = person["participant"]
    own = checks.get(name, Checks(attention_passed=0, attention=0))
    took = _median_s(answers)
    flags = []
    if took is not None and usual is not None and len(answers) >= 5 and took < FAST * usual:
        flags.append("fast")
    if own.attention_passed < own.attention:
        flags.append("failed attention check")
    sides = [vote["winner"] for vote in answers if vote.get("winner") in ("left", "right")]
    if len(sides) >= 20 and max(Counter(sides).values()) >= ONE_SIDED * len(sides):
        flags.append("one side only")
    return ParticipantProgress(
        participant=name,
        source=person["source"],
        user=person["user"],
        state=_state(person, more or len(answers) < assigned),
        answered=len(answers),
        assigned=assigned,
        median_s=took,
        checks=own,
        repeats_same=_repeats(answers),
        flags=tuple(flags),
    )


def _state(person: Mapping[str, Any], more: bool) -> str:
    if person["withdrawn_at"]:
        return "withdrew"
    if not person["consented_at"]:
        return "invited"
    return "begun" if more else "finished"


def _repeats(answers: Sequence[Mapping[str, Any]]) -> float | None:
    first = {row["trial_id"]: row for row in answers if not row["repeat"]}
    again = [(first[row["trial_id"]], row) for row in answers if row["repeat"] and row["trial_id"] in first]
    if not again:
        return None
    if "rating" in again[0][0]:
        return mean(abs(a["rating"] - b["rating"]) for a, b in again)
    return mean(_choice(a) == _choice(b) for a, b in again)


def _choice(vote: Mapping[str, Any]) -> str:
    return vote["winner"] if vote["winner"] == "tie" else vote[f"{vote['winner']}_item"]


def _blocks(
    study: Study, handed: Sequence[Mapping[str, Any]], answered: Sequence[Mapping[str, Any]]
) -> tuple[BlockProgress, ...]:
    given, asked = _grouped(answered, "block"), _grouped(handed, "block")
    rating = study.settings.kind == "rating"
    blocks = sorted(asked) if rating else list(study.blocks)
    return tuple(
        BlockProgress(
            block=number,
            user=None if rating else study.blocks[number][0].user,
            trials=study.settings.block if rating else len(study.blocks[number]),
            begun=len({row["participant"] for row in asked.get(number, [])}),
            answered=len(given.get(number, [])),
            assigned=len(asked.get(number, [])),
        )
        for number in blocks
    )


def _lacking(study: Study, answered: Sequence[Mapping[str, Any]]) -> int:
    counts = Counter(row["trial_id"] for row in answered if row["kind"] == "trial" and not row["repeat"])
    wanted = study.settings.ratings_per_image or 1
    return sum(counts[trial.trial_id] < wanted for trial in study.of_kind("trial"))


def _median_s(answers: Sequence[Mapping[str, Any]]) -> float | None:
    times = [row["response_ms"] for row in answers if row["response_ms"] is not None]
    return median(times) / 1000 if times else None


def _grouped(rows: Sequence[Mapping[str, Any]], name: str) -> dict[Any, list[Mapping[str, Any]]]:
    groups: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row[name]].append(row)
    return groups
