"""`steer-batch publish`: a run as a data set folder, and on the hub where that is asked for."""

from pathlib import Path
from typing import Annotated

import typer

from predictor.hub.publish_command import Licence, Out, Public, Repo, say_made, say_where

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def publish(
    run: Annotated[Path, typer.Argument(help="Folder of a run that has ended.")],
    out: Out,
    repo: Repo = None,
    licence: Licence = None,
    public: Public = False,
) -> None:
    """Make a data set of a run: Parquet, images and a card, without the ids and demographics of people.

    steer-batch publish runs/first --out first-dataset --repo me/first
    """
    from pipelines.publishing import dataset_folder

    def say(made: dataset_folder.Published) -> None:
        say_made(f"{made.trajectories} trajectories of {made.people} people and {made.images} images")

    made = dataset_folder.publish(run, out, repo=repo, licence=licence, public=public, on_made=say)
    say_where(out, made.address)
