"""gallery.html: a page that shows a whole run, or several pages where the run is large.

Pages are made from the recorded outcomes. Each opens from disk: its content security policy forbids requests to a
network, and scripts other than its own. Every trajectory is on one page. Prompts come in the order of the outcomes; the
people of a prompt by their gain, the largest first; what failed comes last, and says why. The first page has the
summary of the run, and links to the others. A picture's bytes are in a page once at most, where it is shown first
(`pictures`). Where it is shown again, a script copies them; without scripts, the browser loads it from the run folder.
"""

import base64
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from pipelines.planning.users import is_group, shown_name
from pipelines.records.outcomes import Best, Outcome
from pipelines.reporting.certainty import below_its_uncertainty
from pipelines.reporting.forest_plot import Finding, ForestPlot
from pipelines.reporting.gallery_trends import TrendsShown
from pipelines.reporting.pictures import LARGE_PX, SMALL_PX, Pictures
from pipelines.reporting.trends import Trends
from pipelines.reporting.word_diff import Piece, word_diff
from pipelines.search.history import EVERYBODY
from pipelines.search.state_machine import StopReason
from pipelines.search.trajectory import Trajectory
from predictor.data.folders import write_atomically

MOST_ROWS = 400
"""Trajectories on a page; further ones are in gallery-2.html and so on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What the pages show beside the trajectories."""

    title: str
    notes: tuple[str, ...]
    """Plain sentences on what the preset is."""
    people: Mapping[str, str]
    """One sentence of demographics by user; it may lack users."""
    known: Mapping[str, str] = field(default_factory=dict)
    """One sentence by user on how well the predictor knows them; it may lack users."""
    gain_errors: Mapping[str, float] = field(default_factory=dict)
    """Trajectory id -> standard deviation of its gain; it may lack trajectories."""
    verdict: tuple[Finding, ...] = ()
    """The verdict by the raters' true taste, where that is known."""
    trends: Trends | None = None
    """Where there are several audiences."""
    failures: tuple[str, ...] = ()
    renders: int | None = None
    """Distinct images of the run; None where nobody has counted them."""


def write_gallery(folder: Path, outcomes: Sequence[Outcome], page: Page) -> Path:
    """Write the pages into the run folder, each whole or not at all, and return the path of the first."""
    outcomes = _arranged(outcomes)
    parts = _parts(outcomes)
    labels = _Labels.of(outcomes)
    names = [_page_name(number) for number in range(1, len(parts) + 1)]
    pictures = Pictures(folder, _kinds(outcomes))
    whole = {
        "page": page,
        "pages": names,
        "contents": _contents(parts),
        "forest": ForestPlot.of(page.verdict) if page.verdict else None,
        "trends": TrendsShown.of(page.trends) if page.trends else None,
        "groups": len({o.trajectory.user for o in outcomes if is_group(o.trajectory.user)}),
        "whom": _whom(outcomes),
        "people": len({name for o in outcomes for name in o.trajectory.user_ids}),
        "gains": list(_mean_gains(outcomes)),
        "several_runs": labels.run,
        "uncertain": sum(below_its_uncertainty(o, page.gain_errors) for o in outcomes),
        "broken": sum(not o.finished for o in outcomes),
    }
    for number, part in reversed(list(enumerate(parts, start=1))):  # the first page last: it leads to the others
        rows = _rows(part, page, labels, 1 + (number - 1) * MOST_ROWS)
        html = _template().render(
            **whole,
            number=number,
            sections=_sections(rows, whole["contents"]),
            columns=max((len(row.steps) for row in rows), default=0),
            pictures=pictures.on_page(),
        )
        write_atomically(folder / names[number - 1], html)
    return folder / names[0]


@cache
def _template() -> Template:
    """Compiled once in a process: steer-live writes a gallery for each prompt."""
    environment = Environment(
        loader=PackageLoader("pipelines.reporting", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"score": _score, "change": _change, "csp_hash": _csp_hash}
    return environment.get_template("gallery.html.j2")


def _arranged(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """By prompt, finished or not, and scorer; then people by their mean gain, the largest first, runs side by side."""
    gains: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for o in outcomes:
        if o.finished and o.gain is not None:
            gains[_person(o.trajectory)].append(o.gain)
    means = {person: fmean(values) for person, values in gains.items()}
    prompts = _places(o.trajectory.prompt_id for o in outcomes)
    scorers = _places(o.trajectory.scorer for o in outcomes)
    users = _places(o.trajectory.user for o in outcomes)

    def place(o: Outcome) -> tuple[float, ...]:
        t, gain = o.trajectory, means.get(_person(o.trajectory)) if o.finished else o.gain
        loss = math.inf if gain is None else -gain
        return prompts[t.prompt_id], not o.finished, scorers[t.scorer], loss, users[t.user], t.run

    return sorted(outcomes, key=place)


def _person(trajectory: Trajectory) -> tuple[str, str, str]:
    return trajectory.prompt_id, trajectory.scorer, trajectory.user


def _places(names: Iterable[str]) -> dict[str, int]:
    """Each name with its place in the order of their first appearance."""
    return {name: place for place, name in enumerate(dict.fromkeys(names))}


def _kinds(outcomes: Sequence[Outcome]) -> list[tuple[list[str], int]]:
    """The pictures of the overviews, which are large, and those of the steps."""
    overview = [str(best.image) for o in outcomes if (bests := o.bests) for best in (bests[0], bests[-1])]
    return [(overview, LARGE_PX), ([str(best.image) for o in outcomes for best in o.search_bests], SMALL_PX)]


def _parts(outcomes: Sequence[Outcome]) -> list[Sequence[Outcome]]:
    """The outcomes of each page; one page at least."""
    return [outcomes[at : at + MOST_ROWS] for at in range(0, len(outcomes), MOST_ROWS)] or [()]


def _page_name(number: int) -> str:
    return "gallery.html" if number == 1 else f"gallery-{number}.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A prompt in the table of contents."""

    number: int
    prompt: str
    page: int
    """The first page that has rows of it."""


def _contents(parts: Sequence[Sequence[Outcome]]) -> dict[str, _Entry]:
    entries: dict[str, _Entry] = {}
    for page, part in enumerate(parts, start=1):
        for trajectory in (outcome.trajectory for outcome in part):
            if trajectory.prompt_id not in entries:
                number = len(entries) + 1
                entries[trajectory.prompt_id] = _Entry(number=number, prompt=trajectory.base_prompt, page=page)
    return entries


def _whom(outcomes: Sequence[Outcome]) -> str:
    """Whom the run has steered for: "person", "group" or "person or group"."""
    users = {o.trajectory.user for o in outcomes if o.trajectory.user_ids}
    kinds = [kind for kind, there in (("person", False), ("group", True)) if any(is_group(u) == there for u in users)]
    return " or ".join(kinds) or "person"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """The best after one iteration, and its gain over the best before: 0 where that was kept."""

    number: int
    best: Best
    gain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One trajectory as the page shows it."""

    anchor: str
    outcome: Outcome
    who: str
    about: str
    known: str
    """How well the predictor knows the person; empty where nobody can say."""
    gain_error: float | None
    uncertain: bool
    """Whether the gain is below its uncertainty."""
    variant: str
    """Scorer and run, where the run has several; else empty."""
    bests: Sequence[Best]
    steps: list[_Step]
    diff: list[Piece]

    @property
    def broken(self) -> bool:
        return not self.outcome.finished

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
    def remarks(self) -> list[str]:
        """Whom the winner was rendered for, its score with fresh seeds, and the guards' warnings."""
        lines, again = [], self.outcome.reseeded
        if self.gain_error is not None and self.gain:
            size = f"±{_score(self.gain_error)}"
            small = f"The gain is smaller than its uncertainty, {size}."
            lines.append(small if self.uncertain else f"The gain is uncertain by {size}.")
        if self.bests and self.bests[-1].proposed_for not in (EVERYBODY, self.outcome.trajectory.user):
            lines.append(f"From the pool: rendered for {shown_name(self.bests[-1].proposed_for)}.")
        if again is not None:
            before, after = again.means
            seeds = "1 fresh seed" if len(again.seeds) == 1 else f"{len(again.seeds)} fresh seeds"
            if math.isnan(before):
                refused = next(image.error for image in (*again.initial, *again.final) if image.error)
                lines.append(f"With {seeds} nothing could be compared: {refused}.")
            else:
                lines.append(f"With {seeds}: {_score(after)}, the base prompt {_score(before)}.")
        return lines + [f"Guard – {warning}." for warning in self.outcome.warnings]

    @property
    def ending(self) -> str:
        rounds = len(self.steps)
        if self.outcome.stop_reason is StopReason.ITERATIONS:
            return f"All {rounds} iterations used."
        if self.outcome.stop_reason is StopReason.PATIENCE:
            found = max((step.number for step in self.steps if step.gain), default=0)
            return f"Stopped after iteration {rounds}: the last {rounds - found} found nothing better."
        if self.outcome.stop_reason is StopReason.CHOSEN:
            return f"Chosen by the person themselves, {max(0, self.outcome.searched - 1)} rounds."
        reason = self.outcome.stopped_by
        return reason[:1].upper() + reason[1:]


@dataclass(frozen=True, slots=True)
class _Labels:
    """What tells a row from the others of its user and prompt: scorer, run, or both."""

    scorer: bool
    run: bool

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> "_Labels":
        return cls(
            scorer=len({o.trajectory.scorer for o in outcomes}) > 1, run=len({o.trajectory.run for o in outcomes}) > 1
        )


def _rows(outcomes: Sequence[Outcome], page: Page, labels: _Labels, first: int) -> list[_Row]:
    rows = []
    for number, outcome in enumerate(outcomes, start=first):
        trajectory, bests = outcome.trajectory, outcome.bests
        variant = [trajectory.scorer] * labels.scorer + [f"run {trajectory.run}"] * labels.run
        rows.append(
            _Row(
                anchor=f"t{number}",
                outcome=outcome,
                who="everyone" if trajectory.user == "*" else shown_name(trajectory.user),
                about=_about(trajectory, page.people),
                known=page.known.get(trajectory.user, ""),
                gain_error=page.gain_errors.get(trajectory.id),
                uncertain=below_its_uncertainty(outcome, page.gain_errors),
                variant=", ".join(variant),
                bests=bests,
                steps=[
                    _Step(number=at, best=later, gain=_gain(earlier, later))
                    for at, (earlier, later) in enumerate(pairwise(outcome.search_bests), start=1)
                ],
                diff=word_diff(trajectory.base_prompt, bests[-1].prompt) if bests else [],
            )
        )
    return rows


def _about(trajectory: Trajectory, people: Mapping[str, str]) -> str:
    if is_group(trajectory.user):
        size = len(trajectory.user_ids)
        return f"the mean of {size} people" if size > 1 else "a group of one person"
    return people.get(trajectory.user, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """The rows of one prompt."""

    number: int
    """Of the prompt in the whole run."""
    prompt: str
    rows: list[_Row]

    @property
    def initial(self) -> Best | None:
        """The base prompt's image, which all rows share because a prompt has one image seed."""
        return next((row.bests[0] for row in self.rows if row.bests), None)

    @property
    def initial_scores(self) -> list[float]:
        """In rising order; empty where the scores are of several scorers, each with a scale of its own."""
        if len({row.outcome.trajectory.scorer for row in self.rows}) > 1:
            return []
        return sorted(row.bests[0].score for row in self.rows if row.bests)


def _sections(rows: Sequence[_Row], contents: Mapping[str, _Entry]) -> list[_Section]:
    by_prompt: dict[str, list[_Row]] = {}
    for row in rows:
        by_prompt.setdefault(row.outcome.trajectory.prompt_id, []).append(row)
    return [
        _Section(number=contents[prompt_id].number, prompt=contents[prompt_id].prompt, rows=rows)
        for prompt_id, rows in by_prompt.items()
    ]


def _mean_gains(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, float]]:
    """Each scorer with its mean gain from initial to final; scorers have scales of their own."""
    for scorer in dict.fromkeys(o.trajectory.scorer for o in outcomes):
        gains = [o.gain for o in outcomes if o.trajectory.scorer == scorer]
        if any(gain is not None for gain in gains):
            yield scorer, fmean(gain for gain in gains if gain is not None)


def _gain(earlier: Best, later: Best) -> float:
    return later.score - earlier.score


def _score(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def _change(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def _csp_hash(script: str) -> str:
    """The CSP source expression that allows exactly this inline script."""
    return f"'sha256-{base64.b64encode(sha256(script.encode()).digest()).decode()}'"
