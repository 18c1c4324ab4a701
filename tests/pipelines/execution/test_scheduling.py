"""What the driver begins and when, on a cluster whose clock jumps: fast, and the same every time."""

from collections import Counter

import pytest

from pipelines.execution.admission import max_cohorts_under_way
from pipelines.execution.wait_accounting import LAST
from pipelines.search.cohort import Cohort
from pipelines.search.trajectory import Trajectory
from tests.benchmarks.bench_scheduling import PROTOCOL, drive_virtually, measured
from tests.benchmarks.simulated_roles import Watcher, trajectories
from tests.benchmarks.virtual_cluster import VirtualPool


class Attentive(Watcher):
    """Knows which trajectories are under way, and by how much users are apart."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way: set[str] = set()
        self.most_under_way = 0
        self.done: Counter[str] = Counter()
        self.furthest_apart = 0

    def begun(self, cohort: Cohort, rounds: int) -> None:
        (trajectory,) = cohort.trajectories
        self.done.setdefault(trajectory.user, 0)
        self.under_way.add(trajectory.id)
        self.most_under_way = max(self.most_under_way, len(self.under_way))

    def finished(self, trajectory: Trajectory, gain: float) -> None:
        super().finished(trajectory, gain)
        self.under_way.remove(trajectory.id)
        self.done[trajectory.user] += 1
        if len(self.done) == USERS:
            self.furthest_apart = max(self.furthest_apart, max(self.done.values()) - min(self.done.values()))


USERS, PROMPTS, RENDERERS = 8, 8, 8


@pytest.fixture(scope="module")
def driven() -> tuple[Attentive, list[VirtualPool]]:
    """A run whose renders take 0.2 s and proposals 1 s: who watched it, and its renderers, proposers and scorers."""
    watcher = Attentive()
    return watcher, drive_virtually(trajectories(USERS, PROMPTS), watcher, renderers=RENDERERS)


def test_renderers_are_kept_busy(driven: tuple[Attentive, list[VirtualPool]]) -> None:
    """From the first render to the last: the last trajectories' proposals are waited for with nothing else to draw."""
    assert measured(driven[0], RENDERERS)["utilisation"] >= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(("propose_s", "prompts", "least"), [(0.01, PROMPTS, 0.97), (5.0, 4 * PROMPTS, 0.96)])
def test_renderers_are_kept_busy_however_long_proposals_take(propose_s: float, prompts: int, least: float) -> None:
    """The longer a proposal takes, the longer a run has to be for its end to weigh little."""
    watcher = Attentive()
    drive_virtually(trajectories(USERS, prompts), watcher, renderers=RENDERERS, propose_s=propose_s)
    assert measured(watcher, RENDERERS)["utilisation"] >= least


def test_no_more_trajectories_are_under_way_than_the_renderers_need(
    driven: tuple[Attentive, list[VirtualPool]],
) -> None:
    needed = max_cohorts_under_way(candidates=20, renderers=8, places=16, proposals=64, proposal_s=1.1, render_s=0.19)
    assert 3 <= driven[0].most_under_way <= needed


def test_no_user_gets_ahead_of_another_by_more_than_two_prompts(driven: tuple[Attentive, list[VirtualPool]]) -> None:
    watcher, _ = driven
    assert set(watcher.done.values()) == {PROMPTS}
    assert watcher.furthest_apart <= 2


def test_scoring_that_lags_holds_the_renderers_up_rather_than_filling_the_memory() -> None:
    watcher = Attentive()
    pools = drive_virtually(trajectories(USERS, 2), watcher, renderers=RENDERERS, score_s=1.0)
    assert watcher.most_under_way <= 6
    idle = pools[0].accounting.idle_s
    assert max(idle, key=lambda why: idle[why]) == "scores"
    assert len(watcher.ended) == 2 * USERS


def test_every_second_of_every_renderer_is_accounted_for(driven: tuple[Attentive, list[VirtualPool]]) -> None:
    watcher, (renderers, proposers, _) = driven
    assert renderers.accounting.total_s == pytest.approx(RENDERERS * proposers.accounting.total_s)
    assert set(renderers.accounting.idle_s) <= {"proposals", "scores", "disk", "work", LAST}
    assert len(watcher.rendered_at) >= PROMPTS * USERS * PROTOCOL.candidates
