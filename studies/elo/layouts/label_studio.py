"""Label Studio's JSON export of pairwise tasks: one row an annotation, the task's data beside it."""

from collections.abc import Iterator
from typing import Any

Row = dict[str, str | None]


def is_export(document: Any) -> bool:
    """Whether a JSON document is such an export: a list of tasks with annotations."""
    return (
        isinstance(document, list)
        and bool(document)
        and all(isinstance(task, dict) and isinstance(task.get("annotations"), list) for task in document)
    )


def rows_of(tasks: list[dict[str, Any]]) -> list[Row]:
    """A row an annotation: the fields of the task's data, `task_id`, `completed_by`, `selected` and `was_cancelled`."""
    found = list(_annotations(tasks))
    names = dict.fromkeys(name for row in found for name in row)
    return [{name: row.get(name) for name in names} for row in found]


def _annotations(tasks: list[dict[str, Any]]) -> Iterator[Row]:
    for number, task in enumerate(tasks, 1):
        data = {str(name): _text(value) for name, value in (task.get("data") or {}).items()}
        for annotation in task["annotations"]:
            selected = _selected(annotation)
            yield {
                **data,
                "task_id": _text(task.get("id", number)),
                "completed_by": _who(annotation.get("completed_by")),
                "selected": selected,
                "was_cancelled": str(selected is None or bool(annotation.get("was_cancelled"))),
            }


def _who(completed_by: Any) -> str | None:
    """The annotator's number; the export has it alone or, with more about them, as `id`."""
    return _text(completed_by.get("id", completed_by.get("email")) if isinstance(completed_by, dict) else completed_by)


def _selected(annotation: dict[str, Any]) -> str | None:
    """What was selected; where the page offered choices beside the pair, such as a tie, the choice."""
    values = [part.get("value") or {} for part in annotation.get("result") or []]
    sides = [value["selected"] for value in values if value.get("selected")]
    choices = [choice for value in values for choice in value.get("choices") or []]
    return _text(next(iter([*sides, *choices]), None))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
