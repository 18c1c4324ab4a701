"""`steer-study publish`: a study as a data set folder, and on the hub where that is asked for."""

from pathlib import Path
from typing import Annotated

import typer

from predictor.hub.publish_command import Licence, Out, Public, Repo, say_made, say_where


def publish(
    folder: Annotated[Path, typer.Argument(help="Study folder.")],
    out: Out,
    repo: Repo = None,
    licence: Licence = None,
    public: Public = False,
) -> None:
    """Make a data set of a study: Parquet, images and a card, without anything that tells who took part.

    steer-study publish my_study --out my_dataset --repo me/my-study
    """
    from studies.commands import results

    made = results.publish(
        folder,
        out,
        repo=repo,
        licence=licence,
        public=public,
        on_made=lambda made: say_made(f"{made.answers} answers of {made.people} people and {made.images} images"),
    )
    say_where(out, made.address)
