import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from pipelines import progress
from pipelines.progress import RunProgress
from pipelines.search.cohort import Cohort
from pipelines.search.history import History
from pipelines.search.trajectory import Trajectory
from pipelines.settings.search import SearchSettings
from tests.pipelines.search.recorded import base_round, searched

TRAJECTORY = Trajectory(
    user="group:\"age\" >= 18 and [bold]country[/bold] = 'Brazil'",
    user_ids=("u1",),
    prompt_id="p1",
    base_prompt="a cat",
    scorer="pamela",
    run=1,
    image_seed=1,
    seed=0,
)


COHORTS = [Cohort(f"c{number}", (TRAJECTORY,)) for number in range(10)]
SETTINGS = SearchSettings(candidates=4, iterations=2, patience=2)


class Clock:
    """Time that stands still until it is told to pass."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def test_the_status_tells_what_is_done_active_and_rendered_how_fast_and_how_long_it_takes(clock: Clock) -> None:
    _, run = plain(total=10)
    assert run.status() == "0/10 trajectories, 0 active, 0 renders, 0/s, best gain +0.00"

    for cohort in COHORTS[:3]:
        run.begun(cohort, 0)
    for _ in range(40):
        run.rendered("key")
    clock.now += 8
    assert run.status().startswith("0/10 trajectories, 3 active, 40 renders, 5/s, best gain +0.00, about ")

    run.finished(TRAJECTORY, 0.5)
    run.finished(TRAJECTORY, 0.25)
    assert run.status().startswith("2/10 trajectories, 1 active, 40 renders, 5/s, best gain +0.50, about ")


def test_the_time_to_go_is_that_of_the_images_that_are_left(clock: Clock) -> None:
    """Two cohorts of one user, who render one image, then four in each of two rounds."""
    _, run = plain(total=2)
    first, second = COHORTS[:2]
    run.begun(first, 0)
    run.rendered("base")
    base = base_round(first, 0.5)
    run.round_done(History(first, [base]), 1)
    clock.now += 1
    assert run.status().endswith("about 17 s to go")
    for number in (0, 1):
        run.rendered(f"a cat, {number}")
    clock.now += 1
    assert run.status().endswith("about 15 s to go")  # by what an image has taken since the first round
    for number in (2, 3):
        run.rendered(f"a cat, {number}")
    clock.now += 2
    worse = searched(1, {TRAJECTORY.user: {f"a cat, {n}": (0.1,) for n in range(4)}})
    run.round_done(History(first, [base, worse]), 0)  # so that the other one is expected to end here too
    assert run.status().endswith("about 5 s to go")
    run.over(second)
    assert run.status().endswith("about 0 s to go")


def test_failed_trajectories_are_counted_and_told_with_their_reason_in_one_line(clock: Clock) -> None:
    output, run = plain(total=2)
    reason = "renderer: [red]3 actors[/red] died while they worked on this call, and that is too often to go on " * 3

    run.begun(COHORTS[0], 0)
    run.failed(TRAJECTORY, reason)

    assert output.getvalue().splitlines() == [f"failed: {TRAJECTORY.id}: {reason}"]
    assert "1/2 trajectories, 0 active" in run.status()
    assert "1 failed" in run.status()


def test_a_resumed_run_starts_at_what_is_done_and_estimates_from_what_it_does_itself(clock: Clock) -> None:
    _, run = plain(total=10, done=6)
    assert run.status().startswith("6/10 trajectories, 0 active")
    assert "to go" not in run.status()

    run.begun(COHORTS[0], 1)
    run.rendered("key")
    clock.now += 5
    run.finished(TRAJECTORY, 0.0)

    assert run.status().startswith("7/10 trajectories")
    assert "s to go" in run.status()


def test_nothing_is_left_to_estimate_once_all_is_done(clock: Clock) -> None:
    _, run = plain(total=1)
    run.begun(COHORTS[0], 0)
    clock.now += 5

    run.finished(TRAJECTORY, 0.0)

    assert run.status() == "1/1 trajectories, 0 active, 0 renders, 0/s, best gain +0.00"


def test_the_rate_counts_only_what_was_rendered_lately(clock: Clock) -> None:
    _, run = plain(total=1)
    for _ in range(100):
        run.rendered("key")
    clock.now += 60
    for _ in range(40):
        run.rendered("key")

    assert "140 renders, 2/s" in run.status()


def test_a_warning_is_told_once_and_counted() -> None:
    output, run = plain(total=1)

    for warning in ("no [1] caption", "too few", "no [1] caption"):
        run.warned(warning)

    assert output.getvalue() == "warning: no [1] caption\nwarning: too few\n"
    assert list(run.warnings) == ["no [1] caption (2 times)", "too few"]


def test_without_a_terminal_a_plain_line_comes_every_ten_seconds_and_at_the_end(clock: Clock) -> None:
    output, run = plain(total=2)

    with run:
        for _ in range(25):
            run.rendered("key")
            clock.now += 1
        assert [line.partition(", about")[0] for line in output.getvalue().splitlines()] == [
            "steering: 0/2 trajectories, 0 active, 11 renders, 1/s, best gain +0.00",
            "steering: 0/2 trajectories, 0 active, 21 renders, 1/s, best gain +0.00",
        ]

    assert output.getvalue().splitlines()[2:] == [f"steering: {run.status()}"]
    assert "\x1b" not in output.getvalue()


def test_on_a_terminal_there_is_one_bar_and_its_status_and_no_plain_lines(clock: Clock) -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=150, color_system=None)

    with RunProgress(console, 4, COHORTS[:3], SETTINGS) as run:
        run.begun(COHORTS[0], 0)
        clock.now += 30
        run.finished(TRAJECTORY, 0.25)

    assert "2/4 trajectories, 0 active, 0 renders, 0/s, best gain +0.25" in output.getvalue()
    assert "steering: " not in output.getvalue()


def plain(total: int, done: int = 0) -> tuple[io.StringIO, RunProgress]:
    """A run that is watched through a log, and the log."""
    output = io.StringIO()
    left = COHORTS[: total - done]
    return output, RunProgress(Console(file=output, soft_wrap=True, highlight=False), total, left, SETTINGS)


def test_how_busy_the_renderers_are_is_said_where_it_is_known() -> None:
    run = RunProgress(Console(file=io.StringIO()), 10, COHORTS, SETTINGS, busy=lambda: 0.973)
    assert run.status().endswith("best gain +0.00, renderers 97% busy")
