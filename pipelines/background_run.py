"""What `steer-batch` does, as a call: a run in a thread of its own, which tells what happens in it."""

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType

from rich.console import Console

from actors.pool.cluster import ClusterError
from pipelines.cluster_run import StopRequest
from pipelines.events import Event, EventObserver
from pipelines.planning.plan import Plan
from pipelines.planning.prompts import Prompt, prompts_of
from pipelines.planning.request import RunRequest, plan_continuation, plan_run, setting_options
from pipelines.records.run_folder import RunFolder, folder_by_date
from pipelines.records.run_log import RunLog
from pipelines.reporting.results import Result
from pipelines.run import start_or_continue
from predictor.data.folders import StrPath


def steer(
    prompts: Sequence[str] | StrPath | None = None,
    users: Sequence[str] | str | None = None,
    *,
    preset: str | None = None,
    scorers: Sequence[str] = (),
    predictor: StrPath | None = None,
    runs: int | None = None,
    protocol: str | None = None,
    share: str | None = None,
    candidates: int | None = None,
    iterations: int | None = None,
    patience: int | None = None,
    seed: int | None = None,
    settings: Mapping[str, object] | None = None,
    out: StrPath | None = None,
    title: str | None = None,
    resume: bool = False,
    address: str | None = None,
) -> "BackgroundRun":
    """Steer prompts for users, in the background; each option is that of `steer-batch`.

    The plan is made before this returns: what can be refused is refused here. The embedded preset trains its predictor
    here where there is none yet, which takes some minutes once.

    Parameters
    ----------
    prompts
        Texts, or the path of a prompts file.
    users
        One specification or several: `"all"`, `"u01,u07"`, `["u01", "u07"]`, `"@FILE"`, `'group:age < 30'`.
    settings
        Further settings by dotted key, as `--set` takes them: `{"renderer.size": 128}`.
    resume
        Go on with the run in `out`; everything else may be left out.

    Returns
    -------
    An iterator of events (`pipelines.events`) with a `result()`.

    Raises
    ------
    ValueError
        Something is missing or does not fit: the line that `steer-batch` would print.

    Examples
    --------
    >>> run = steer(["a pagoda in the mist"], users=["u01", "u07"], iterations=2)  # doctest: +SKIP
    >>> for event in run:
    ...     print(event)
    >>> print(run.result().gallery)
    """
    request = RunRequest(
        users=_specifications(users),
        prompts=_given(prompts),
        preset=preset,
        overrides=(),
        options=dict(settings or {})
        | setting_options(
            scorers=scorers,
            predictor=None if predictor is None else str(predictor),
            title=title,
            runs=runs,
            seed=seed,
            protocol=protocol,
            share=share,
            candidates=candidates,
            iterations=iterations,
            patience=patience,
        ),
    )
    if resume and out is None:
        raise ValueError("--resume needs --out: the folder of the run to continue")
    path = folder_by_date() if out is None else Path(out)
    console = Console(quiet=True)
    if not resume:
        return BackgroundRun(plan_run(console, request, path), None, path, address)
    folder = RunFolder.open(path)
    try:
        plan = plan_continuation(console, request, folder)
    except BaseException:
        folder.release()
        raise
    return BackgroundRun(plan, folder, path, address)


class BackgroundRun:
    """A run under way. Iterate over its events as they come, or wait for its `result`; leaving `with` stops it.

    Whatever ends it, what is finished is in the run folder `out`, and `steer(resume=True, out=…)` goes on with it.
    """

    def __init__(self, plan: Plan, folder: RunFolder | None, out: Path, address: str | None) -> None:
        self.plan = plan
        self.out = out
        self._folder = folder
        self._address = address
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        """None: it has ended."""
        self._stop = StopRequest()
        self._ended = threading.Event()
        self._result: Result | None = None
        self._error: BaseException | None = None
        threading.Thread(target=self._run, name="steer", daemon=True).start()

    def __iter__(self) -> Iterator[Event]:
        """The events that nobody has read yet, until the run ends.

        Raises
        ------
        Exception
            As `result`, after the last event.
        """
        try:
            while (event := self._events.get()) is not None:
                yield event
        except KeyboardInterrupt:
            self.stop()
            raise
        self._events.put(None)  # whoever iterates again finds that it has ended
        self.result()

    def result(self, timeout_s: float | None = None) -> Result:
        """Wait for the end; the outcome of each trajectory, the verdict where truth is known, and the gallery.

        Raises
        ------
        TimeoutError
            It has not ended after `timeout_s`.
        ClusterError
            The cluster cannot be reached, lacks what the run needs, or is lost; ClusterErrors are ValueErrors.
        PoolBrokenError
            A model does not load.
        RoleUnavailableError
            A service that the run needs answers nobody any more.
        KeyboardInterrupt
            It was stopped before anything was recorded.
        """
        if not self._ended.wait(timeout_s):
            raise TimeoutError(f"the run in {self.out} has not ended after {timeout_s:g} s")
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def stop(self) -> None:
        """Stop as Ctrl-C does, and wait until the records are written."""
        self._stop.set()
        self._ended.wait()

    def __enter__(self) -> "BackgroundRun":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            self._result = start_or_continue(
                Console(quiet=True),
                self.plan,
                self._folder,
                self.out,
                RunLog(),
                address=self._address,
                on_lost=self._lost,
                observer=EventObserver(self._events.put),
                stop=self._stop,
            )
        except BaseException as error:  # noqa: BLE001 - raised again where somebody waits for the result
            self._error = error
        self._end()

    def _lost(self, reason: str) -> None:
        self._error = ClusterError(f"{reason}; mend it, then steer(resume=True, out={str(self.out)!r})")
        self._end()  # the thread of the run may be blocked in Ray

    def _end(self) -> None:
        self._ended.set()
        self._events.put(None)


def _given(prompts: Sequence[str] | StrPath | None) -> Path | Sequence[Prompt] | None:
    if isinstance(prompts, str | PathLike):
        return Path(prompts)
    return None if prompts is None else prompts_of(prompts)


def _specifications(users: Sequence[str] | str | None) -> tuple[str, ...] | None:
    """Those of `--users`; None where there are none."""
    if users is None:
        return None
    if not users:
        raise ValueError("--users names nobody; try all")
    return (users,) if isinstance(users, str) else tuple(users)
