"""What a run may cost at most: the hours that it lasts, and the GPUs that all its roles hold meanwhile.

A GPU costs as long as an actor holds it, busy or idle: so every role counts, from the first download to the last image.
"""

from dataclasses import dataclass

from pipelines.planning.preflight import roles_of, wanted
from pipelines.settings.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of a whole run, by the estimates in its settings."""

    hours: float
    """From the first actor that starts to the last image."""
    starting_h: float
    """Of these, until all have loaded."""
    gpus: float
    """That all roles hold."""

    @property
    def gpu_hours(self) -> float:
        return self.hours * self.gpus


def most_cost(settings: Settings, render_hours: float) -> Cost:
    """The most that a run costs; `render_hours` are those of a single renderer."""
    starting_h = max(role.startup_s for role in roles_of(settings)) / 3600
    gpus = wanted(settings).get("GPU", 0.0)
    return Cost(hours=starting_h + render_hours / settings.renderer.actors, starting_h=starting_h, gpus=gpus)


def cost_lines(settings: Settings, render_hours: float) -> list[str]:
    """The cost in lines, for --dry-run."""
    cost, renderer, price = most_cost(settings, render_hours), settings.renderer, settings.price_per_gpu_hour
    waiting = settings.give_up_after_s / 3600 * cost.gpus
    lines = [
        f"time          {cost.hours:,.1f} hours at most, by the preset's {renderer.seconds_per_call:g} s a render with "
        f"{renderer.actors} renderer(s) and {cost.starting_h * 60:,.0f} minutes to start",
        f"GPU hours     {cost.gpu_hours:,.1f} at most: {cost.gpus:g} GPU(s) of all roles, held from start to end"
        + (f"; {waiting:,.1f} more for each time that a service is gone, until the run stops" if cost.gpus else ""),
    ]
    if price is not None:
        lines.append(
            f"money         {cost.gpu_hours * price:,.2f} at most, at {price:g} a GPU hour; other machines beside it"
        )
    return lines
