"""What a run does, as Ray metrics, which Prometheus scrapes from every node and Grafana draws.

    ray_pamela_busy_seconds{role}            at work
    ray_pamela_idle_seconds{role, waits}     idle, and what the run waited for
    ray_pamela_starting_seconds{role}        coming up
    ray_pamela_calls{role}                   answered
    ray_pamela_trajectories{state}           active, finished, failed
    ray_pamela_images{made}                  rendered, or saved by the cache

Ray exports them where it was installed as ray[default]; without, they cost nothing and go nowhere. Sums are gauges that
grow, because they come from accounts that are kept anyway.
"""

from collections.abc import Mapping

from actors.pool.accounting import Ledger


class Metrics:
    """Gauges of one run. Ray has to be up."""

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
        self, ledgers: Mapping[str, Ledger], *, trajectories: Mapping[str, int], images: Mapping[str, int]
    ) -> None:
        """Set every gauge to the state of the accounts."""
        for role, ledger in ledgers.items():
            ledger.settle()
            self._busy.set(ledger.busy_s, {"role": role})
            self._starting.set(ledger.starting_s, {"role": role})
            self._calls.set(ledger.calls, {"role": role})
            for waits, seconds in ledger.idle_s.items():
                self._idle.set(seconds, {"role": role, "waits": waits})
        for state, count in trajectories.items():
            self._trajectories.set(count, {"state": state})
        for made, count in images.items():
            self._images.set(count, {"made": made})
