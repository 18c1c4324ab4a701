"""The report in a few lines of plain text, for the terminal."""

import math

from studies.elo.analysis import Report
from studies.elo.inference.generalisation import MEANINGS

_MOST_PAIRS_TOLD = 28


def table_of(report: Report) -> str:
    """The report in a few lines of plain text, caveats first."""
    lines = [f"! {warning}" for warning in report.warnings]
    lines += [""] * bool(lines)
    people = f"{len(report.participants):,}" if report.participant_known else "unknown"
    prompts = f"{len(report.prompts):,}" if report.prompt_known else "unknown"
    lines.append(
        f"Elo (mean 1000) of {report.votes:,} votes by {people} participants on {prompts} prompts, "
        f"95% intervals for {MEANINGS[report.options.generalise_to]}"
    )
    width = max(len(c.condition) for c in report.conditions)
    ranks = {r.condition: str(r.best) if r.best == r.worst else f"{r.best}–{r.worst}" for r in report.ranks}
    lines.append(f"  {'':{width}}    Elo  95% interval    rank     wins   losses     ties")
    for c in report.conditions:
        interval = f"[{_end(c.ci_low)}, {_end(c.ci_high)}]"
        lines.append(
            f"  {c.condition:{width}}  {c.elo:5.0f}  {interval:14}  {ranks[c.condition]:>5}"
            f"  {c.wins:7,}  {c.losses:7,}  {c.ties:7,}"
        )
    for effect in report.controls:
        lines.append(
            f"Held equal: {effect.control}, of which one standard deviation ({effect.sd:.3g}) is worth "
            f"{effect.elo:+.0f} Elo [{_end(effect.ci_low)}, {_end(effect.ci_high)}], {p_value(effect.p)}"
        )
    lines.append("Differences (p by Holm)")
    pairs = [(f"{p.a} − {p.b}", p) for p in report.pairs[:_MOST_PAIRS_TOLD]]
    width = max(len(name) for name, _ in pairs)
    for name, p in pairs:
        interval = f"[{_end(p.ci_low)}, {_end(p.ci_high)}]"
        lines.append(f"  {name:{width}}  {p.difference:5.0f}  {interval:14}  {p_value(p.p_holm)}")
    if len(report.pairs) > len(pairs):
        lines.append(f"  and {len(report.pairs) - len(pairs):,} more: --out or --json has all")
    return "\n".join(lines)


def p_value(p: float) -> str:
    """A p value as it is written: never 0."""
    if math.isnan(p):
        return "no p value"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _end(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else "none" if math.isnan(value) else "open"
