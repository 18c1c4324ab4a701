"""The state of a run as Ray metrics, which Prometheus scrapes from every node.

    ray_pamela_busy_seconds{role}            actors with a call
    ray_pamela_idle_seconds{role, waits}     actors without one, by what the run waited for
    ray_pamela_starting_seconds{role}        actors that load their weights
    ray_pamela_calls{role}                   calls answered
    ray_pamela_trajectories{state}           active, finished, failed
    ray_pamela_images{made}                  rendered, or found in the cache

Ray exports them only if it was installed as ray[default]; otherwise they have no effect. Growing sums are gauges rather
than counters, because `TimeAccounting` already holds the totals.
"""

from collections.abc import Mapping

from actors.pool.accounting import TimeAccounting


class Metrics:
    """The gauges of one run. Ray has to be connected."""

    def __init__(self) -> None:
        from ray.util.metrics import Gauge

        def gauge(name: str, description: str, *tags: str) -> Gauge:
            return Gauge(f"pamela_{name}", description=description, tag_keys=tags)

        self._busy = gauge("busy_seconds", "Time of actors at work, summed over a role", "role")
        self._idle = gauge("idle_seconds", "Time of idle actors, by what the run waited for", "role", "waits")
        self._starting = gauge("starting_seconds", "Time until actors had loaded", "role")
        self._calls = gauge("calls", "Calls that a role has answered", "role")
        self._trajectories = gauge("trajectories", "Trajectories of the run by state", "state")
        self._images = gauge("images", "Images rendered, and those that the cache saved", "made")

    def show(
        self, accounting: Mapping[str, TimeAccounting], *, trajectories: Mapping[str, int], images: Mapping[str, int]
    ) -> None:
        """Set every gauge; `accounting` is by role."""
        for role, spent in accounting.items():
            spent.settle()
            self._busy.set(spent.busy_s, {"role": role})
            self._starting.set(spent.starting_s, {"role": role})
            self._calls.set(spent.calls, {"role": role})
            for waits, seconds in spent.idle_s.items():
                self._idle.set(seconds, {"role": role, "waits": waits})
        for state, count in trajectories.items():
            self._trajectories.set(count, {"state": state})
        for made, count in images.items():
            self._images.set(count, {"made": made})
