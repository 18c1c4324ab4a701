"""The votes of a study that enter the analysis, with the caveats that go with them.

Practice trials and attention checks are left out; repeats are kept and marked. Participants who failed an attention
check are named, and left out only on request: an analysis that drops people in silence can be made to say anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from studies.elo.reporting.report import Example
from studies.elo.votes import OUTCOMES, Votes
from studies.results.answers import participants_table
from studies.store.database import read_rows
from studies.study import INITIAL, PRACTICE, STEERED, Item, Study

Codes = NDArray[np.integer]
KINDS = ("trial", "practice", "attention")

if TYPE_CHECKING:
    from predictor.predictor import PamelaPredictor

_UNFINISHED = (
    "SELECT count(*) AS people FROM participants p WHERE withdrawn_at IS NULL AND (consented_at IS NULL OR EXISTS ("
    "SELECT 1 FROM assignments a LEFT JOIN votes v USING (participant, position) "
    "WHERE a.participant = p.participant AND NOT a.dropped AND v.participant IS NULL))"
)
_VOTES = (
    "SELECT v.participant, p.user, v.trial_id, v.left, v.right, v.winner, a.repeat FROM participants p "
    "JOIN votes v USING (participant) JOIN assignments a USING (participant, position) "
    "WHERE p.number BETWEEN {low} AND {high} ORDER BY p.number, v.position"
)
_PEOPLE_AT_ONCE = 500
MOST_EXAMPLE_PROMPTS = 6
MOST_EXAMPLE_USERS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyVotes:
    """The input of an analysis: votes, caveats, and example images for the report."""

    votes: Votes
    caveats: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    title: str = ""
    unfinished: int = 0
    """Participants who have been invited or have begun, and may still vote."""
    looks: int | None = None
    """How many looks were fixed when the study was made."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Answers:
    """Answers to trials as codes, (n,) each, of those that count: 10 million of them are 200 MB."""

    participants: tuple[str, ...]
    users: tuple[str | None, ...]
    """Who each participant was invited as, by the order of `participants`."""
    failed: frozenset[str]
    """Participants who failed an attention check."""
    participant: Codes
    trial: Codes
    """Position in the study's trials; left and right are positions in its items."""
    left: Codes
    right: Codes
    winner: Codes
    repeat: Codes


def study_votes(study: Study, *, drop_failed: bool = False, predictor: str | None = None) -> StudyVotes:
    """Read a pairwise study's votes, also while its server runs.

    Parameters
    ----------
    drop_failed
        Leave out participants who failed an attention check.
    predictor
        Checkpoint whose score of each image for its voter is put beside the votes.

    Raises
    ------
    ValueError
        The study is one of ratings, has no votes, or the checkpoint does not read.
    """
    if study.settings.kind != "pairs":
        raise ValueError(f"{study.folder}: is a study of kind {study.settings.kind!r}, this needs one of kind 'pairs'")
    answers = _answers(study, drop_failed=drop_failed)
    if not len(answers.winner):
        raise ValueError(f"{study.folder}: no votes yet; invite participants and run `steer-study serve`")
    table = _table(study, answers)
    if predictor is not None:
        from predictor.predictor import PamelaPredictor  # loads torch, which takes seconds

        table = _scored(study, answers, table, PamelaPredictor.from_pretrained(predictor))
    voters = {answers.participants[n] for n in np.unique(answers.participant)}
    return StudyVotes(
        votes=Votes.from_table(table),
        caveats=tuple(_caveats(study, voters, answers.failed, drop_failed)),
        examples=tuple(_examples(study)),
        title=study.settings.title,
        looks=study.settings.looks,
        unfinished=int(read_rows(study.database, _UNFINISHED)[0]["people"]),
    )


def _answers(study: Study, *, drop_failed: bool) -> _Answers:
    """Read the store, some participants at a time, so that no answer is kept as text."""
    trials, items = ({name: n for n, name in enumerate(own)} for own in (study.trials, study.items))
    kind = np.array([KINDS.index(trial.kind) for trial in study.trials.values()], np.int8)
    expected = np.array([OUTCOMES.index(t.expected) if t.expected else -1 for t in study.trials.values()], np.int8)
    people: dict[str, int] = {}
    users: list[str | None] = []
    failed: set[str] = set()
    found: list[dict[str, Codes]] = []
    last = read_rows(study.database, "SELECT max(number) AS number FROM participants")[0]["number"] or 0
    for low in range(0, last + 1, _PEOPLE_AT_ONCE):
        rows = read_rows(study.database, _VOTES.format(low=low, high=low + _PEOPLE_AT_ONCE - 1))
        if not rows:
            continue
        for row in rows:
            if row["participant"] not in people:
                people[row["participant"]] = len(people)
                users.append(row["user"])
        codes = {
            "participant": np.array([people[row["participant"]] for row in rows], np.int32),
            "trial": np.array([trials[row["trial_id"]] for row in rows], np.int32),
            "left": np.array([items[row["left"]] for row in rows], np.int32),
            "right": np.array([items[row["right"]] for row in rows], np.int32),
            "winner": np.array([OUTCOMES.index(row["winner"]) for row in rows], np.int8),
            "repeat": np.array([row["repeat"] for row in rows], bool),
        }
        own, trial = kind[codes["trial"]], codes["trial"]
        wrong = (own == KINDS.index("attention")) & (codes["winner"] != expected[trial])
        failed |= {rows[n]["participant"] for n in np.flatnonzero(wrong)}
        found.append({name: values[own == KINDS.index("trial")] for name, values in codes.items()})
    names = ("participant", "trial", "left", "right", "winner", "repeat")
    arrays = {name: np.concatenate([own[name] for own in found] or [np.empty(0, np.int32)]) for name in names}
    if drop_failed and failed:
        kept = ~np.array([name in failed for name in people], bool)[arrays["participant"]]
        arrays = {name: values[kept] for name, values in arrays.items()}
    return _Answers(
        participants=tuple(people), users=tuple(users), failed=frozenset(failed), **arrays
    )  # fmt: skip


def _table(study: Study, answers: _Answers) -> pa.Table:
    """A table of votes, with conditions as seen from the voter; each text is in it once."""
    trials, items = list(study.trials.values()), list(study.items.values())
    known = {user: n for n, user in enumerate(dict.fromkeys(user for user in answers.users if user is not None))}
    voter = np.array([known.get(user or "", -1) for user in answers.users], np.int32)[answers.participant]
    conditions = {name: n for n, name in enumerate(dict.fromkeys([*(i.condition for i in items), "own", "other"]))}
    steered = np.array([item.condition == STEERED for item in items])
    for_user = np.array([known.get(item.user or "", -2) for item in items], np.int32)
    plain = np.array([conditions[item.condition] for item in items], np.int32)

    def seen(item: Codes) -> Codes:
        """Conditions of items, by the voter."""
        theirs = np.where(for_user[item] == voter, conditions["own"], conditions["other"]).astype(np.int32)
        return np.where(steered[item], theirs, plain[item])

    def column(codes: Codes, names: Sequence[str]) -> pa.DictionaryArray:
        return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(names, pa.large_string()))

    images = [item.image for item in items]
    return pa.table(
        {
            "participant": column(answers.participant, answers.participants),
            "prompt_id": column(answers.trial, [trial.prompt_id for trial in trials]),
            "left": column(seen(answers.left), list(conditions)),
            "right": column(seen(answers.right), list(conditions)),
            "winner": column(answers.winner, OUTCOMES),
            "trial_id": column(answers.trial, [trial.trial_id for trial in trials]),
            "left_image": column(answers.left, images),
            "right_image": column(answers.right, images),
            "repeat": pa.array(answers.repeat),
        }
    )


def _caveats(study: Study, voters: set[str], failed: frozenset[str], dropped: bool) -> list[str]:
    invited = participants_table(study).to_pylist()
    people = [person for person in invited if person["participant"] in voters]
    said = []
    simulated = sum(person["source"] == "simulated" for person in people)
    if simulated == len(people):
        said.append(f"All {simulated} participants are simulated raters, not people.")
    elif simulated:
        said.append(f"{simulated} of {len(people)} participants are simulated raters, not people.")
    if failed:
        what = "were left out" if dropped else "are counted all the same; --drop-failed leaves them out"
        said.append(f"{_people(len(failed))} failed an attention check and {what}: {', '.join(sorted(failed)[:5])}.")
    withdrawn = sum(person["withdrawn_at"] is not None for person in invited)
    if withdrawn:
        said.append(f"{_people(withdrawn)} withdrew, and their votes are deleted.")
    said += [f"Not in the study, {count} times: {what}." for what, count in study.settings.left_out.items()]
    return said


def _people(count: int) -> str:
    return "1 participant" if count == 1 else f"{count} participants"


def _examples(study: Study) -> list[Example]:
    """For some prompts the initial image, the generic scorers', and what some people's steering made of it."""
    users = study.users[:MOST_EXAMPLE_USERS]
    prompts = {trial.prompt_id: trial.prompt for trial in study.trials.values()}
    shown = []
    for prompt_id, prompt in list(prompts.items())[:MOST_EXAMPLE_PROMPTS]:
        items = [item for item in study.items.values() if item.prompt_id == prompt_id and item.condition != PRACTICE]
        named: dict[str, Item] = {}
        for item in items:
            if item.condition != STEERED:
                named.setdefault(item.condition, item)
            elif item.user in users:
                named.setdefault(f"steered for {item.user}", item)
        order = sorted(named, key=lambda name: (name != INITIAL, name.startswith("steered"), name))
        shown += [
            Example(prompt=prompt, condition=name, png=study.asset(named[name].item_id).read_bytes()) for name in order
        ]
    return shown


def _scored(study: Study, answers: _Answers, table: pa.Table, predictor: "PamelaPredictor") -> pa.Table:
    """The reward model's score of both images for each voter whom it knows; null for the others."""
    known = sorted({user for user in answers.users if user in predictor.user_ids})
    if not known:
        raise ValueError(f"the predictor knows none of the voters; it knows {', '.join(predictor.user_ids[:12])}")
    shown = np.unique(np.concatenate([answers.left, answers.right]))
    items = [list(study.items)[n] for n in shown]
    prompts = {item: trial.prompt for trial in study.trials.values() for item in trial.items}
    files = [study.asset(item) for item in items]
    seen = predictor.encoders.encode_files(files, [prompts[item] for item in items], [{}] * len(items))
    scores = np.asarray(predictor.score_images(seen, [predictor.person(user) for user in known]), float)
    scores = np.concatenate([scores, np.full((1, len(items)), np.nan)])  # the last is that of a voter nobody knows
    voter = np.array([known.index(user) if user in known else len(known) for user in answers.users])
    for side, own in (("left", answers.left), ("right", answers.right)):
        column = scores[voter[answers.participant], np.searchsorted(shown, own)]
        table = table.append_column(f"{side}_score", pa.array(column))
    return table
