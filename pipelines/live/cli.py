"""The command `steer-live`. Heavy imports are deferred, so that `--help` answers at once."""

from pathlib import Path
from typing import Annotated

import typer

from predictor.cli import run

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command()
def live(
    preset: Annotated[
        str | None, typer.Option(help="Which models: `embedded` (default), `local`, `paper`, or a YAML file.")
    ] = None,
    predictor: Annotated[
        str | None, typer.Option(help="Checkpoint folder or hub id; the embedded preset makes and caches its own.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="Prompts to suggest: text with one prompt per line, or CSV/Parquet.")
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
    link: Annotated[
        str | None, typer.Option(metavar="NAME", help="Print the own link of somebody who was here, and end.")
    ] = None,
) -> None:
    """Steer images for the person at this browser, and test blindly whether it worked.

    Choose among pictures until your taste is known; type a prompt, and steer it by choosing; then compare blindly.
    Everything is kept in people/NAME as it happens.

        steer-live

        steer-live --prompts prompts.txt --people people --port 8080

        steer-live --preset local --predictor checkpoint --host 0.0.0.0

        steer-live --link Ada
    """
    from pipelines.live.serving import link_of, serve
    from predictor.progress import stderr_console

    if link is not None:
        typer.echo(link_of(link, people=people, host=host, port=port))
        return
    console = stderr_console()
    serve(
        preset=preset,
        predictor=predictor,
        prompts=prompts,
        people=people,
        address=address,
        host=host,
        port=port,
        settings=tuple(set_ or ()),
        console=console,
    )
    console.print("Stopped. Everything is kept; start again to go on.", markup=False)


def main() -> None:
    """Entry point of the console script: refusals are one line and exit status 2."""
    run(app, "steer-live")
