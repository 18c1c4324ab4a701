"""`steer-predictor`: learn people's taste from ratings. Heavy imports wait until the work begins."""

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from predictor.stages import StageProgress

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Learn people's taste in images from their ratings (the PAMELA predictor).",
)


@app.command()
def simulate(
    images: Annotated[Path, typer.Argument(help="Folder with images.csv (image_id, file[, prompt]) and its images.")],
    raters: Annotated[int, typer.Option(help="How many people to simulate.", min=1)] = 12,
    per_image: Annotated[int, typer.Option(help="How many of them rate each image.", min=1)] = 8,
    seed: Annotated[int, typer.Option(help="The same seed gives the same people and ratings.", min=0)] = 0,
) -> None:
    """Let simulated raters with a known taste rate a folder of images.

    Adds users.csv, ratings.csv, dataset.yaml and the raters' true taste, truth.parquet.

        steer-predictor simulate my_images --raters 30
    """
    from predictor.simulation import simulate as simulate_ratings

    with _progress() as advance:
        people = simulate_ratings(
            images,
            raters=raters,
            ratings_per_image=min(per_image, raters),
            seed=seed,
            on_image=lambda done, total: advance("raters look at images", done, total),
        )
    typer.echo(f"{images}: a dataset with ratings by {len(people)} raters")


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="Folder of the unzipped release, or a dataset folder.")],
    kind: Annotated[str, typer.Option(help="Its layout: pamela, lapis, para, or folder (ratings, users, images).")],
    out: Annotated[Path, typer.Option(help="Dataset folder to write.")],
    seed: Annotated[int, typer.Option(help="Of the splits, where the release has none.", min=0)] = 0,
) -> None:
    """Make a dataset folder of released ratings; whatever is refused is listed in its import-report.json.

    Images are hard-linked where the disk allows it, else copied. To check PAMELA by: the report's mean ratings
    of `train` are published as Art 2.989 (17,698 ratings), Photorealism 3.255 (32,524), abstract 2.069 (3,289).

        steer-predictor import PAMELA --kind pamela --out my_dataset
    """
    from predictor.importing import REPORT, import_dataset

    with _progress() as advance:
        report = import_dataset(source, out, kind=kind, seed=seed, progress=advance)
    for line in report.lines():
        typer.echo(line)
    typer.echo(f"{out}: a dataset" + (f"; what was refused is in {out / REPORT}" if report.refused else ""))


@app.command()
def train(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder: ratings, users, images, dataset.yaml.")],
    out: Annotated[Path, typer.Option(help="Checkpoint folder to write.")],
    recipe: Annotated[str, typer.Option(help="`small` for some thousand ratings, `paper` for the paper's.")] = "small",
    encoder: Annotated[str, typer.Option(help="Image encoder.")] = "efficientnet-lite0",
    without: Annotated[
        str, typer.Option(help="Leave tokens out: text, demographics, metadata, user; joined by +.")
    ] = "",
    seed: Annotated[int, typer.Option(help="The same seed gives the same checkpoint.", min=0)] = 0,
) -> None:
    """Train a predictor on a dataset and write its checkpoint, with what it reaches on unseen images.

    steer-predictor train my_dataset --out my_checkpoint
    """
    from predictor.dataset import read_dataset
    from predictor.fitting import fit
    from predictor.training import RECIPES

    if recipe not in RECIPES:
        raise ValueError(f"unknown recipe {recipe!r}; known are {', '.join(RECIPES)}")
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise ValueError(f"--out {out}: is not empty; name a new folder")
    tokens = {"text": "prompt", "demographics": "demographics", "metadata": "metadata", "user": "user"}
    dropped = [part for part in without.split("+") if part]
    if unknown := [part for part in dropped if part not in tokens]:
        raise ValueError(f"--without {unknown[0]!r}: known are {', '.join(tokens)}")
    with _progress() as advance:
        predictor = fit(
            read_dataset(dataset, seed=seed),
            RECIPES[recipe],
            seed=seed,
            image_encoder=encoder,
            without=tuple(tokens[part] for part in dropped),
            progress=advance,
        )
    predictor.save_pretrained(out)
    typer.echo(predictor.card)


@app.command()
def score(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint folder or hub id.")],
    images: Annotated[list[Path], typer.Argument(help="Images to score.")],
    user: Annotated[str, typer.Option(help="For whom: a user id, or * for nobody in particular.")],
    prompt: Annotated[str | None, typer.Option(help="What the images were made for.")] = None,
) -> None:
    """Print image,score for one user: 0 to 1, higher is better.

    steer-predictor score my_checkpoint --user u07 *.png
    """
    from PIL import Image

    from predictor.predictor import PamelaPredictor

    predictor = PamelaPredictor.from_pretrained(checkpoint)
    if user != "*" and user not in predictor.user_ids:
        raise ValueError(f"unknown user {user!r}; the checkpoint knows {', '.join(predictor.user_ids[:12])}")
    person = predictor.population() if user == "*" else predictor.person(user)
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["image", "score"])
    for path in images:
        try:
            with Image.open(path) as image:
                scores = predictor.score([image.convert("RGB")], person, prompts=[prompt])
        except (OSError, Image.DecompressionBombError) as error:
            raise ValueError(f"{path}: not an image that can be read: {error}") from error
        rows.writerow([path, f"{scores[0]:.6f}"])


@app.command()
def info(checkpoint: Annotated[str, typer.Argument(help="Checkpoint folder or hub id.")]) -> None:
    """Print a checkpoint's model card and its users."""
    from predictor.checkpoint import checkpoint_folder, checkpoint_users

    folder = checkpoint_folder(checkpoint)
    typer.echo((folder / "README.md").read_text("utf-8"))
    users = checkpoint_users(folder)
    typer.echo(",".join(users.column_names))
    for row in users.to_pylist():
        typer.echo(",".join(str(value) for value in row.values()))


def main() -> None:
    """Entry point of the console script: refusals are one line and exit status 2."""
    run(app, "steer-predictor")


def run(commands: Callable[[], object], name: str) -> None:
    """Run a command line; a ValueError is what the user has to mend."""
    try:
        commands()
    except ValueError as error:
        typer.secho(f"{name}: {' '.join(str(error).split())}", fg="red", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _progress() -> "StageProgress":
    from predictor.stages import StageProgress, stderr_console

    return StageProgress(stderr_console())
