"""Who prefers what: blind studies of images, and Bradley–Terry with intervals that hold for others.

`studies.fit(votes)` does what `steer-study elo` does. Nothing is loaded before it is called.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studies.fitting import fit as fit

__all__ = ["fit"]


def __getattr__(name: str) -> Any:
    if name == "fit":
        from studies.fitting import fit

        return fit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
