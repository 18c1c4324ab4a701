"""How votes and choices are laid out, by ourselves and by others, and what others call our columns.

A table is recognised by its columns alone: by ours, or by those of a known layout; `--columns` names the others.
Upper and lower case are the same, and a dotted name is a field inside a column.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute

from studies.elo.votes import COLUMNS, NEEDED

pc: Any = pyarrow.compute  # its functions are made when it is imported, so type checkers don't know them

Shape = Literal["responses", "votes", "counts", "labels", "choices", "rankings", "ranks", "image_ranks", "orders"]

COUNTS = ("left_wins", "right_wins", "ties")
LABELS = ("left_label", "right_label")
NEEDS: Mapping[Shape, tuple[str, ...]] = {
    "responses": ("left", "right", "responses"),
    "votes": NEEDED,
    "counts": ("left", "right", *COUNTS[:2]),
    "labels": ("left", "right", *LABELS),
    "choices": ("shown", "chosen"),
    "rankings": ("shown", "ranking"),
    "ranks": ("shown", "ranks"),
    "image_ranks": ("condition", "rank", "prompt_id"),
    "orders": ("ranking",),
}
"""The columns, by our names, without which a shape can't be read; a table has the first shape that it fits."""
LISTS = frozenset({"responses", "shown", "ranking", "ranks"})
"""Columns that hold lists; in CSV as JSON."""
NAMES = tuple(dict.fromkeys([*COLUMNS, *COUNTS, *(name for needed in NEEDS.values() for name in needed), *LABELS]))
"""Every name of ours, for `--columns`."""
MARKS = ("kind", "task", "has_label", "was_cancelled")
"""Columns that say which rows are no votes."""

PEOPLE = (
    *("participant", "participant_id", "judge", "judge_id", "judge_hash", "user_id", "user", "rater", "rater_id"),
    *("annotator", "annotator_id", "worker", "worker_id", "subject", "subject_id", "voter"),
)
PROMPTS = ("prompt_id", "question_id", "prompt", "caption", "question")
_LEFT = (
    *("left", "model_a", "model1", "model_1", "model_left", "left_model", "condition_left", "left_condition"),
    *("condition_a", "image_a", "image1", "image_1", "image_left", "left_image"),
)
_RIGHT = (
    *("right", "model_b", "model2", "model_2", "model_right", "right_model", "condition_right", "right_condition"),
    *("condition_b", "image_b", "image2", "image_2", "image_right", "right_image"),
)
_SHOWN = (
    *("shown", "conditions", "models", "model_names", "generators", "methods", "images", "image_paths", "image_path"),
    *("image_uids", "image_ids", "candidates", "items", "options", "generations", "stimuli"),
)
_SIDES = (("{}_left", "{}_right"), ("left_{}", "right_{}"), ("{}_a", "{}_b"), ("{}_1", "{}_2"), ("{}_0", "{}_1"))
"""How the two columns of a covariate are called."""
_SINGLE = (
    *("condition", "model", "model_name", "generator", "generation_model", "method"),
    *("image_path", "image", "image_id", "image_uid", "file", "filename"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What others call our columns, the likeliest name first."""

    name: str
    shape: Shape
    columns: Mapping[str, tuple[str, ...]]


LAYOUTS = (
    Layout(
        name="single responses inside their items",
        shape="responses",
        columns={
            "left": _LEFT,
            "right": _RIGHT,
            "responses": (
                *("preference.responses.users", "preference.responses", "responses.users", "responses"),
                *("preference.users", "users", "preference", "detailed_results", "annotations"),
            ),
        },
    ),
    Layout(
        name="a judge's records of comparison and choice",
        shape="votes",
        columns={
            "left": ("model_a",),
            "right": ("model_b",),
            "winner": ("result.comparison_and_choice.final_decision", "comparison_and_choice.final_decision"),
            "prompt_id": (*PROMPTS, "id"),
        },
    ),
    Layout(
        name="Label Studio's export of pairs",
        shape="votes",
        columns={
            "left": _LEFT,
            "right": _RIGHT,
            "winner": ("selected",),
            "participant": ("completed_by",),
            "prompt_id": (*PROMPTS, "task_id"),
        },
    ),
    Layout(
        name="an arena's table",
        shape="votes",
        columns={"left": ("model_a",), "right": ("model_b",), "winner": ("winner", "preference", "choice")},
    ),
    Layout(
        name="an arena's table with a column for each outcome",
        shape="counts",
        columns={
            "left": ("model_a",),
            "right": ("model_b",),
            "left_wins": ("winner_model_a",),
            "right_wins": ("winner_model_b",),
            "ties": ("winner_tie",),
        },
    ),
    Layout(
        name="a table of counted preferences",
        shape="counts",
        columns={
            "left": ("model1",),
            "right": ("model2",),
            "left_wins": ("votes_image1",),
            "right_wins": ("votes_image2",),
        },
    ),
    Layout(
        name="Pick-a-Pic's table",
        shape="labels",
        columns={
            "left": ("model_0", "image_0_uid"),
            "right": ("model_1", "image_1_uid"),
            "left_image": ("image_0_uid",),
            "right_image": ("image_1_uid",),
            "left_label": ("label_0",),
            "right_label": ("label_1",),
        },
    ),
    Layout(
        name="jsPsych's trials",
        shape="choices",
        columns={
            "shown": ("stimulus", "stimuli"),
            "chosen": ("response", "button_pressed", "key_press"),
            "participant": ("subject", "subject_id", "participant", "participant_id", "prolific_pid", "run_id"),
            "prompt_id": ("prompt_id", "item_id", "item"),
            "response_ms": ("rt",),
        },
    ),
    Layout(
        name="the best of several",
        shape="choices",
        columns={"shown": _SHOWN, "chosen": ("chosen", "chosen_index", "choice", "best", "selected", "label")},
    ),
    Layout(
        name="rankings, best first",
        shape="rankings",
        columns={"shown": _SHOWN, "ranking": ("ranking", "best_first", "order")},
    ),
    Layout(name="ranks of what was shown", shape="ranks", columns={"shown": _SHOWN, "ranks": ("ranks", "rank")}),
    Layout(name="ranks, one row per image", shape="image_ranks", columns={"condition": _SINGLE, "rank": ("rank",)}),
    Layout(name="rankings of places, best first", shape="orders", columns={"ranking": ("ranking",)}),
)
"""The first that a table fits is taken."""
_OWN_NAMES: Mapping[Shape, str] = {
    layout.shape: layout.name for layout in reversed(LAYOUTS) if layout.shape not in ("votes", "counts", "labels")
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """What the columns of a table stand for."""

    shape: Shape
    sources: Mapping[str, str]
    """Their name for each of ours that is there."""
    name: str | None
    """Of the layout; None where it is the plain table of votes or counts."""
    asked: Mapping[str, str]

    @property
    def notes(self) -> list[str]:
        """What was recognised, for the report; nothing where all is as it was named."""
        guessed = {ours: theirs for ours, theirs in self.sources.items() if theirs not in (ours, self.asked.get(ours))}
        told = ", ".join(f"{ours} is {theirs}" for ours, theirs in guessed.items())
        if self.name is not None:
            return [f"Read as {self.name}{f': {told}' if told else ''}."]
        return [f"Not named so, but taken for it: {told}."] if told else []


def recognise(table: pa.Table, asked: Mapping[str, str]) -> Recognised:
    """What the columns of a table stand for; `asked` is what `--columns` says.

    Raises
    ------
    ValueError
        A column that `asked` names is not there, is none of ours, or holds lists or records where it should not; or the
        table has no shape that is known.
    """
    absent = [f"{ours}={theirs}" for ours, theirs in asked.items() if column_of(table, theirs) is None]
    if absent:
        raise ValueError(f"--columns {','.join(absent)}: there are {', '.join(table.column_names)}")
    for ours, theirs in asked.items():
        _refuse_another_kind(ours, theirs, table)
    own = _found(table, {name: (asked.get(name, name),) for name in (*NAMES, *MARKS)}, asked)
    usual = {**_found(table, {"participant": PEOPLE, "prompt_id": PROMPTS}), **own}
    for shape, needed in NEEDS.items():
        if set(needed) <= own.keys() and shape != "orders":
            return Recognised(shape=shape, sources=usual, name=_OWN_NAMES.get(shape), asked=asked)
    named = {name: own[name] for name in asked if name in own}
    for layout in LAYOUTS:
        found = {**_found(table, layout.columns), **named}
        if set(NEEDS[layout.shape]) <= found.keys() | {"prompt_id"} & usual.keys():
            sources = found | {name: theirs for name, theirs in usual.items() if name not in found}
            return Recognised(shape=layout.shape, sources=sources, name=layout.name, asked=asked)
    missing = [name for name in NEEDED if name not in own]
    raise ValueError(
        f"no column {', '.join(missing)}; there are {', '.join(table.column_names) or 'none'}; "
        f"say which stands for it: --columns {missing[0]}=…"
    )


def refuse_unknown_name(ours: str) -> None:
    """
    Raises
    ------
    ValueError
        It is no name of a column of ours.
    """
    if ours not in NAMES:
        raise ValueError(f"--columns {ours}=…: no column of votes is called {ours!r}; use {', '.join(NAMES)}")


def _refuse_another_kind(ours: str, theirs: str, table: pa.Table) -> None:
    refuse_unknown_name(ours)
    column = column_of(table, theirs)
    assert column is not None
    if pa.types.is_nested(column.type) and not (ours in LISTS and holds_lists(column)):
        wanted = "a list in each row" if ours in LISTS else "one value in each row"
        raise ValueError(f"--columns {ours}={theirs}: this column holds {column.type}, and {ours} needs {wanted}")


def column_of(table: pa.Table, name: str) -> pa.ChunkedArray | None:
    """A column, or by a dotted name a field inside one; None where it is not there."""
    if name in table.column_names:
        return table.column(name)
    outer, dot, inner = name.partition(".")
    there = [own for own in table.column_names if own.lower() == outer.lower()]
    if not there or (not dot and len(there) > 1):
        return None
    column = table.column(there[0])
    for part in inner.split(".") if dot else ():
        if not pa.types.is_struct(column.type):
            return None
        fields = [own.name for own in column.type if own.name.lower() == part.lower()]
        if not fields:
            return None
        column = pc.struct_field(column, fields[0])
    return column


def holds_lists(column: pa.ChunkedArray) -> bool:
    """Whether a column holds lists, or their text, in some rows at least."""
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return True
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return False
    return bool(pc.any(pc.starts_with(pc.utf8_ltrim_whitespace(column), "[")).as_py())


def control_columns(table: pa.Table, controls: Sequence[str]) -> dict[str, str]:
    """Their names for `left:length` and `right:length`, for each covariate such as `length`.

    Raises
    ------
    ValueError
        A covariate has no column for each side.
    """
    found: dict[str, str] = {}
    for control in controls:
        for left, right in _SIDES:
            pair = left.format(control), right.format(control)
            if all(column_of(table, name) is not None for name in pair):
                found |= dict(zip((f"left:{control}", f"right:{control}"), pair, strict=True))
                break
        else:
            raise ValueError(
                f"--control {control}: no columns {control}_left and {control}_right; there are "
                f"{', '.join(table.column_names)}"
            )
    return found


def _found(
    table: pa.Table, names: Mapping[str, Iterable[str]], asked: Mapping[str, str] | None = None
) -> dict[str, str]:
    """For each of our names the first of theirs that is there, and holds lists if and only if it should."""
    found = {}
    for ours, theirs in names.items():
        for name in theirs:
            column = column_of(table, name)
            if column is not None and (ours in (asked or {}) or _fits(ours, name, column)):
                found[ours] = name
                break
    return found


def _fits(ours: str, theirs: str, column: pa.ChunkedArray) -> bool:
    nested = pa.types.is_nested(column.type)
    if ours in LISTS:
        return holds_lists(column) or (theirs == "shown" and not nested)  # a dataset's own are joined by spaces
    if ours in ("left", "right", "condition", "rank"):
        return not nested and not holds_lists(column)
    return not nested
