"""Scorers of one's own, which need no line in this project: by import path, or by the name of an entry point.

    --scorer mypackage.scorers:Brightness     module and class
    --scorer brightness                       an installed package has the entry point of that name in `GROUP`

Such a class has `setup()` and `score(request, rendering)`, as `actors.messages.Scorer` says.
"""

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from predictor.error_messages import type_and_last_line

GROUP = "pamela_steer.scorers"


def is_own(name: str) -> bool:
    """Whether a scorer's name is an import path or that of an entry point."""
    return ":" in name or _entry_point(name) is not None


def own_scorer(name: str) -> type:
    """The class of a scorer of one's own.

    Raises
    ------
    ValueError
        It cannot be imported, or is no scorer.
    """
    point = _entry_point(name)
    module, _, attribute = (point.value if point is not None else name).partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except Exception as error:  # whatever the module raises while it is imported
        said = type_and_last_line(error)
        raise ValueError(
            f"scorer {name}: cannot be imported ({said}); install its package, or put its folder on PYTHONPATH"
        ) from error
    missing = [method for method in ("setup", "score") if not callable(getattr(found, method, None))]
    if not isinstance(found, type) or missing:
        lacks = f"has no {' and no '.join(missing)}" if missing else "is no class"
        raise ValueError(f"scorer {name}: {lacks}; it needs setup() and score(request, rendering) (docs/scorers.md)")
    return found


def _entry_point(name: str) -> EntryPoint | None:
    return next(iter(entry_points(group=GROUP, name=name)), None)
