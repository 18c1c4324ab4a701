"""Votes: who saw which two conditions on which side, and which of them won.

A vote is five integers; names are kept once, sorted, so that neither the order of the rows nor that of first
sight decides anything. Everything that is wrong with a table is told here, with the rows where it is wrong;
whoever holds `Votes` need not look again. Where a table comes from, and what a condition means, is left to others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from studies.elo.text_columns import Codes, coded, encoded

pc: Any = pyarrow.compute  # its functions are made when it is imported, so type checkers don't know them
Numbers = NDArray[np.float64]

OUTCOMES = ("left", "right", "tie", "both_bad")
"""What `winner` may say; `Votes.outcome` is the position in it."""
LEFT, RIGHT, TIE, BOTH_BAD = range(4)

NAMES = ("participant", "prompt_id", "left", "right", "winner")
"""The columns of a table of votes."""
NEEDED = NAMES[2:]
"""Those that it must have; without the others every vote is its own participant's, or on the one prompt."""
OPTIONAL_NAMES = ("trial_id", "left_image", "right_image", "ballot")
OPTIONAL_NUMBERS = ("response_ms", "left_score", "right_score")
COLUMNS = (*NAMES, *OPTIONAL_NAMES, *OPTIONAL_NUMBERS, "repeat")

_MOST_ROWS_TOLD = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Votes:
    """Integer-coded votes; arrays have shape (n,), one entry a vote, in the order of the table.

    Example:

        Votes.from_table(pa.table({"participant": ["ann"], "prompt_id": ["p1"],
                                   "left": ["own"], "right": ["initial"], "winner": ["left"]}))
    """

    participants: tuple[str, ...]
    prompts: tuple[str, ...]
    conditions: tuple[str, ...]
    participant: Codes
    prompt: Codes
    left: Codes
    """Condition on the left, as its position in `conditions`."""
    right: Codes
    outcome: NDArray[np.int8]
    """LEFT, RIGHT, TIE or BOTH_BAD."""
    repeat: NDArray[np.bool_]
    """The trial was shown to this participant before: for test–retest, never for a fit."""
    trial: Codes | None = None
    """Equal numbers are the same trial."""
    left_image: Codes | None = None
    """Equal numbers, also on the other side, are the same image."""
    right_image: Codes | None = None
    ballot: Codes | None = None
    """Equal numbers are one answer, such as a ranking of several: its votes are not independent."""
    response_ms: Numbers | None = None
    left_score: Numbers | None = None
    """The reward model's score of the left image for this voter; nan where there is none."""
    right_score: Numbers | None = None
    controls: Numbers | None = None
    """(n, M): each covariate of the left image minus that of the right one."""
    control_names: tuple[str, ...] = ()
    sides_known: bool = True
    """False where nobody knows what stood on which side, as in rankings."""
    participant_known: bool = True
    """False where the table does not say who voted, so that every vote, or ballot, counts as its own participant's."""
    prompt_known: bool = True
    """False where the table does not say on which prompt a vote was; all are then coded as one."""
    notes: tuple[str, ...] = ()
    """What was done to the table before it was read, in words for the report."""

    def __len__(self) -> int:
        return len(self.outcome)

    @classmethod
    def from_table(
        cls, table: pa.Table, *, controls: Sequence[str] = (), place: Callable[[int], str] | None = None
    ) -> "Votes":
        """Votes of a table with the columns `NEEDED`, and any of the other ones.

        Parameters
        ----------
        controls
            Covariates, each in columns `left:NAME` and `right:NAME`.
        place
            Says where a row (from 0) stands, for messages; default: "row N", from 1.

        Raises
        ------
        ValueError
            A column is missing, a value is missing or unknown, or both sides show the same condition; the
            message has the rows.
        """
        missing = [name for name in NEEDED if name not in table.column_names]
        if missing:
            raise ValueError(
                f"votes: no column {', '.join(missing)}; the table has {', '.join(table.column_names)}; "
                f"name the columns that stand for them with --columns {missing[0]}=…"
            )
        known = {name: name in table.column_names for name in ("participant", "prompt_id")}
        table = _with_unknown_voters(table)
        text = {name: encoded(table.column(name)) for name in (*NAMES, *OPTIONAL_NAMES) if name in table.column_names}
        participants, (participant,) = coded(text["participant"])
        prompts, (prompt,) = coded(text["prompt_id"])
        conditions, (left, right) = coded(text["left"], text["right"])
        words, (winner,) = coded(text["winner"])
        place = place or (lambda row: f"row {row + 1}")
        found = {"participant": (participants, participant), "prompt_id": (prompts, prompt), "winner": (words, winner)}
        _refuse_blank(found | {"left": (conditions, left), "right": (conditions, right)}, place)
        _refuse_no_votes(conditions, left, right, words, winner, place)
        images = [text[name] for name in ("left_image", "right_image") if name in text]
        left_image, right_image = coded(*images)[1] if len(images) == 2 else (None, None)
        numbers: dict[str, Any] = {
            name: numbers_of(table.column(name), name) for name in OPTIONAL_NUMBERS if name in table.column_names
        }
        return cls(
            participants=participants,
            prompts=prompts,
            conditions=conditions,
            participant=participant,
            prompt=prompt,
            left=left,
            right=right,
            outcome=np.array([*map(OUTCOMES.index, words)], np.int8)[winner],
            repeat=_truths(table, len(participant)),
            participant_known=known["participant"],
            prompt_known=known["prompt_id"],
            trial=coded(text["trial_id"])[1][0] if "trial_id" in text else None,
            left_image=left_image,
            right_image=right_image,
            ballot=coded(text["ballot"])[1][0] if "ballot" in text else None,
            controls=_controls(table, controls, place) if controls else None,
            control_names=tuple(controls),
            **numbers,
        )

    def select(self, rows: NDArray[np.bool_]) -> "Votes":
        """Some of the votes; names that no vote has any more are dropped."""
        kept = self.part(np.flatnonzero(rows))
        participants, (participant,) = _compact(self.participants, kept.participant)
        prompts, (prompt,) = _compact(self.prompts, kept.prompt)
        conditions, (left, right) = _compact(self.conditions, kept.left, kept.right)
        return replace(
            kept, participants=participants, prompts=prompts, conditions=conditions, participant=participant,
            prompt=prompt, left=left, right=right,
        )  # fmt: skip

    def part(self, rows: slice | Codes) -> "Votes":
        """Some of the votes, with all the names and codes as they are."""
        arrays = {
            field.name: value[rows]
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), np.ndarray)
        }
        return replace(self, **arrays)

    def without(self, participants: Sequence[str]) -> "Votes":
        """The votes of all others, with a note of how many participants were left out.

        Raises
        ------
        ValueError
            One of them gave no vote.
        """
        unknown = [name for name in participants if name not in self.participants]
        if unknown:
            more = f", nor did {len(unknown) - 1:,} more that are named" if len(unknown) > 1 else ""
            raise ValueError(f"participant {unknown[0]!r} gave no vote{more}; leave out only participants who voted")
        gone = np.isin(self.participants, participants)[self.participant]
        people = "1 participant is" if len(set(participants)) == 1 else f"{len(set(participants)):,} participants are"
        note = f"{people} left out on request, with {int(gone.sum()):,} votes."
        return replace(self.select(~gone), notes=(*self.notes, note))

    def among(self, conditions: Sequence[str]) -> "Votes":
        """The votes between these conditions.

        Raises
        ------
        ValueError
            No vote has one of them.
        """
        unknown = [name for name in conditions if name not in self.conditions]
        if unknown:
            raise ValueError(
                f"no votes on condition {', '.join(map(repr, unknown))}; there are {', '.join(self.conditions)}"
            )
        wanted = np.isin(self.conditions, conditions)
        return self.select(wanted[self.left] & wanted[self.right])

    def counted(self) -> "Votes":
        """The votes that a fit may use: without repeated trials, and without those that found both bad."""
        out = self.repeat | (self.outcome == BOTH_BAD)
        return self.select(~out) if out.any() else self


def _with_unknown_voters(table: pa.Table) -> pa.Table:
    """Where the table does not say who voted, each ballot or vote is its own participant's; prompts are all one."""
    if "participant" not in table.column_names:
        alone = pc.cast(pa.array(np.arange(1, len(table) + 1)), pa.string())
        table = table.append_column("participant", table["ballot"] if "ballot" in table.column_names else alone)
    if "prompt_id" not in table.column_names:
        table = table.append_column("prompt_id", pa.repeat("unknown", len(table)))
    return table


def _refuse_blank(columns: dict[str, tuple[tuple[str, ...], Codes]], place: Callable[[int], str]) -> None:
    for name in NAMES:
        names, codes = columns[name]
        blank = np.array([*(not own.strip() for own in names), True], bool)[codes]  # nothing is −1, the last
        _refuse(blank, place, lambda _, name=name: f"{name} is missing", "fill it in, or leave the row out")


def _refuse_no_votes(
    conditions: tuple[str, ...],
    left: Codes,
    right: Codes,
    words: tuple[str, ...],
    winner: Codes,
    place: Callable[[int], str],
) -> None:
    unknown = np.array([word not in OUTCOMES for word in words], bool)[winner]
    _refuse(unknown, place, lambda row: f"winner is {words[winner[row]]!r}", f"use {', '.join(OUTCOMES)}")
    _refuse(
        left == right,
        place,
        lambda row: f"left and right are both {conditions[left[row]]!r}",
        "a condition can't be compared with itself; leave such rows out",
    )


def _refuse(bad: NDArray[np.bool_], place: Callable[[int], str], what: Callable[[int], str], remedy: str) -> None:
    rows = np.flatnonzero(bad)
    if len(rows):
        told = "; ".join(f"{place(int(row))}: {what(int(row))}" for row in rows[:_MOST_ROWS_TOLD])
        rest = f"; and {len(rows) - _MOST_ROWS_TOLD:,} rows more" if len(rows) > _MOST_ROWS_TOLD else ""
        raise ValueError(f"votes: {told}{rest}; {remedy}")


def _compact(names: tuple[str, ...], *columns: Codes) -> tuple[tuple[str, ...], list[Codes]]:
    used = np.zeros(len(names), bool)
    for column in columns:
        used[column] = True
    position = np.cumsum(used) - 1
    return tuple(name for name, kept in zip(names, used, strict=True) if kept), [position[column] for column in columns]


def _truths(table: pa.Table, count: int) -> NDArray[np.bool_]:
    if "repeat" not in table.column_names:
        return np.zeros(count, bool)
    try:
        column = table.column("repeat").cast(pa.bool_())
    except pa.ArrowInvalid as error:
        raise ValueError(f"votes: repeat must be true or false: {error}") from error
    return pc.fill_null(column, False).to_numpy(zero_copy_only=False).astype(bool)


def numbers_of(column: pa.ChunkedArray, name: str) -> Numbers:
    """A column as numbers (n,); nan where there is none. Text may have a decimal comma.

    Raises
    ------
    ValueError
        Something else is in it.
    """
    try:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = pc.utf8_trim_whitespace(column)
            nothing = pc.is_in(pc.utf8_lower(column), pa.array(["", "null", "nan", "na", "none"], column.type))
            column = pc.replace_substring(pc.if_else(nothing, None, column), ",", ".")
        return column.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"votes: {name} must be a number: {error}") from error


def _controls(table: pa.Table, names: Sequence[str], place: Callable[[int], str]) -> Numbers:
    """Differences (n, M) between left and right."""
    found = []
    for name in names:
        left, right = (
            numbers_of(table.column(f"{side}:{name}"), f"{name} on the {side}") for side in ("left", "right")
        )
        missing = ~np.isfinite(left - right)
        _refuse(missing, place, lambda _, name=name: f"{name} is missing", "fill it in, or leave the row out")
        found.append(left - right)
    return np.stack(found, 1)
