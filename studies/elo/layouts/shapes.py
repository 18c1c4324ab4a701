"""Tables of every shape brought to one row a vote, in our columns, with what was done to them in plain words.

Nothing is guessed in silence: a layout that was recognised and rows that are left out are told in notes, which end up
among the caveats of the report.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from studies.elo.layouts.ballots import Ballot, as_name, folders_of, listed, numbers_from, pairs_of
from studies.elo.layouts.known import COUNTS, LABELS, PEOPLE, Recognised, Shape, column_of, control_columns, recognise
from studies.elo.layouts.winners import OUT, nearly_equal, with_outcomes
from studies.elo.text_columns import coded, encoded, positions, trimmed
from studies.elo.votes import COLUMNS, OUTCOMES, numbers_of

pc: Any = pyarrow.compute  # its functions are made when it is imported, so type checkers don't know them
Rows = NDArray[np.int64]

_PRACTICE = ("practice", "practise", "training", "instruction", "fixation", "attention", "catch", "example", "consent")
_CHOICES = (
    "choice",
    "response",
    "answer",
    "vote",
    "voted_for",
    "votedfor",
    "selected",
    "preference",
    "winner",
    "value",
)
_NAMES = ("left", "right", "winner")
_MOST_COUNTED = 1e9
"""Votes of a table of counts, of which each becomes a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """A table of votes in our columns."""

    table: pa.Table
    row: Rows
    """For each of its rows, the row of the table that was given."""
    notes: tuple[str, ...]
    sides_known: bool
    """False where nobody knows what stood on which side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """Rows on the way to `Brought`."""

    table: pa.Table
    row: Rows
    notes: list[str]
    sides_known: bool = True

    def kept(self, wanted: NDArray[np.bool_], note: str) -> "_Found":
        """Some of the rows; `note` says what the others are, after their number."""
        if wanted.all():
            return self
        rows = np.flatnonzero(wanted)
        notes = [*self.notes, f"{len(wanted) - len(rows):,} rows {note}, and are left out."]
        return _Found(
            table=self.table.take(pa.array(rows)), row=self.row[rows], notes=notes, sides_known=self.sides_known
        )


def bring(
    table: pa.Table, columns: Mapping[str, str], values: Mapping[str, str], controls: Sequence[str] = ()
) -> Brought:
    """One row a vote.

    Parameters
    ----------
    columns
        What `--columns` says: their name for ours.
    values
        What stands for left, right, tie and both_bad, or is to be left out.
    controls
        Covariates whose columns, one a side, are to be kept.

    Raises
    ------
    ValueError
        A column is missing, no shape fits, or rows cannot be read as what they should be.
    """
    known = recognise(table, columns)
    sources = {**known.sources, **control_columns(table, controls)}
    own = pa.table({ours: column_of(table, theirs) for ours, theirs in sources.items()})
    found = _without_other_rows(_Found(table=own, row=np.arange(len(table)), notes=list(known.notes)))
    found = _SHAPES[known.shape](found)
    found = _trimmed(found)
    return _finished(found, values, known)


def _without_other_rows(found: _Found) -> _Found:
    """Without rows that the table itself says are no votes."""
    table = found.table
    if "kind" in table.column_names:
        found = found.kept(_true(pc.equal(_text(table.column("kind")), "trial")), "are practice or attention checks")
    if "task" in found.table.column_names:
        task = pc.utf8_lower(_text(found.table.column("task")))
        other = np.zeros(len(task), bool)
        for word in _PRACTICE:
            other |= _true(pc.match_substring(task, word))
        found = found.kept(~other, "are practice, instructions or checks, as their task says")
    if "has_label" in found.table.column_names:
        found = found.kept(_said(found.table.column("has_label")), "have no label")
    if "was_cancelled" in found.table.column_names:
        found = found.kept(~_said(found.table.column("was_cancelled")), "were skipped")
    return found


def _finished(found: _Found, values: Mapping[str, str], known: Recognised) -> Brought:
    table, notes = found.table, list(found.notes)
    plain = known.shape in ("votes", "counts") and known.name is None
    table, said = with_outcomes(table, values, known=not plain)
    notes += said
    winner = table.column("winner").chunk(0)
    keep = np.array([*(word != OUT for word in winner.dictionary.to_pylist()), True])[positions(winner)]
    if not keep.all():
        notes.append(f"{int((~keep).sum()):,} votes are left out, as --values says.")
        table = table.filter(pa.array(keep))
    names, _ = coded(*(encoded(table.column(side)) for side in ("left", "right")))
    notes += [
        f"Nearly equal names are taken for different conditions: {', '.join(map(repr, own))}."
        for own in nearly_equal(names)
    ]
    kept = [name for name in table.column_names if name in COLUMNS or ":" in name]
    return Brought(table=table.select(kept), row=found.row[keep], notes=tuple(notes), sides_known=found.sides_known)


def _trimmed(found: _Found) -> _Found:
    table = found.table
    for name in _NAMES:
        table = _with(table, name, trimmed(encoded(table.column(name))))
    return _Found(table=table, row=found.row, notes=found.notes, sides_known=found.sides_known)


def _votes(found: _Found) -> _Found:
    return found


def _responses(found: _Found) -> _Found:
    """A row a response out of a row an item with a list of them."""
    column = found.table.column("responses")
    lists = column.combine_chunks() if pa.types.is_nested(column.type) else pa.array(listed(column))
    origin = pc.list_parent_indices(lists)
    response = pc.list_flatten(lists)
    table = found.table.drop_columns("responses").take(origin)
    if pa.types.is_struct(response.type):
        fields = {own.name.lower(): own.name for own in response.type}
        choice = next((fields[name] for name in _CHOICES if name in fields), None)
        who = next((fields[name] for name in (*PEOPLE, "userid", "id") if name in fields), None)
        if choice is None:
            raise ValueError(f"responses have no choice among {', '.join(fields.values())}; call it `choice`")
        if who is not None:
            table = _with(table, "participant", pc.struct_field(response, who))
        response = pc.struct_field(response, choice)
    rows = origin.to_numpy()
    made = _Found(table=_with(table, "winner", response), row=found.row[rows], notes=found.notes)
    return made.kept(_true(pc.is_valid(response)), "have no choice")


def _counts(found: _Found) -> _Found:
    """A row a vote out of a row a comparison with its counts."""
    columns = [name for name in COUNTS if name in found.table.column_names]
    counts = np.zeros((len(found.row), len(columns)), np.int64)
    for at, name in enumerate(columns):
        values = numbers_of(found.table.column(name), name)
        bad = ~(np.isfinite(values) & (values >= 0) & (values == np.round(values)))
        if bad.any():
            raise ValueError(f"{name} must be a number of votes, 0 or more, got {values[bad][0]:g}")
        counts[:, at] = values
    total = counts.sum(dtype=float)
    if total > _MOST_COUNTED:
        raise ValueError(f"{' and '.join(columns)} are {total:g} votes, more than can be read at once")
    rows = np.repeat(np.repeat(np.arange(len(found.row)), len(columns)), counts.ravel())
    winner = np.repeat(np.tile(np.arange(len(columns)), len(found.row)), counts.ravel())
    table = found.table.drop_columns(columns).take(pa.array(rows))
    words = pa.array(OUTCOMES[: len(columns)]).take(pa.array(winner))
    return _Found(table=_with(table, "winner", words), row=found.row[rows], notes=found.notes)


def _labels(found: _Found) -> _Found:
    """The winner by two numbers: the larger one; equal ones are a tie."""
    left, right = (numbers_of(found.table.column(name), name) for name in LABELS)
    words = np.where(left > right, "left", np.where(right > left, "right", "tie"))
    table = _with(found.table.drop_columns(list(LABELS)), "winner", pa.array(words.tolist(), pa.string()))
    made = _Found(table=table, row=found.row, notes=found.notes)
    return made.kept(np.isfinite(left) & np.isfinite(right) & (left + right > 0), "have no label")


def _choices(found: _Found) -> _Found:
    """Two that were shown are a vote, with the first on the left; more are as many pairs as were not chosen."""
    shown = listed(found.table.column("shown"))
    found = found.kept(np.array([own is not None and len(own) > 1 for own in shown], bool), "show no two images")
    chosen = _text(found.table.column("chosen")).to_pylist()
    answered = [word is not None and word.strip().lower() not in ("", "null", "none", "nan") for word in chosen]
    found = found.kept(np.array(answered, bool), "were not answered")
    shown = [[as_name(one) for one in own] for own in listed(found.table.column("shown")) if own is not None]
    chosen = [word.strip() for word in _text(found.table.column("chosen")).to_pylist()]
    if all(len(own) == 2 for own in shown):
        return _two(found, shown, chosen)
    places = [own.index(word) if word in own else _position(word) for own, word in zip(shown, chosen, strict=True)]
    base = numbers_from([[place] for own, word, place in zip(shown, chosen, places, strict=True) if word not in own],
                        [len(own) for own, word in zip(shown, chosen, strict=True) if word not in own])  # fmt: skip
    first = [place if word in own else place - base for own, word, place in zip(shown, chosen, places, strict=True)]
    orders = [[0.0 if n == best else np.inf for n in range(len(own))] for own, best in zip(shown, first, strict=True)]
    note = "The best of K counts as K − 1 votes, that it was liked better than each other"
    return _as_pairs(
        found, shown, orders, note, base if any(w not in o for o, w in zip(shown, chosen, strict=True)) else None
    )


def _two(found: _Found, shown: list[list[str]], chosen: list[str]) -> _Found:
    by_folder = folders_of(shown)
    table = found.table.drop_columns(["shown", "chosen"])
    winner, notes = chosen, list(found.notes)
    if by_folder is not None:
        winner = [names[own.index(word)] if word in own else word
                  for (names, _), own, word in zip(by_folder, shown, chosen, strict=True)]  # fmt: skip
        table, notes = _with_prompts(table, [stem for _, stem in by_folder], notes)
        shown = [list(names) for names, _ in by_folder]
    for name, values in (("left", [own[0] for own in shown]), ("right", [own[1] for own in shown]), ("winner", winner)):
        table = _with(table, name, pa.array(values, pa.string()))
    return _Found(table=table, row=found.row, notes=notes)


def _rankings(found: _Found) -> _Found:
    """All pairs of each ranking, which lists positions, or names, with the best first."""
    orders = [own or [] for own in listed(found.table.column("ranking"))]
    shown = (
        [[as_name(one) for one in own or []] for own in listed(found.table.column("shown"))]
        if "shown" in found.table.column_names
        else [[str(place) for place in sorted(map(_position, order))] for order in orders]
    )
    by_name = all(as_name(one) in own for own, order in zip(shown, orders, strict=True) for one in order)
    base = None
    if by_name:
        positions = [[own.index(as_name(one)) for one in order] for own, order in zip(shown, orders, strict=True)]
    else:
        positions = [[_position(one) for one in order] for order in orders]
        base = numbers_from(positions, [len(own) for own in shown])
        positions = [[place - base for place in order] for order in positions]
    twice = next((n for n, order in enumerate(positions) if len(set(order)) < len(order)), None)
    if twice is not None:
        raise ValueError(f"ranking {orders[twice]} (row {found.row[twice] + 1}) has something twice")
    places = [[float(order.index(n)) if n in order else np.inf for n in range(len(own))]
              for own, order in zip(shown, positions, strict=True)]  # fmt: skip
    return _as_pairs(found, shown, places, "A ranking counts as all of its pairs", base)


def _ranks(found: _Found) -> _Found:
    """All pairs of what was shown, by the rank of each, 1 being the best."""
    shown = [[as_name(one) for one in own or []] for own in listed(found.table.column("shown"))]
    ranks = [[_rank(one) for one in own or []] for own in listed(found.table.column("ranks"))]
    wrong = next((n for n, (a, b) in enumerate(zip(shown, ranks, strict=True)) if len(a) != len(b)), None)
    if wrong is not None:
        raise ValueError(
            f"row {found.row[wrong] + 1}: {len(shown[wrong])} were shown, and {len(ranks[wrong])} have a rank"
        )
    return _as_pairs(found, shown, ranks, "Ranks, the least being the best, count as all of their pairs", None)


def _image_ranks(found: _Found) -> _Found:
    """All pairs of the images that one person ranked on one prompt, a row each; the least rank is the best."""
    table = found.table
    names = [as_name(value) for value in table.column("condition").to_pylist()]
    rank = numbers_of(table.column("rank"), "rank")
    keys = [
        _text(table.column(name)).to_pylist() for name in ("participant", "prompt_id") if name in table.column_names
    ]
    groups: dict[tuple[str, ...], list[int]] = {}
    for row, key in enumerate(zip(*keys, strict=True)):
        groups.setdefault(key, []).append(row)
    first = np.array([rows[0] for rows in groups.values()], np.int64)
    made = _Found(
        table=table.drop_columns(["condition", "rank"]).take(pa.array(first)), row=found.row[first], notes=found.notes
    )
    shown = [[names[row] for row in rows] for rows in groups.values()]
    places = [[float(rank[row]) if np.isfinite(rank[row]) else np.inf for row in rows] for rows in groups.values()]
    return _as_pairs(made, shown, places, "Ranks, the least being the best, count as all pairs of their prompt", None)


def _as_pairs(
    found: _Found, shown: list[list[str]], places: Sequence[Sequence[float]], note: str, base: int | None
) -> _Found:
    """Ballots as pairs; their number is the column `ballot`."""
    if any(":" in name for name in found.table.column_names):
        raise ValueError("--control needs a row a vote, with a column of the covariate for each side")
    table, notes = found.table, list(found.notes)
    by_folder = folders_of(shown)
    if by_folder is not None:
        table, notes = _with_prompts(table, [stem for _, stem in by_folder], notes)
        shown = [list(names) for names, _ in by_folder]
    ballots = [
        Ballot(row=n, shown=tuple(own), places=tuple(order))
        for n, (own, order) in enumerate(zip(shown, places, strict=True))
    ]
    pairs = pairs_of(ballots)
    counted = "" if base is None else f"; positions count from {base}"
    notes.append(f"{note}{counted}; the pairs of one answer are clustered together.")
    if pairs.same:
        notes.append(f"{pairs.same:,} pairs of a condition with itself are left out.")
    rows = np.array(pairs.row, np.int64)
    gone = [name for name in ("shown", "chosen", "ranking", "ranks") if name in table.column_names]
    table = table.drop_columns(gone).take(pa.array(rows))
    for name, values in (("left", pairs.left), ("right", pairs.right), ("winner", pairs.winner)):
        table = _with(table, name, pa.array(values, pa.string()))
    table = _with(table, "ballot", pa.array([str(row + 1) for row in pairs.row], pa.string()))
    return _Found(table=table, row=found.row[rows], notes=notes, sides_known=False)


def _with_prompts(table: pa.Table, stems: Sequence[str | None], notes: list[str]) -> tuple[pa.Table, list[str]]:
    """Prompts by the names of the files, where the table has none of its own and every ballot has one."""
    told = [*notes, "Conditions are the folders of the pictures."]
    if "prompt_id" in table.column_names or not all(stems):
        return table, told
    return _with(table, "prompt_id", pa.array(stems, pa.string())), [*told, "Prompts are the names of their files."]


_SHAPES: Mapping[Shape, Callable[[_Found], _Found]] = {
    "responses": _responses,
    "votes": _votes,
    "counts": _counts,
    "labels": _labels,
    "choices": _choices,
    "rankings": _rankings,
    "ranks": _ranks,
    "image_ranks": _image_ranks,
    "orders": _rankings,
}


def _with(table: pa.Table, name: str, column: Any) -> pa.Table:
    """The table with a column, in place of one of that name."""
    if not table.num_columns:  # which has no length either
        return pa.table({name: column})
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, column)
    return table.append_column(name, column)


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.large_string())


def _said(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Where a column says yes."""
    words = pc.utf8_lower(_text(column))
    return _true(pc.is_in(words, pa.array(["true", "yes", "1", "1.0"], words.type)))


def _true(mask: Any) -> NDArray[np.bool_]:
    return pc.fill_null(mask, False).to_numpy(zero_copy_only=False).astype(bool)


def _rank(value: Any) -> float:
    """Infinite where there is none: null, or what pandas writes for it."""
    number = math.inf if value is None else _number(value)
    return math.inf if math.isnan(number) else number


def _position(value: Any) -> int:
    number = _number(value)
    if not number.is_integer():
        raise ValueError(f"{value!r} is neither a position nor the name of something that was shown")
    return int(number)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{value!r} is neither a position nor the name of something that was shown") from error
