"""The report folder of an analysis: elo.json, elo.parquet, elo.svg and report.html.

report.html stands alone and opens from disk: its figures and pictures are inside, it has no script, and its content
policy forbids every request. The caveats come before the numbers.
"""

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from studies.elo.analysis import ConditionElo, PairTest, Report
from studies.elo.inference.group_elo import GroupElo
from studies.elo.inference.intervals import CLUSTERED, MEANINGS, Generalisation
from studies.elo.reporting.figure import MINUS, calibration_figure, elo_figure
from studies.elo.reporting.records import settings_of, write_json, write_parquet
from studies.elo.reporting.text import p_value, stopping_of

THUMBNAIL_PX = 320
MOST_PAIRS_SHOWN = 200
MOST_GROUPS_SHOWN = 200
MOST_MATRIX = 20
"""Conditions in the win matrix; a larger one can't be read, and elo.json has it."""

HOLDS: Mapping[Generalisation, str] = {
    "people+prompts": (
        "Intervals and p values hold for other people and other prompts: both participants and prompts count as drawn "
        "from many like them (two-way clustered by participant and prompt)."
    ),
    "people": (
        "Intervals and p values hold for other people, but for these very prompts only: participants count as drawn "
        "from many like them (clustered by participant), prompts as given."
    ),
    "prompts": (
        "Intervals and p values hold for other prompts, but for these very people only: prompts count as drawn from "
        "many like them (clustered by prompt), participants as given."
    ),
    "these": (
        "Intervals and p values hold for these very people and prompts only: they say how the same people, voting once "
        "more on the same prompts, might vote by chance."
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A picture that participants saw, for the report to show.

    Example:

        Example(prompt="A lighthouse at dusk", condition="initial", png=path.read_bytes())
    """

    prompt: str
    condition: str
    png: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTable:
    """Elo by participant or prompt, as the report shows it."""

    what: str
    spread: float
    rows: list[tuple[str, int, list[float]]]
    left_out: int


def write_report(report: Report, folder: Path, examples: Sequence[Example] = (), *, title: str = "") -> Path:
    """Write all four files into a folder, which is made if it is not there, and return the path of report.html."""
    folder.mkdir(parents=True, exist_ok=True)
    figure = elo_figure(report)
    write_json(report, folder / "elo.json")
    write_parquet(report, folder / "elo.parquet")
    (folder / "elo.svg").write_text(figure, "utf-8")
    path, temporary = folder / "report.html", folder / ".report.html.tmp"
    temporary.write_text(render(report, figure, examples, title=title), "utf-8")
    temporary.replace(path)
    return path


def render(report: Report, figure: str, examples: Sequence[Example] = (), *, title: str = "") -> str:
    """The page as HTML."""
    environment = Environment(
        loader=PackageLoader("studies.elo.reporting", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    digits = _digits(report.alignment.bins[-1].margin_high) if report.alignment else 0
    environment.filters["margin"] = lambda value: f"{value:.{digits}f}"
    environment.filters |= {"elo": _elo, "change": _change, "share": _share, "number": _number}
    environment.filters |= {"p": _p, "p_value": p_value}
    return environment.get_template("report.html.j2").render(
        title=title or "Who prefers what",
        report=report,
        figure=Markup(figure),
        calibration=Markup(calibration_figure(report.alignment)) if report.alignment else None,
        lede=lede(report),
        ranks={r.condition: str(r.best) if r.best == r.worst else f"{r.best}–{r.worst}" for r in report.ranks},
        holds=HOLDS[report.options.generalise_to],
        meaning=MEANINGS[report.options.generalise_to],
        clustered=CLUSTERED[report.options.generalise_to],
        meanings=MEANINGS,
        names=[c.condition for c in report.conditions],
        pairs=report.pairs[:MOST_PAIRS_SHOWN],
        matrix=len(report.conditions) <= MOST_MATRIX,
        groups=list(_groups(report)),
        examples=[(prompt, list(own)) for prompt, own in groupby(map(_shown, examples), key=lambda one: one[0])],
        stopping=stopping_of(report),
        settings=settings_of(report),
    )


def lede(report: Report) -> str:
    """The finding in a sentence or two: who leads, and whether by more than chance."""
    best, second = report.conditions[:2]
    lead = next(p for p in report.pairs if (p.a, p.b) == (best.condition, second.condition))
    chance = 1 / (1 + 10 ** (-lead.difference / 400))
    sentence = (
        f"“{best.condition}” comes first with {_elo(best.elo)} Elo{_between(best)}. It would be preferred to "
        f"“{second.condition}”, the next, {chance:.0%} of the time"
    )
    meaning = MEANINGS[report.options.generalise_to]
    if math.isnan(lead.p_holm):
        return f"{sentence}; these votes can't tell how far that holds for {meaning}."
    if lead.p_holm < 0.05:
        return f"{sentence}: more than chance explains, for {meaning} ({p_value(lead.p_holm)})."
    clear = _clear_of(report.pairs, best)
    beaten = ", ".join(f"“{name}”" for name in clear) or "none of the others"
    unsure = f"{sentence}, which chance alone could explain ({p_value(lead.p_holm)})"
    return f"{unsure}. For {meaning} it clearly beats {beaten}."


def _clear_of(pairs: Sequence[PairTest], best: ConditionElo) -> list[str]:
    return [p.b for p in pairs if p.a == best.condition and p.p_holm < 0.05]


def _between(condition: ConditionElo) -> str:
    if not (math.isfinite(condition.ci_low) and math.isfinite(condition.ci_high)):
        return ""
    return f" (95% interval {_elo(condition.ci_low)} to {_elo(condition.ci_high)})"


def _groups(report: Report) -> Iterator[GroupTable]:
    columns = [report.names.index(c.condition) for c in report.conditions]
    found: list[tuple[str, GroupElo | None, tuple[str, ...]]] = [
        ("participant", report.by_participant, report.participants),
        ("prompt", report.by_prompt, report.prompts),
    ]
    for what, groups, labels in found:
        if groups is not None:
            rows = [
                (label, int(votes), [float(elo[n]) for n in columns])
                for label, votes, elo in zip(labels, groups.votes, groups.elo, strict=True)
            ]
            left_out = max(0, len(rows) - MOST_GROUPS_SHOWN)
            yield GroupTable(what=what, spread=groups.spread, rows=rows[:MOST_GROUPS_SHOWN], left_out=left_out)


def _shown(example: Example) -> tuple[str, str, str]:
    """Prompt, condition and a small picture as a data URL."""
    from PIL import Image

    with Image.open(io.BytesIO(example.png)) as image:
        small = image.convert("RGB")
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    small.save(encoded, "WEBP", quality=80)
    data = base64.b64encode(encoded.getvalue()).decode()
    return example.prompt, example.condition, f"data:image/webp;base64,{data}"


def _digits(most: float) -> int:
    """Decimals that tell margins apart of which this is the largest."""
    return max(0, 2 - math.floor(math.log10(most)))


def _elo(value: float) -> str:
    if math.isnan(value):
        return "none"
    return f"{value:.0f}".replace("-", MINUS) if math.isfinite(value) else "open"


def _change(value: float) -> str:
    return f"{value:+.0f}".replace("-", MINUS) if math.isfinite(value) else _elo(value)


def _share(value: float) -> str:
    return "none" if math.isnan(value) else f"{value:.1%}"


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.2f}".replace("-", MINUS)


def _p(value: float | None) -> str:
    """A p value in a column of them."""
    if value is None or math.isnan(value):
        return "none"
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
