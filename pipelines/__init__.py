"""Steering: `pipelines.steer` does in Python what `steer-batch` does on the command line."""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.background_run import BackgroundRun
    from pipelines.planning.prompts import Prompt

__all__ = ["steer"]


def steer(
    prompts: "Sequence[str] | str | PathLike[str] | None" = None,
    users: Sequence[str] | str | None = None,
    *,
    preset: str | None = None,
    scorers: Sequence[str] = (),
    predictor: str | PathLike[str] | None = None,
    runs: int | None = None,
    protocol: str | None = None,
    share: str | None = None,
    candidates: int | None = None,
    iterations: int | None = None,
    patience: int | None = None,
    seed: int | None = None,
    settings: Mapping[str, object] | None = None,
    out: str | PathLike[str] | None = None,
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
    from rich.console import Console

    from pipelines.background_run import BackgroundRun
    from pipelines.planning.request import RunRequest, plan_continuation, plan_run, setting_options
    from pipelines.records.run_folder import RunFolder, folder_by_date

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
        raise ValueError("resume needs out: the folder of the run to continue")
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


def _given(prompts: Sequence[str] | str | PathLike[str] | None) -> "Path | Sequence[Prompt] | None":
    from pipelines.planning.prompts import prompts_of

    if isinstance(prompts, str | PathLike):
        return Path(prompts)
    return None if prompts is None else prompts_of(prompts)


def _specifications(users: Sequence[str] | str | None) -> tuple[str, ...] | None:
    """Those of `--users`; None where there are none."""
    if users is None:
        return None
    return (users,) if isinstance(users, str) else tuple(users)
