"""What the commands that publish a data set have in common: their options, and what they print."""

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path, typer.Option(help="New folder for the data set.")]
Repo = Annotated[str | None, typer.Option(metavar="OWNER/NAME", help="Data set on the Hugging Face hub to push it to.")]
Licence = Annotated[str | None, typer.Option(help="Licence, as the hub calls it: cc-by-4.0, say; default `other`.")]
Public = Annotated[bool, typer.Option("--public", help="For everybody to see; else only for its owner.")]


def say_made(what: str) -> None:
    """Print what is in the folder, and what to think of before others see it."""
    typer.echo(f"{what}; read README.md before others do, and have everybody's consent", err=True)


def say_where(out: Path, address: str | None) -> None:
    """Print the commit's address, or the folder."""
    typer.echo(address or str(out.resolve()))
