"""The two figures of an evaluation, as SVG with real text; the same numbers give the same file.

Each line is labelled at its end. Colours are those of Okabe and Ito (2008), safe for colour-blind readers. Figures are
720 pixels wide.
"""

import html
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Estimate = Mapping[str, float | None]
"""value, ci_low, ci_high; None where undefined."""

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666", "#8C6D1F")
_INK, _GREY, _GRID = "#222222", "#5C5C5C", "#E4E4E4"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pamela",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["Arial", "Helvetica", "DejaVu Sans"],
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": _GREY,
    "axes.labelcolor": _GREY,
    "axes.labelsize": 9,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.titlepad": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}
_WIDTH_IN = 7.5
_LEFT, _RIGHT = 0.085, 0.715
_LABEL_GAP_PT = 12.5
_MAX_LABEL = 24
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A named curve; points without a value are gaps."""

    name: str
    x: Sequence[float]
    y: Sequence[Estimate]
    main: bool = False

    def values(self, part: str) -> list[float]:
        return [math.nan if (value := estimate[part]) is None else value for estimate in self.y]


def margin_figure(result: Mapping[str, Any]) -> str:
    """Pairwise accuracy by the least difference of two ratings, and how many pairs are left (paper, figure 11)."""
    rows = result["margins"]
    margins = [row["margin"] for row in rows]
    names = rows[0]["accuracy"] if rows else []
    lines = [
        _Line(
            name="this model" if name == "model" else name,
            x=margins,
            y=[row["accuracy"][name] for row in rows],
            main=name == "model",
        )
        for name in names
    ]
    title = "Does accuracy rise where people are sure?"
    about = (
        "Pairs of images that a person rated at least so far apart: the share ordered as the person did,\n"
        f"mean over users with 95% intervals, {result['split']}"
    )

    def draw(figure: "Figure") -> None:
        from matplotlib.ticker import EngFormatter

        upper = figure.add_axes((_LEFT, 0.335, _RIGHT - _LEFT, 0.465))
        lower = figure.add_axes((_LEFT, 0.125, _RIGHT - _LEFT, 0.125), sharex=upper)
        _curves(upper, lines, least=0.5, number="{:.2f}")
        upper.axhline(0.5, color=_GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        _axis_title(upper, "Pairwise accuracy")
        upper.annotate(
            "chance", (0, 0.5), (3, 3), xycoords=("axes fraction", "data"), textcoords="offset points", color=_GREY
        )
        upper.tick_params(labelbottom=False)
        pairs = [row["n_pairs"] for row in rows]
        lower.bar(margins, pairs, width=0.6 * _step(margins), color="#B8B8B8", linewidth=0)
        _axis_title(lower, "Pairs left")
        lower.set_ylim(0, max(pairs, default=0) * 1.1 or 1)
        lower.yaxis.set_major_locator(_locator(2))
        lower.yaxis.set_major_formatter(EngFormatter(sep=""))
        lower.grid(visible=False, axis="x")
        lower.set_xlabel("least difference between the two ratings (share of the scale)")

    return _svg(draw, 4.9, title, about, lines)


def context_figure(result: Mapping[str, Any]) -> str:
    """SROCC by the number of context ratings, and its gain over none (paper, figure 12)."""
    rows = sorted(result["contexts"], key=lambda row: row["k"])
    rules = sorted({row["rule"] for row in rows})

    def lines(part: str) -> list[_Line]:
        own = {rule: [row for row in rows if row["rule"] == rule and row.get(part)] for rule in rules}
        return [
            _Line(
                name=f"{rule} rule" if rule == "default" else f"{rule}’s rule",
                x=[row["k"] for row in own[rule]],
                y=[row[part] for row in own[rule]],
                main=rule == "default",
            )
            for rule in rules
        ]

    title = "How many ratings does it take to adapt to a new person?"
    about = f"Mean over the users of {result['split']}, none of whom was in training, with 95% intervals"

    def draw(figure: "Figure") -> None:
        upper = figure.add_axes((_LEFT, 0.505, _RIGHT - _LEFT, 0.325))
        lower = figure.add_axes((_LEFT, 0.11, _RIGHT - _LEFT, 0.31), sharex=upper)
        _curves(upper, lines("srocc"), number="{:.3f}")
        _curves(lower, lines("gain"), least=0, number="{:+.3f}")
        lower.axhline(0, color=_GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        _axis_title(upper, "SROCC within a user’s ratings")
        _axis_title(lower, "Gain in SROCC over knowing no rating of the person (paired)")
        upper.tick_params(labelbottom=False)
        lower.set_xticks(sorted({row["k"] for row in rows}))
        lower.set_xlabel("ratings that the person has given (images)")

    return _svg(draw, 5.4, title, about, [*lines("srocc")])


def _curves(axes: "Axes", lines: Sequence[_Line], *, number: str, least: float | None = None) -> None:
    """Bands, lines, and at the right end of each its name and last value."""
    ends: list[tuple[float, float, _Line, str]] = []
    for line, colour in zip(lines, _colours(lines), strict=True):
        value, low, high = (line.values(part) for part in ("value", "ci_low", "ci_high"))
        order = 3 if line.main else 2
        axes.fill_between(line.x, low, high, color=colour, alpha=0.2 if line.main else 0.09, linewidth=0, zorder=order)
        axes.vlines(line.x, low, high, color=colour, alpha=0.35, linewidth=0.8, zorder=order)
        axes.plot(
            line.x,
            value,
            color=colour,
            linewidth=2.2 if line.main else 1.3,
            marker="o",
            markersize=4 if line.main else 2.6,
            zorder=order + 2,
        )
        known = [(x, y) for x, y in zip(line.x, value, strict=True) if not math.isnan(y)]
        if known:
            ends.append((*known[-1], line, colour))
    if least is not None:
        bottom, top = axes.get_ylim()
        axes.set_ylim(min(bottom, least - 0.03 * (top - least)), max(top, least))
    axes.margins(x=0.03)
    axes.yaxis.set_major_locator(_locator(5))
    _name_ends(axes, ends, number)


def _name_ends(axes: "Axes", ends: Sequence[tuple[float, float, _Line, str]], number: str) -> None:
    bottom, top = axes.get_ylim()
    figure = axes.get_figure(root=True)
    assert figure is not None
    height_pt = axes.get_position().height * figure.get_size_inches()[1] * 72
    at = _spread([(y - bottom) / (top - bottom) * height_pt for _, y, _, _ in ends], _LABEL_GAP_PT, height_pt)
    for (x, y, line, colour), place in zip(ends, at, strict=True):
        where = 1.035, place / height_pt
        axes.annotate(
            "",
            (x, y),
            (where[0] - 0.005, where[1]),
            textcoords="axes fraction",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8, "alpha": 0.7, "shrinkA": 0, "shrinkB": 2},
            annotation_clip=False,
        )
        axes.text(
            *where,
            f"{number.format(y).replace('-', MINUS)} {_shortened(line.name)}",
            transform=axes.transAxes,
            verticalalignment="center_baseline",
            color=colour if line.main else _INK,
            fontweight="bold" if line.main else "normal",
        )


def _spread(wanted: Sequence[float], gap: float, height: float) -> list[float]:
    """Positions near the wanted ones and in their order, at least `gap` apart, and within the height if they fit."""
    order = sorted(range(len(wanted)), key=lambda n: (wanted[n], n))
    places = [0.0] * len(wanted)
    lowest = -math.inf
    for n in order:
        places[n] = lowest = max(wanted[n], lowest + gap)
    highest = max(height, gap * (len(wanted) - 1))
    for n in reversed(order):
        places[n] = highest = min(places[n], highest)
        highest -= gap
    return places


def _colours(lines: Sequence[_Line]) -> list[str]:
    """The first colour for the main line, the others in turn."""
    others = (_COLOURS[1 + n % (len(_COLOURS) - 1)] for n in range(len(lines)))
    return [_COLOURS[0] if line.main else next(others) for line in lines]


def _shortened(name: str) -> str:
    plain = " ".join(name.replace("_", " ").split())
    return plain if len(plain) <= _MAX_LABEL else f"{plain[: _MAX_LABEL - 1].rstrip()}…"


def _axis_title(axes: "Axes", text: str) -> None:
    """The y axis' label, horizontal above the axes."""
    axes.set_title(text, color=_GREY, fontweight="bold")


def _step(positions: Sequence[float]) -> float:
    return min((b - a for a, b in pairwise(positions)), default=0.05)


def _locator(most: int) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(most, steps=[1, 2, 2.5, 5, 10])


def _svg(draw: Any, height_in: float, title: str, about: str, lines: Sequence[_Line]) -> str:
    """The figure with a heading above; curves without any value are named below."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    missing = [line.name for line in lines if all(math.isnan(value) for value in line.values("value"))]
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        figure = Figure((_WIDTH_IN, height_in), facecolor="white")
        draw(figure)
        figure.text(0.02, 0.975, title, fontsize=12.5, fontweight="bold", verticalalignment="top")
        figure.text(0.02, 0.922, about, color=_GREY, verticalalignment="top", linespacing=1.25)
        if missing:
            note = f"Not defined on this split: {', '.join(map(_shortened, missing))}"
            figure.text(0.02, 0.012, note, color=_GREY, fontsize=8)
        with io.StringIO() as file:
            figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
            text = file.getvalue()
    about = " ".join(about.split())
    drawn, rest = text.split("<svg ", 1)
    described = rest.replace("</title>", f"</title>\n <desc>{html.escape(about)}</desc>", 1)
    return f'{drawn}<svg role="img" {described}'
