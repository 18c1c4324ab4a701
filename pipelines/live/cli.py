"""The command `steer-live`. Heavy imports are deferred, so that `--help` answers at once."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.planning.plan import Plan

REFUSED, UNAVAILABLE = 2, 3

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

LIVE_SETTINGS = (
    "protocol.share=base",  # a person's rounds follow their own choices
    "protocol.candidates=8",
    "protocol.guards.reseed=off",  # the blind comparison is the stronger check
)
"""What differs from a batch run; `--set` overrides it."""


@app.command()
def live(
    preset: Annotated[
        str | None, typer.Option(help="Which models: `embedded` (default), `local`, `paper`, or a YAML file.")
    ] = None,
    predictor: Annotated[
        str | None, typer.Option(help="Checkpoint folder or hub id; the embedded preset makes and caches its own.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="Prompts to suggest: text with a prompt a line, or CSV/Parquet.")
    ] = None,
    people: Annotated[Path, typer.Option(help="Where people are kept, a folder each.")] = Path("people"),
    address: Annotated[
        str | None, typer.Option(envvar="RAY_ADDRESS", help="Ray cluster; default: one on this machine.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other devices in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: any that is free.", min=0, max=65535)] = 8000,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a preset key. Repeatable.")
    ] = None,
) -> None:
    """Sit down in a browser, and minutes later there are pictures that suit you, and proof.

    Choose among pictures until your taste is known; type a prompt, and steer it by choosing; then compare blindly.
    Everything is kept in people/NAME as it happens.

        steer-live

        steer-live --prompts prompts.txt --people people --port 8080

        steer-live --preset local --predictor checkpoint --host 0.0.0.0
    """
    from predictor.progress import stderr_console

    console = stderr_console()
    try:
        _live(console, preset, predictor, prompts, people, address, host, port, tuple(set_ or ()))
    except ValueError as error:
        raise _refusal(console, str(error)) from error


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)


def _live(
    console: "Console",
    preset: str | None,
    predictor: str | None,
    prompts: Path | None,
    people: Path,
    address: str | None,
    host: str,
    port: int,
    overrides: tuple[str, ...],
) -> None:
    from actors.pool.cluster import connect, disconnect, watch
    from pipelines.live.people.folder import PeopleFolder
    from pipelines.live.studio import Studio
    from pipelines.live.web.app import create_app, new_token
    from pipelines.live.web.server import serve
    from pipelines.planning.prompts import read_prompts
    from studies.web.serving import listen

    suggestions = tuple(prompt.text for prompt in read_prompts(prompts)) if prompts is not None else ()
    folder = PeopleFolder(people)
    listening = listen(host, port)
    plan = _plan(console, preset, predictor, overrides, people)
    token = new_token()

    def on_lost(reason: str) -> None:
        _refusal(console, f"{reason}; mend it, then start again: everybody goes on where they were")
        sys.stderr.flush()
        os._exit(UNAVAILABLE)  # every answer is on the disk, and the main thread may be blocked in Ray

    def join() -> None:
        if address is None:
            connect(None)
        watch(on_lost)

    if address is not None:  # a wrong one is refused before anything is promised to anybody
        connect(address)
    studio = Studio(plan, folder, suggestions, join)
    try:
        link = f"http://{_shown(host)}:{listening.getsockname()[1]}/join/{token}"
        console.print(f"open {link}", markup=False, soft_wrap=True, highlight=False)
        _open_browser(link)
        serve(create_app(studio, start_token=token), listening, studio)
    finally:
        disconnect()
    console.print("Stopped. Everything is kept; start again to go on.", markup=False)


def _plan(
    console: "Console", preset: str | None, predictor: str | None, overrides: tuple[str, ...], people: Path
) -> "Plan":
    """A plan for everybody whom the predictor knows; what each person's runs are for is put in later."""
    from pipelines.planning.prompts import numbered
    from pipelines.planning.request import RunRequest, plan_run

    request = RunRequest(
        users=("all",),
        prompts=numbered(["a picture"]),
        preset=preset,
        overrides=(*LIVE_SETTINGS, *overrides),
        options={"predictor": predictor, "scorers": ("pamela", "population")},
    )
    return plan_run(console, request, people / ".new")


def _shown(host: str) -> str:
    """The address under which this machine is reached from itself."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _open_browser(link: str) -> None:
    """Where there is a desktop."""
    if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        import webbrowser

        webbrowser.open(link)


def _refusal(console: "Console", message: str, status: int = REFUSED) -> typer.Exit:
    """One clear line and the exit status."""
    console.print("steer-live: " + " ".join(message.split()), style="red", markup=False)
    return typer.Exit(status)
