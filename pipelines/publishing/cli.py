"""`steer-batch publish`: a run as a data set folder, and on the hub where that is asked for."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def publish(
    run: Annotated[Path, typer.Argument(help="Folder of a run that has ended.")],
    out: Annotated[Path, typer.Option(help="New folder for the data set.")],
    repo: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Data set on the Hugging Face hub to push it to.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence, as the hub calls it: cc-by-4.0, say; default `other`.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="For everybody to see; else only for its owner.")] = False,
) -> None:
    """Make a data set of a run: Parquet, images and a card, without the ids and demographics of people.

    steer-batch publish runs/first --out first-dataset --repo me/first
    """
    from pipelines.publishing.dataset_folder import write_dataset
    from predictor.hub.upload import upload

    try:
        made = write_dataset(run, out, licence=licence)
        address = repo and upload(out, repo, kind="dataset", message="A run of steer-batch", private=not public)
    except ValueError as error:
        typer.echo(f"steer-batch: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(2) from error
    typer.echo(
        f"{made.trajectories} trajectories of {made.people} people and {made.images} images; "
        "read README.md before others do, and have everybody's consent",
        err=True,
    )
    typer.echo(address or str(made.folder.resolve()))
