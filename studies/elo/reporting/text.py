"""The report in a few lines of plain text, for the terminal."""

import math

from studies.elo.analysis import Report
from studies.elo.inference.intervals import MEANINGS
from studies.elo.inference.stopping import BestClaim, WidthGoal

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
    lines += stopping_of(report)
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


def stopping_of(report: Report) -> list[str]:
    """Whether the study may be stopped, in a sentence or two for each rule that was asked for."""
    found = []
    if report.width_goal is not None:
        found.append(_width(report, report.width_goal))
    if report.best_claim is not None:
        found.append(_best(report.best_claim))
    return found


def _width(report: Report, goal: WidthGoal) -> str:
    if math.isnan(goal.widest):
        return f"Whether all intervals are {goal.width:g} Elo wide at most can't be said, because some can't be given."
    if goal.reached:
        return (
            f"Stop: no interval is wider than {goal.widest:.0f} Elo, and {goal.width:g} was asked for. To stop on "
            "width leaves intervals as they are, where what is shown does not depend on who leads."
        )
    told = f"Go on: the interval of {goal.condition} is {goal.widest:.0f} Elo wide, and {goal.width:g} was asked for"
    if goal.times_people is None or goal.times_prompts is None:
        return f"{told}; no study up to a thousand times as large is expected to reach that."
    votes = math.ceil(report.votes * (goal.times_people - 1))
    people = math.ceil(len(report.participants) * goal.times_people) - len(report.participants)
    by = f"{votes:,} more votes, by {people:,} more participants who vote as often" if report.participant_known else (
        f"{votes:,} more votes"
    )  # fmt: skip
    if goal.times_prompts <= 1:
        return f"{told}; expected to take about {by} on the same prompts."
    prompts = math.ceil(len(report.prompts) * goal.times_prompts)
    return (
        f"{told}; no number of participants is expected to do on {len(report.prompts):,} prompts: about {by} on "
        f"{prompts:,} prompts."
    )


def _best(claim: BestClaim) -> str:
    planned = f"at one of {claim.looks} looks, if they were fixed before the first vote (p < {claim.level:.2g} at each)"
    if claim.claimed:
        return f"The best is {claim.leader}: it beats each other {planned}; {p_value(claim.p)} at most."
    return f"No best yet: {claim.leader} leads, but is not told from {', '.join(claim.rivals)} {planned}."


def p_value(p: float) -> str:
    """A p value as it is written: never 0."""
    if math.isnan(p):
        return "no p value"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _end(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else "none" if math.isnan(value) else "open"
