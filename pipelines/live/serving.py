"""Serving people: `serve` does in Python what the command `steer-live` does, and `link_of` what its `--link` does."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.planning.plan import Plan

_UNAVAILABLE = 3

LIVE_SETTINGS = (
    "protocol.share=base",  # a person's rounds follow their own choices
    "protocol.candidates=5",  # three of them stand beside the favourite; docs/measurements.md
    "protocol.guards.reseed=off",  # the blind comparison is the stronger check
)
"""What differs from a batch run; `settings` overrides it."""


def serve(
    *,
    preset: str | None = None,
    predictor: str | None = None,
    prompts: str | PathLike[str] | None = None,
    people: str | PathLike[str] = "people",
    address: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    settings: Mapping[str, object] | Sequence[str] = (),
    console: "Console | None" = None,
) -> None:
    """Serve people until Ctrl-C or SIGTERM; each option is that of `steer-live`.

    Parameters
    ----------
    settings
        Further settings by dotted key, as `pipelines.steer` takes them, or `KEY=VALUE`, as `--set` does.
    console
        Where the link is printed, and what goes on; None: the standard error.

    Raises
    ------
    ValueError
        Something is missing or does not fit: the line that `steer-live` would print.

    Examples
    --------
    >>> serve(people="people", port=8080)  # doctest: +SKIP
    """
    from actors.pool.cluster import connect, disconnect, watch
    from pipelines.live.people.folder import PeopleFolder
    from pipelines.planning.prompts import read_prompts
    from predictor.progress import stderr_console
    from studies.web.serving import listen

    console = console or stderr_console()
    suggestions = tuple(prompt.text for prompt in read_prompts(Path(prompts))) if prompts is not None else ()
    with closing(PeopleFolder(Path(people))) as folder, listen(host, port) as listening:
        plan = _plan(console, preset, predictor, settings, Path(people))
        from pipelines.live.studio import Studio  # seconds of imports: what can be refused was refused before
        from pipelines.live.web.app import create_app, new_token
        from pipelines.live.web.server import serve_until_stopped

        if address is not None:  # a wrong one is refused before anything is promised to anybody
            connect(address)

        def join() -> None:
            if address is None:
                connect(None)
            watch(_stop_at_once(console))

        token = new_token()
        studio = Studio(plan, folder, suggestions, join)
        try:
            link = f"{_base(host, listening.getsockname()[1])}/join/{token}"
            console.print(f"open {link}", markup=False, soft_wrap=True, highlight=False)
            _open_browser(link)
            serve_until_stopped(create_app(studio, start_token=token), listening, studio)
        finally:
            disconnect()


def link_of(name: str, *, people: str | PathLike[str] = "people", host: str = "127.0.0.1", port: int = 8000) -> str:
    """The own link of somebody who was here, as their page *You* shows it.

    Parameters
    ----------
    host, port
        Where `steer-live` listens.

    Raises
    ------
    ValueError
        Nobody has this name, or the port is not said.
    """
    from pipelines.live.people.folder import person_named

    person = person_named(Path(people), name)
    if not port:
        raise ValueError(f"--link {name}: name the port that steer-live listens on by --port")
    return f"{_base(host, port)}/join/{person.key}"


def _plan(
    console: "Console",
    preset: str | None,
    predictor: str | None,
    settings: Mapping[str, object] | Sequence[str],
    people: Path,
) -> "Plan":
    """A plan for everybody whom the predictor knows; what each person's runs are for is put in later."""
    from pipelines.planning.prompts import numbered
    from pipelines.planning.request import RunRequest, plan_run

    by_key, lines = (settings, ()) if isinstance(settings, Mapping) else ({}, settings)
    request = RunRequest(
        users=("all",),
        prompts=numbered(["a picture"]),
        preset=preset,
        overrides=(*LIVE_SETTINGS, *lines),
        options={**by_key, "predictor": predictor, "scorers": ("pamela", "population")},
    )
    return plan_run(console, request, people / ".new")


def _stop_at_once(console: "Console") -> Callable[[str], None]:
    """What is done where the cluster is lost."""

    def stop(reason: str) -> None:
        line = f"steer-live: {reason}; mend it, then start again: everybody goes on where they were"
        console.print(line, style="red", markup=False)
        sys.stderr.flush()
        os._exit(_UNAVAILABLE)  # every answer is on the disk, and the main thread may be blocked in Ray

    return stop


def _base(host: str, port: int) -> str:
    """The address under which this machine is reached from itself."""
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _open_browser(link: str) -> None:
    """Where there is a desktop."""
    if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        import webbrowser

        webbrowser.open(link)
