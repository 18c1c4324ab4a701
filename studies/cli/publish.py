"""`steer-study publish`: a study as a data set folder, and on the hub where that is asked for."""

from pathlib import Path
from typing import Annotated

import typer


def publish(
    folder: Annotated[Path, typer.Argument(help="Study folder.")],
    out: Annotated[Path, typer.Option(help="New folder for the data set.")],
    repo: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Data set on the Hugging Face hub to push it to.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence, as the hub calls it: cc-by-4.0, say; default `other`.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="For everybody to see; else only for its owner.")] = False,
) -> None:
    """Make a data set of a study: Parquet, images and a card, without anything that tells who took part.

    steer-study publish my_study --out my_dataset --repo me/my-study
    """
    from predictor.hub.upload import upload
    from studies.results.publication import write_publication
    from studies.study import read_study

    made = write_publication(read_study(folder), out, licence=licence)
    typer.echo(
        f"{made.answers} answers of {made.people} people and {made.images} images; "
        "read README.md before others do, and have everybody's consent",
        err=True,
    )
    pushed = repo and upload(out, repo, kind="dataset", message="A study of steer-study", private=not public)
    typer.echo(pushed or str(out.resolve()))
