"""The report of an evaluation: JSON for programs, Markdown and two figures for people.

All come from one result; an undefined number is null in the JSON and "undefined" in the Markdown. The JSON is written
last: if it is there, so are the others. The figures are drawn by `figures`.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from predictor.data.folders import write_atomically
from predictor.evaluation.figures import MINUS, context_figure, margin_figure
from predictor.metrics import METRICS, Interval

_METRIC_NAMES = {"srocc": "SROCC", "plcc": "PLCC", "pairwise_accuracy": "pairwise accuracy"}


def write_report(result: Mapping[str, Any], json_path: Path) -> list[Path]:
    """Write the JSON, and beside it <stem>.md, <stem>-margins.svg and, with contexts, <stem>-contexts.svg.

    Parameters
    ----------
    result
        As returned by `protocol.evaluate`: `split`, `n_users`, `n_images`, `n_ratings`, `user`, `population` and
        `baselines`; optionally `datasets`, `differences`, `n_users_without_correlation`, `people_and_images`,
        `margins`, `diverging`, `contexts`, `grid`, `gap`, `settings` and `warnings`. Estimates are `Interval`s or their
        `as_dict`; numbers may be NumPy's.

    Returns
    -------
    The files, the JSON last.

    Raises
    ------
    OSError
        The folder is not there or cannot be written to.
    """
    shown = plain(result)
    figures = {}
    if shown.get("margins"):
        figures["margins"] = json_path.with_name(f"{json_path.stem}-margins.svg"), margin_figure(shown)
    if shown.get("contexts"):
        figures["contexts"] = json_path.with_name(f"{json_path.stem}-contexts.svg"), context_figure(shown)
    names = {what: path.name for what, (path, _) in figures.items()}
    text = json.dumps(shown, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    files = [*figures.values(), (json_path.with_suffix(".md"), markdown(shown, names)), (json_path, text)]
    for path, content in files:
        write_atomically(path, content)
    return [path for path, _ in files]


def markdown(result: Mapping[str, Any], figures: Mapping[str, str]) -> str:
    """The report in Markdown, of a JSON-like result and the file names of its figures (`margins`, `contexts`)."""
    sections = (
        _warnings(result),
        _levels(result),
        _datasets(result),
        _differences(result),
        _people_and_images(result),
        _reliability(result),
        _margins(result, figures),
        _diverging(result),
        _contexts(result, figures),
        _grid(result),
        _gap(result),
        _settings(result),
    )
    about = (
        f"{result['n_ratings']:,} ratings of {result['n_images']:,} images by {result['n_users']:,} users. "
        "Values are followed by their 95% interval, from a bootstrap over users."
    )
    lines = [f"# Evaluation on {_cell(result['split'])}", "", about]
    for section in sections:
        lines += [part for paragraph in section for part in ("", paragraph)]
    return "\n".join(lines) + "\n"


def _warnings(result: Mapping[str, Any]) -> Iterator[str]:
    if result.get("warnings"):
        yield "## Read this first"
        yield "\n".join(f"- {_cell(warning)}" for warning in result["warnings"])


def _levels(result: Mapping[str, Any]) -> Iterator[str]:
    baselines = result["baselines"]
    for level, how in (
        (
            "user",
            "Each metric is taken within one user’s ratings, then averaged over users: does the score rank "
            "images as this person does? Pairwise accuracy is 0.5 by chance, the correlations are 0.",
        ),
        (
            "population",
            "The mean rating of each image against one score per image, which knows no person: does the score "
            "rank images as people do on average? A personal model need not win here. The intervals say how far "
            "the values would move with other people, not with other images.",
        ),
    ):
        yield f"## {level.capitalize()} level"
        yield how
        rows = [
            ("**this model**", result[level]),
            *((_cell(name), own.get(level, {})) for name, own in baselines.items()),
        ]
        yield _table(["", *_METRIC_NAMES.values()], ([name, *_estimates(own)] for name, own in rows))
        if level == "user" and result.get("n_users_without_correlation"):
            yield (
                f"{result['n_users_without_correlation']:,} of {result['n_users']:,} users have no correlation with "
                "this model, because all their ratings or all their scores are equal: its means leave them out."
            )
    undefined = [
        f"{_cell(name)} ({level} level)"
        for name, own in {"this model": result, **baselines}.items()
        for level in ("user", "population")
        if all(_missing(own.get(level, {}).get(metric)) for metric in METRICS)
    ]
    if undefined:
        yield f"Undefined, because there is no score for every rated image or nothing to rank: {'; '.join(undefined)}."


def _datasets(result: Mapping[str, Any]) -> Iterator[str]:
    if result.get("datasets"):
        counted = ("users", "images", "ratings")
        yield "## By dataset"
        yield "The user level of this model, within each of the datasets that it was measured on together."
        yield _table(
            ["dataset", *counted, *_METRIC_NAMES.values()],
            (
                [_cell(name), *(f"{own[f'n_{what}']:,}" for what in counted), *_estimates(own["user"])]
                for name, own in result["datasets"].items()
            ),
        )


def _differences(result: Mapping[str, Any]) -> Iterator[str]:
    if result.get("differences"):
        yield "## This model minus each baseline"
        yield (
            "The same users’ values subtracted, then averaged. Above 0 this model is better; an interval that "
            "holds 0 leaves it open which is."
        )
        yield _table(
            ["this model −", *_METRIC_NAMES.values()],
            ([_cell(name), *_estimates(own, signed=True)] for name, own in result["differences"].items()),
        )


def _people_and_images(result: Mapping[str, Any]) -> Iterator[str]:
    found = result.get("people_and_images")
    if found:
        yield "## For other people and other images"
        yield (
            "The same means within users, with intervals that also say how far they would move with other images: over "
            f"users, and over {found['image_folds']} folds of images. Images of one group stay together."
        )
        rows = [["**this model**", *_estimates(found["user"])]]
        rows += [
            [f"this model − {_cell(name)}", *_estimates(own, signed=True)] for name, own in found["differences"].items()
        ]
        yield _table(["", *_METRIC_NAMES.values()], rows)


def _reliability(result: Mapping[str, Any]) -> Iterator[str]:
    found = result.get("reliability")
    if found:
        yield "## Does the model know what it does not know?"
        intervals = ", ".join(
            f"{_share(row['level'])} intervals hold {_share(row['covered'])}" for row in found["intervals"]
        )
        yield (
            f"Of ratings, {intervals}. Of {found['n_pairs']:,} pairs of images that one person rated differently, how "
            "probable the predicted preference is, and how often it is right: the mean distance of both, the expected "
            f"calibration error, is {_number(found['calibration_error'])}. Ties: {_share(found['ties']['predicted'])} "
            f"predicted, {_share(found['ties']['observed'])} observed."
        )
        yield _table(
            ["predicted probability", "pairs", "mean of it", "right"],
            (
                [
                    f"{row['low']:.2f} to {row['high']:.2f}",
                    f"{row['n']:,}",
                    _number(row["predicted"]),
                    _number(row["observed"]),
                ]
                for row in found["bins"]
            ),
        )


def _share(value: float | None) -> str:
    return "undefined" if value is None else f"{100 * value:.1f}%"


def _margins(result: Mapping[str, Any], figures: Mapping[str, str]) -> Iterator[str]:
    rows = result.get("margins")
    if rows:
        names = list(rows[0]["accuracy"])
        yield "## Near-ties"
        yield (
            "Pairwise accuracy within users when only pairs count whose ratings differ by the margin or more "
            "(of a scale from 0 to 1). If it rises with the margin, errors lie among images that the person rated "
            "nearly alike."
        )
        if "margins" in figures:
            yield f"![Pairwise accuracy by margin](<{figures['margins']}>)"
        yield _table(
            ["margin", "pairs", "users", *("this model" if name == "model" else _cell(name) for name in names)],
            (
                [
                    f"{row['margin']:.2f}",
                    f"{row['n_pairs']:,}",
                    f"{row['n_users']:,}",
                    *(_estimate(row["accuracy"][name]) for name in names),
                ]
                for row in rows
            ),
        )


def _diverging(result: Mapping[str, Any]) -> Iterator[str]:
    found = result.get("diverging")
    if found:
        yield "## Diverging preferences"
        yield (
            "Pairs of images that one user orders one way and another the other way. Every score that is the same "
            "for all people reaches exactly 0.5 here, so whatever lies above it is knowledge of the person."
        )
        sampled = found.get("n_image_pairs_sampled")
        looked = f", among {sampled:,} sampled at random of {found['n_image_pairs_common']:,}" if sampled else ""
        yield (
            f"Accuracy **{_estimate(found['accuracy'])}** over {found['n_preferences']:,} preferences of "
            f"{found['n_users']:,} users on {found['n_image_pairs']:,} pairs of images{looked} "
            f"({found['replicates']:,} bootstrap replicates)."
        )
        for outcome, how in (("right", "Both users predicted rightly"), ("wrong", "Both users predicted wrongly")):
            if found.get(outcome):
                yield f"{how}, of those who disagree most (rating, and score in brackets):"
                yield _table(
                    ["image A", "image B", "user", "A", "B", "user", "A", "B"],
                    (_case(case) for case in found[outcome]),
                )


def _case(case: Mapping[str, Any]) -> Iterator[str]:
    yield from (_cell(case["image_a"]), _cell(case["image_b"]))
    for side in (case["prefers_a"], case["prefers_b"]):
        yield _cell(side["user"])
        yield from (f"{side[f'rating_{image}']:.2f} ({side[f'score_{image}']:.2f})" for image in "ab")


def _contexts(result: Mapping[str, Any], figures: Mapping[str, str]) -> Iterator[str]:
    if result.get("contexts"):
        yield "## Ratings that a new person gives"
        yield (
            "How well the model ranks for people it never trained on, by the number k of ratings that they give "
            "beforehand. The gain is the difference in SROCC to k = 0, user by user: above 0, the ratings helped."
        )
        if "contexts" in figures:
            yield f"![SROCC by the number of ratings given](<{figures['contexts']}>)"
        yield _table(
            ["rule", "k", *_METRIC_NAMES.values(), "gain in SROCC"],
            (
                [_cell(row["rule"]), str(row["k"]), *_estimates(row), _estimate(row.get("gain"), signed=True)]
                for row in result["contexts"]
            ),
        )


def _grid(result: Mapping[str, Any]) -> Iterator[str]:
    if result.get("grid"):
        yield "## The paper’s rule by its settings"
        yield (
            "As in the paper’s table 4: means over users by the ratings given (k), the training users that a new "
            "one is made of (neighbours) and the softmax temperature τ. The best of many is best partly by luck."
        )
        yield _table(
            ["k", "neighbours", "τ", *_METRIC_NAMES.values()],
            (
                [str(row["k"]), str(row["neighbours"]), f"{row['tau']:g}", *(_number(row.get(m)) for m in METRICS)]
                for row in result["grid"]
            ),
        )


def _gap(result: Mapping[str, Any]) -> Iterator[str]:
    gap = result.get("gap")
    if gap:
        yield "## Generalisation gap"
        yield (
            f"The value on {_cell(gap['seen_split'])} minus the value here, as in the paper’s table 3: what is lost "
            "on people that the model was not trained on. The smaller, the better."
        )
        yield _table([*_METRIC_NAMES.values()], [[_number(gap.get(metric), signed=True) for metric in METRICS]])


def _settings(result: Mapping[str, Any]) -> Iterator[str]:
    if result.get("settings"):
        yield "## Settings"
        yield _table(["setting", "value"], ([_cell(k), _cell(v)] for k, v in result["settings"].items()))


def _table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _estimates(values: Mapping[str, Any], *, signed: bool = False) -> list[str]:
    return [_estimate(values.get(metric), signed=signed) for metric in METRICS]


def _estimate(estimate: Mapping[str, float | None] | None, *, signed: bool = False) -> str:
    if estimate is None or _missing(estimate):
        return "undefined"
    value, low, high = (_number(estimate[part], signed=signed) for part in ("value", "ci_low", "ci_high"))
    return f"{value} [{low}, {high}]"


def _number(value: float | None, *, signed: bool = False) -> str:
    if value is None:
        return "undefined"
    return f"{value:{'+' if signed else ''}.3f}".replace("-", MINUS)


def _missing(estimate: Mapping[str, float | None] | None) -> bool:
    return estimate is None or estimate["value"] is None


def _cell(value: object) -> str:
    """A name with the characters escaped that Markdown would interpret."""
    text = " ".join(str(value).split())
    return "".join(f"\\{letter}" if letter in "\\|*_`<>[]" else letter for letter in text)


def plain(value: Any) -> Any:
    """A value as JSON has it: no nan, no NumPy, no tuples."""
    if isinstance(value, Interval):
        return value.as_dict()
    if isinstance(value, Mapping):
        return {str(key): plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [plain(own) for own in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
