"""gallery.html: one page on which a whole run can be looked at (DESIGN 5).

The page is made from the recorded outcomes, stands alone and opens from disk; its content policy forbids
any request to a network and any script but its own. Every trajectory is on it, in the order of the outcomes;
one that failed says why. The bytes of a picture are in the page once, where the picture is shown first; where
it is shown again, one line of script copies them, and without scripts it comes from the run folder.
"""

import base64
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from hashlib import sha256
from itertools import groupby, pairwise
from pathlib import Path
from statistics import fmean
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from pipelines.records import Outcome
from pipelines.search import Candidate

MOST_EMBEDDED = 1500
"""A run that shows more distinct pictures than this links to them, so that its page stays below some 30 MB."""
THUMBNAIL_PX = 256
THUMBNAIL_QUALITY = 80

_TOKEN = re.compile(r"(\s*)([\w'’-]+|[^\w\s])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How far two conditions lie apart by the raters' known taste, with its 95% interval.

    Example:

        Finding(label="own − other", value=0.21, ci_low=0.17, ci_high=0.25)
    """

    label: str
    value: float
    """In units of true liking, 0 to 1."""
    ci_low: float
    ci_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What the page says beside the trajectories."""

    title: str
    notes: tuple[str, ...]
    """Plain sentences on what the preset is."""
    people: Mapping[str, str]
    """One sentence of demographics by user; it may lack users."""
    verdict: tuple[Finding, ...] = ()
    """How the truth judges the run, where a truth is known."""
    failures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of two prompts laid over each other.

    `gap` stands before it: white space, and the commas that join what was added to the rest.
    """

    kind: Literal["same", "added", "removed"]
    gap: str
    text: str


def write_gallery(folder: Path, outcomes: Sequence[Outcome], page: Page) -> Path:
    """Write gallery.html into the run folder, whole or not at all, and return its path."""
    rows = _rows(outcomes, page)
    environment = Environment(
        loader=PackageLoader("pipelines", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"score": _score, "change": _change, "csp_hash": _csp_hash}
    html = environment.get_template("gallery.html.j2").render(
        page=page,
        sections=_sections(rows),
        columns=max((len(row.steps) for row in rows), default=0),
        album=_Album(folder, rows),
        forest=_Forest.of(page.verdict) if page.verdict else None,
        people=len({name for o in outcomes for name in o.trajectory.members}),
        renders=len({c.image for o in outcomes for i in o.history for c in i.candidates if c.image}),
        gains=_mean_gains(rows),
        broken=sum(row.broken for row in rows),
    )
    path, temporary = folder / "gallery.html", folder / ".gallery.html.tmp"
    temporary.write_text(html, encoding="utf-8")
    temporary.replace(path)
    return path


def word_diff(before: str, after: str) -> list[Piece]:
    """`after` with the words it adds, and those of `before` that it lacks, in reading order.

    Words are matched without regard to case. Punctuation counts as a word of its own, so that a comma put
    behind a word does not make it a new one; but punctuation alone never breaks up a changed stretch.
    """
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    matcher = SequenceMatcher(None, [w.casefold() for _, w in old], [w.casefold() for _, w in new], autojunk=False)
    codes = matcher.get_opcodes()

    def changed(code: tuple[str, int, int, int, int]) -> bool:
        bare = not any(re.search(r"\w", word) for _, word in old[code[1] : code[2]])
        return code[0] != "equal" or (bare and code not in (codes[0], codes[-1]))

    pieces = []
    for differs, group in groupby(codes, changed):
        stretch = list(group)
        was, now = old[stretch[0][1] : stretch[-1][2]], new[stretch[0][3] : stretch[-1][4]]
        pieces += [_piece("removed", was), _piece("added", now)] if differs else [_piece("same", now)]
    return [piece for piece in pieces if piece.text]


def _piece(kind: Literal["same", "added", "removed"], tokens: Sequence[tuple[str, str]]) -> Piece:
    whole = "".join(gap + word for gap, word in tokens)
    text = whole.lstrip(" ,;") if kind == "added" else whole.lstrip()
    return Piece(kind, whole.removesuffix(text), text) if text else Piece(kind, "", whole)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """The best after one iteration, and by how much it beats the one before: 0 where that one was kept."""

    number: int
    best: Candidate
    gain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One trajectory as the page shows it."""

    anchor: str
    outcome: Outcome
    who: str
    about: str
    variant: str
    """Scorer and run, where the page has several; else empty."""
    bests: list[Candidate]
    steps: list[_Step]
    diff: list[Piece]

    @property
    def broken(self) -> bool:
        return self.outcome.stop_reason not in ("iterations", "patience")

    @property
    def gain(self) -> float:
        return _gain(self.bests[0], self.bests[-1])

    @property
    def added(self) -> list[str]:
        """The phrases that the final prompt adds."""
        return [
            phrase.strip()
            for piece in self.diff
            if piece.kind == "added"
            for phrase in re.split(r"[,;.]", piece.text)
            if phrase.strip()
        ]

    @property
    def ending(self) -> str:
        rounds = len(self.steps)
        if self.outcome.stop_reason == "iterations":
            return f"All {rounds} iterations used."
        if self.outcome.stop_reason == "patience":
            found = max((step.number for step in self.steps if step.gain), default=0)
            return f"Stopped after iteration {rounds}: the last {rounds - found} found nothing better."
        return self.outcome.stop_reason[:1].upper() + self.outcome.stop_reason[1:]


def _rows(outcomes: Sequence[Outcome], page: Page) -> list[_Row]:
    scorers = {o.trajectory.scorer for o in outcomes}
    runs = {o.trajectory.run for o in outcomes}
    rows = []
    for number, outcome in enumerate(outcomes, start=1):
        trajectory, bests = outcome.trajectory, outcome.bests
        members = len(trajectory.members)
        labels = [trajectory.scorer] * (len(scorers) > 1) + [f"run {trajectory.run}"] * (len(runs) > 1)
        rows.append(
            _Row(
                anchor=f"t{number}",
                outcome=outcome,
                who="everyone" if trajectory.user == "*" else trajectory.user,
                about=page.people.get(trajectory.user, f"the mean of {members} people" if members > 1 else ""),
                variant=", ".join(labels),
                bests=bests,
                steps=[
                    _Step(number=at, best=later, gain=_gain(earlier, later))
                    for at, (earlier, later) in enumerate(pairwise(bests), start=1)
                ],
                diff=word_diff(trajectory.base_prompt, bests[-1].prompt) if bests else [],
            )
        )
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """The rows of one prompt."""

    prompt: str
    rows: list[_Row]

    @property
    def initial(self) -> Candidate | None:
        """The base prompt's picture: one prompt has one image seed, so all rows share it."""
        return next((row.bests[0] for row in self.rows if row.bests), None)

    @property
    def initial_scores(self) -> list[float]:
        """From lowest to highest; empty where several scorers, on scales of their own, gave them."""
        if len({row.outcome.trajectory.scorer for row in self.rows}) > 1:
            return []
        return sorted(row.bests[0].score for row in self.rows if row.bests and row.bests[0].score is not None)


def _sections(rows: Sequence[_Row]) -> list[_Section]:
    by_prompt: dict[str, list[_Row]] = {}
    for row in rows:
        by_prompt.setdefault(row.outcome.trajectory.prompt_id, []).append(row)
    return [_Section(prompt=rows[0].outcome.trajectory.base_prompt, rows=rows) for rows in by_prompt.values()]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Showing:
    """One place where a picture stands in the page."""

    path: str
    """Of the full-size picture, relative to the page."""
    name: str
    how: Literal["embedded", "again", "linked", "missing"]
    data: str = ""


class _Album:
    """Hands the pictures to the template in document order, the bytes of each with its first showing only."""

    def __init__(self, folder: Path, rows: Sequence[_Row]) -> None:
        self._folder = folder
        self._links = len({best.image for row in rows for best in row.bests}) > MOST_EMBEDDED
        self._shown: dict[str, _Showing] = {}

    def show(self, candidate: Candidate) -> _Showing:
        key = candidate.image or ""
        if key not in self._shown:
            self._shown[key] = self._first(key)
            return self._shown[key]
        first = self._shown[key]
        return _Showing(path=first.path, name=first.name, how="again") if first.how == "embedded" else first

    def _first(self, key: str) -> _Showing:
        path, name = f"images/{key[:2]}/{key}.png", f"i{len(self._shown)}"
        if self._links:
            return _Showing(path=path, name=name, how="linked")
        try:
            return _Showing(path=path, name=name, how="embedded", data=_thumbnail(self._folder / path))
        except OSError:  # a picture that is gone or unreadable must not cost the page
            return _Showing(path=path, name=name, how="missing")


def _thumbnail(path: Path) -> str:
    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    small.save(encoded, "WEBP", quality=THUMBNAIL_QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(encoded.getvalue()).decode()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Forest:
    """The verdict as dots with interval bars on one axis, which always holds zero. Positions in per cent."""

    bars: list[tuple[Finding, float, float, float]]
    """Finding, and where its lower end, its value and its upper end lie."""
    ticks: list[tuple[float, float]]
    """Value and position."""
    zero: float

    @classmethod
    def of(cls, findings: Sequence[Finding]) -> "_Forest":
        low = min(0.0, *(f.ci_low for f in findings))
        high = max(0.0, *(f.ci_high for f in findings))
        step = _round_step((high - low) / 3 or 0.25)
        first, last = math.floor(low / step), math.ceil(high / step) or 1

        def at(value: float) -> float:
            return round(100 * (value / step - first) / (last - first), 2)

        return cls(
            bars=[(f, at(f.ci_low), at(f.value), at(f.ci_high)) for f in findings],
            ticks=[(n * step, at(n * step)) for n in range(first, last + 1)],
            zero=at(0),
        )


def _round_step(least: float) -> float:
    """The least of 1, 2, 5, 10 times a power of ten that is no smaller than `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def _mean_gains(rows: Sequence[_Row]) -> Iterator[tuple[str, float]]:
    """Each scorer with its mean gain from initial to final; scorers have scales of their own."""
    for scorer in dict.fromkeys(row.outcome.trajectory.scorer for row in rows):
        gains = [row.gain for row in rows if row.bests and row.outcome.trajectory.scorer == scorer]
        if gains:
            yield scorer, fmean(gains)


def _gain(earlier: Candidate, later: Candidate) -> float:
    assert earlier.score is not None
    assert later.score is not None
    return later.score - earlier.score


def _score(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def _change(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def _csp_hash(script: str) -> str:
    """The source expression that lets exactly this inline script run."""
    return f"'sha256-{base64.b64encode(sha256(script.encode()).digest()).decode()}'"
