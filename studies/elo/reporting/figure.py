"""elo.svg: Elo by condition with its interval, as the paper's figure 8; and the reward model's calibration curve.

Plain SVG with its own style, which follows the reader's light or dark theme; text stays text, and the same numbers
give the same file. An interval that is open runs to the edge of the figure; one that is missing is not drawn.
"""

import math
from collections.abc import Iterator, Sequence
from html import escape

from studies.elo.analysis import ConditionElo, Report
from studies.elo.diagnostics.alignment import Alignment
from studies.elo.inference.intervals import MEANINGS

MINUS = "\N{MINUS SIGN}"

_STYLE = """
  .elo text { font: 15px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #64635f; }
  .elo .name { fill: #1b1b1a; }
  .elo .value { fill: #1b1b1a; font-weight: 600; paint-order: stroke; stroke: #fdfdfc; stroke-width: 5px; }
  .elo .grid { stroke: #e3e2de; } .elo .mean { stroke: #64635f; stroke-dasharray: 4 4; }
  .elo .bar { stroke: #1c6640; stroke-width: 3; stroke-linecap: round; }
  .elo .dot { fill: #1c6640; } .elo .curve { fill: none; stroke: #1c6640; stroke-width: 1.5; }
  @media (prefers-color-scheme: dark) {
    .elo text { fill: #a5a49e; } .elo .name, .elo .value { fill: #ebeae7; } .elo .value { stroke: #161615; }
    .elo .grid { stroke: #353431; } .elo .mean { stroke: #a5a49e; }
    .elo .bar, .elo .curve { stroke: #8cd2a4; } .elo .dot { fill: #8cd2a4; }
  }
"""
_LEFT, _TOP, _HEIGHT = 56, 34, 300
_LONGEST_LEVEL_NAME = 11
_MOST_LEVEL_NAMES = 6
_LONGEST_NAME = 20
_LETTER_PX = 9
"""As wide as a letter of the widest usual font."""
_TITLE_LETTER_PX = 7.8
"""As wide as the mean letter of a sentence in that font."""


def elo_figure(report: Report) -> str:
    """The conditions from best to worst, each a dot with its interval; Elo goes upwards."""
    conditions = report.conditions
    low, high, step = _range([value for c in conditions for value in (c.elo, c.ci_low, c.ci_high)] + [1000.0])
    labels = [_shortened(c.condition) for c in conditions]
    turned = len(labels) > _MOST_LEVEL_NAMES or max(map(len, labels)) > _LONGEST_LEVEL_NAME
    column = 92 if not turned else 46
    reach = [0.71 * _LETTER_PX * len(label) * turned for label in labels]
    left = max(_LEFT, *(own - column * (n + 0.5) for n, own in enumerate(reach)))
    title = f"Elo, {_interval_name(report)}"
    width = max(left + max(column * len(labels), 300) + 16, _TITLE_LETTER_PX * len(title))
    column = (width - left - 16) / len(labels)
    foot = 34 + max(reach)

    def y(value: float) -> float:
        return _TOP + _HEIGHT * (high - min(max(value, low), high)) / (high - low)

    def parts() -> Iterator[str]:
        yield f'<text x="0" y="14">{title}</text>'
        for n in range(round((high - low) / step) + 1):
            tick = low + n * step
            kind = "mean" if tick == 1000 else "grid"
            yield _line(kind, left, y(tick), width, y(tick))
            yield f'<text x="{left - 10:.1f}" y="{y(tick) + 5:.1f}" text-anchor="end">{tick:.0f}</text>'
        for n, (condition, label) in enumerate(zip(conditions, labels, strict=True)):
            yield from _dot(condition, left + column * (n + 0.5), y)
            at = f'x="{left + column * (n + 0.5):.1f}" y="{_TOP + _HEIGHT + 26}"'
            turn = f' transform="rotate(-45 {left + column * (n + 0.5):.1f} {_TOP + _HEIGHT + 22})"' if turned else ""
            anchor = "end" if turned else "middle"
            yield f'<text class="name" {at} text-anchor="{anchor}"{turn}>{escape(label)}</text>'

    told = "; ".join(f"{c.condition} {c.elo:.0f}{_ends(c)}" for c in conditions)
    return _svg(width, _TOP + _HEIGHT + foot, "Elo by condition", f"Best first: {told}.", parts())


def calibration_figure(found: Alignment) -> str:
    """How often the image with the higher score won, by how much higher its score was."""
    width, right = 520, 16
    most = found.bins[-1].margin_mean * 1.06

    def x(margin: float) -> float:
        return _LEFT + (width - _LEFT - right) * margin / most

    low = min(0.4, *(b.higher_won.ci_low if math.isfinite(b.higher_won.ci_low) else 1 for b in found.bins))
    low = math.floor(10 * max(0.0, low)) / 10

    def y(share: float) -> float:
        return _TOP + 0.8 * _HEIGHT * (1 - share) / (1 - low)

    def parts() -> Iterator[str]:
        yield '<text x="0" y="14">Share won by the image with the higher score</text>'
        for n in range(round(10 * low), 11):
            yield _line("mean" if n == 5 else "grid", _LEFT, y(n / 10), width, y(n / 10))
            yield f'<text x="{_LEFT - 10}" y="{y(n / 10) + 5:.1f}" text-anchor="end">{10 * n}%</text>'
        if found.slope is not None:
            points = [(m * most / 40, 1 / (1 + math.exp(-found.slope.value * m * most / 40))) for m in range(41)]
            line = " ".join(f"{x(m):.1f},{y(max(low, share)):.1f}" for m, share in points)
            yield f'<polyline class="curve" points="{line}"/>'
        for one in found.bins:
            at, share = x(one.margin_mean), one.higher_won
            if math.isfinite(share.ci_low):
                yield _line("bar", at, y(share.ci_low), at, y(share.ci_high))
            yield f'<circle class="dot" cx="{at:.1f}" cy="{y(share.value):.1f}" r="6"/>'
        step = _step(most / 5)
        for n in range(math.floor(most / step) + 1):
            yield f'<text x="{x(n * step):.1f}" y="{y(low) + 24:.1f}" text-anchor="middle">{n * step:.4g}</text>'
        yield f'<text x="{width}" y="{y(low) + 48:.1f}" text-anchor="end">score margin</text>'

    told = "; ".join(f"{b.margin_mean:.2g}: {b.higher_won.value:.0%}" for b in found.bins)
    return _svg(width, _TOP + 0.8 * _HEIGHT + 56, "Calibration of the score margin", f"By margin: {told}.", parts())


def _svg(width: float, height: float, title: str, about: str, parts: Iterator[str]) -> str:
    inner = "\n  ".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="elo" role="img" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}">\n'
        f"  <title>{escape(title)}</title>\n  <desc>{escape(about)}</desc>\n"
        f"  <style>{_STYLE}  </style>\n  {inner}\n</svg>\n"
    )


def _dot(condition: ConditionElo, at: float, y) -> Iterator[str]:
    top = condition.elo
    if not math.isnan(condition.ci_low):
        top = condition.ci_high
        yield _line("bar", at, y(condition.ci_low), at, y(condition.ci_high))
    yield f'<circle class="dot" cx="{at:.1f}" cy="{y(condition.elo):.1f}" r="6"/>'
    label = f"{condition.elo:.0f}".replace("-", MINUS)
    yield f'<text class="value" x="{at:.1f}" y="{y(top) - 12:.1f}" text-anchor="middle">{label}</text>'


def _ends(condition: ConditionElo) -> str:
    if math.isnan(condition.ci_low):
        return ""
    low, high = (f"{end:.0f}" if math.isfinite(end) else "open" for end in (condition.ci_low, condition.ci_high))
    return f" ({low} to {high})"


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _interval_name(report: Report) -> str:
    return f"with 95% intervals for {MEANINGS[report.options.generalise_to]}"


def _range(values: Sequence[float]) -> tuple[float, float, float]:
    """Ends and step of an axis that holds all finite values."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite), max(finite)
    step = _step(max((high - low) / 5, 4))
    bottom, top = step * math.floor(low / step), step * math.ceil(high / step)
    return (bottom, top, step) if top > bottom else (bottom - step, top + step, step)


def _step(least: float) -> float:
    """The least of 1, 2, 5, 10 times a power of ten that is no smaller than `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def _shortened(name: str) -> str:
    plain = " ".join(name.split())
    return plain if len(plain) <= _LONGEST_NAME else f"{plain[: _LONGEST_NAME - 1].rstrip()}…"
