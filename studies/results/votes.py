"""The votes of a study that enter the analysis, with the caveats that go with them.

Practice trials and attention checks are left out; repeats are kept and marked. Participants who failed an attention
check are named, and left out only on request: an analysis that drops people in silence can be made to say anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from studies.elo.reporting.report import Example
from studies.elo.votes import Votes
from studies.results.answers import attention_checks, participants_table, votes_table
from studies.store.database import read_rows
from studies.study import INITIAL, PRACTICE, STEERED, Item, Study

if TYPE_CHECKING:
    from predictor.predictor import PamelaPredictor

_UNFINISHED = (
    "SELECT count(*) AS people FROM participants p WHERE withdrawn_at IS NULL AND (consented_at IS NULL OR EXISTS ("
    "SELECT 1 FROM assignments a LEFT JOIN votes v USING (participant, position) "
    "WHERE a.participant = p.participant AND NOT a.dropped AND v.participant IS NULL))"
)
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
    rows = votes_table(study).to_pylist()
    failed = {name for name, c in attention_checks(rows).items() if c.attention_passed < c.attention}
    kept = [row for row in rows if row["kind"] == "trial" and not (drop_failed and row["participant"] in failed)]
    if not kept:
        raise ValueError(f"{study.folder}: no votes yet; invite participants and run `steer-study serve`")
    table = pa.Table.from_pylist(kept)
    if predictor is not None:
        from predictor.predictor import PamelaPredictor  # loads torch, which takes seconds

        table = _scored(study, kept, table, PamelaPredictor.from_pretrained(predictor))
    return StudyVotes(
        votes=Votes.from_table(table),
        caveats=tuple(_caveats(study, {row["participant"] for row in kept}, failed, drop_failed)),
        examples=tuple(_examples(study)),
        title=study.settings.title,
        unfinished=int(read_rows(study.database, _UNFINISHED)[0]["people"]),
    )


def _caveats(study: Study, voters: set[str], failed: set[str], dropped: bool) -> list[str]:
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


def _scored(study: Study, rows: Sequence[dict], table: pa.Table, predictor: "PamelaPredictor") -> pa.Table:
    """The reward model's score of both images for each voter whom it knows; null for the others."""
    known = sorted({row["user"] for row in rows if row["user"] in predictor.user_ids})
    items = sorted({row[side] for row in rows for side in ("left_item", "right_item")})
    prompts = {item: trial.prompt for trial in study.trials.values() for item in trial.items}
    if not known:
        raise ValueError(f"the predictor knows none of the voters; it knows {', '.join(predictor.user_ids[:12])}")
    files = [study.asset(item) for item in items]
    seen = predictor.encoders.encode_files(files, [prompts[item] for item in items], [{}] * len(items))
    scores = predictor.score_images(seen, [predictor.person(user) for user in known])
    score = {
        (user, item): float(value) for user, line in zip(known, scores, strict=True)
        for item, value in zip(items, line, strict=True)
    }  # fmt: skip
    for side in ("left", "right"):
        column = [score.get((row["user"], row[f"{side}_item"])) for row in rows]
        table = table.append_column(f"{side}_score", pa.array(column, pa.float64()))
    return table
