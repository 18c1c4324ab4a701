"""An analysis as elo.json and elo.parquet. JSON has no nan and no infinity: such ends are null."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from math import isfinite
from operator import attrgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from studies.elo.analysis import Report
from studies.elo.inference.group_elo import GroupElo
from studies.elo.inference.intervals import CLUSTERED, MEANINGS


def as_dict(report: Report) -> dict[str, Any]:
    """What elo.json holds; conditions and pairs in the order of Elo, best first."""
    return {
        "conditions": _flat(report.conditions),
        "pairs": _flat(report.pairs),
        "settings": settings_of(report),
        "warnings": list(report.warnings),
        "rank_sets": {r.condition: [r.best, r.worst] for r in report.ranks},
        "intervals": {to: _plain(ends) for to, ends in report.intervals.items()},
        "wins": report.wins,
        "ties": report.ties,
        "both_bad": {"votes": sum(report.both_bad.values()) // 2, "by_condition": dict(report.both_bad)},
        "tie_parameter": report.tie_parameter,
        "side_bias": _plain(report.side),
        "test_retest": _plain(report.retest),
        "agreement": _plain(report.agreement),
        "alignment": _plain(report.alignment),
        "controls": _plain(report.controls),
        "stopping": {"width": _plain(report.width_goal), "best": _plain(report.best_claim)},
        "per_participant": _by_group(report.by_participant, report.participants, report.names),
        "per_prompt": _by_group(report.by_prompt, report.prompts, report.names),
    }


def settings_of(report: Report) -> dict[str, Any]:
    """How the votes were analysed, and how many there were."""
    to = report.options.generalise_to
    return {
        "ties": report.options.ties,
        "generalise_to": to,
        "intervals_and_tests_hold_for": MEANINGS[to],
        "level": 0.95,
        "prior": report.options.prior,
        "prior_share": round(report.prior_share, 4),
        "controls": [effect.control for effect in report.controls],
        "only_conditions": list(report.options.conditions) if report.options.conditions else None,
        "votes": report.votes,
        "participants": len(report.participants) if report.participant_known else None,
        "prompts": len(report.prompts) if report.prompt_known else None,
        "worth_equal_participants": round(report.sample.people, 1),
        "worth_equal_prompts": round(report.sample.prompts, 1),
        "largest_part": report.options.largest_part,
        "tests": f"Wald, {CLUSTERED[to]}, t, Holm",
        "scale": "400 Elo a factor of ten in odds, mean 1000",
    }


def write_json(report: Report, path: Path) -> Path:
    """elo.json, one row per line; the same votes and settings give the same bytes."""
    line = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode

    def lines(value: Any) -> str:
        if isinstance(value, list) and value and isinstance(value[0], dict):
            key = line(next(iter(value[0])))  # after a row's end and beginning: no string can hold all three
            return "[\n    " + line(value)[1:-1].replace(f"}}, {{{key}: ", f"}},\n    {{{key}: ") + "\n  ]"
        if isinstance(value, list) and value:
            return "[\n    " + ",\n    ".join(map(line, value)) + "\n  ]"
        if isinstance(value, dict) and value:
            return "{\n    " + ",\n    ".join(f"{line(key)}: {line(own)}" for key, own in value.items()) + "\n  }"
        return line(value)

    parts = (f"  {line(name)}: {lines(value)}" for name, value in as_dict(report).items())
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", "utf-8")
    return path


def write_parquet(report: Report, path: Path) -> Path:
    """elo.parquet: one row a condition, with its rank set."""
    ranks = {r.condition: {"rank_best": r.best, "rank_worst": r.worst} for r in report.ranks}
    pq.write_table(pa.Table.from_pylist([asdict(c) | ranks[c.condition] for c in report.conditions]), path)
    return path


def _by_group(groups: GroupElo | None, labels: tuple[str, ...], names: tuple[str, ...]) -> dict[str, Any] | None:
    if groups is None:
        return None
    return {
        "spread_elo": groups.spread,
        "elo": {
            label: {"votes": int(votes), "elo": dict(zip(names, map(float, elo), strict=True))}
            for label, votes, elo in zip(labels, groups.votes, groups.elo, strict=True)
        },
    }


def _flat(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Dataclasses of words and numbers, of which there may be 50,000."""
    if not rows:
        return []
    names = tuple(field.name for field in fields(rows[0]))
    numbers = [name for name in names if isinstance(getattr(rows[0], name), float)]
    found = [dict(zip(names, values, strict=True)) for values in map(attrgetter(*names), rows)]
    for row in found:
        for name in numbers:
            if not isfinite(row[name]):
                row[name] = None
    return found


def _plain(value: Any) -> Any:
    """As JSON has it: no dataclasses, tuples, nan or infinity."""
    if isinstance(value, float):
        return float(value) if isfinite(value) else None
    if isinstance(value, str | int):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {str(key): _plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    return value
