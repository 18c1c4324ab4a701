"""The command line of `steer-predictor`: simulate, import, train, evaluate, ablate, enroll, forget, score, push, info.

Only parses and prints; each command is one call of `predictor`. torch and what needs it are imported
inside the commands, so that `--help` answers at once.
"""

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from predictor.error_messages import system_error

if TYPE_CHECKING:
    from predictor.progress import StageProgress

app = typer.Typer(
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
    from predictor.commands import datasets

    with _progress() as advance:
        people = datasets.simulate(images, raters=raters, per_image=per_image, seed=seed, progress=advance)
    typer.echo(f"{images}: a dataset with ratings by {len(people)} raters")


@app.command("import")
def import_(
    kind: Annotated[
        str, typer.Option(help="Layout of the source: pamela, lapis, para, folder (ratings, users, images), or table.")
    ],
    out: Annotated[Path, typer.Option(help="Dataset folder to write.")],
    source: Annotated[
        Path | None, typer.Argument(help="Folder of the unzipped release, or a dataset folder; not for a table.")
    ] = None,
    ratings: Annotated[
        Path | None,
        typer.Option(help="For --kind table: the file with user_id, image (a file of --images) and rating."),
    ] = None,
    images: Annotated[Path | None, typer.Option(help="For --kind table: the folder of the images.")] = None,
    scale: Annotated[
        str | None, typer.Option(help="For --kind table: lowest and highest possible rating, LOW,HIGH.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the splits, for a release without splits.", min=0)] = 0,
) -> None:
    """Make a dataset folder from released ratings; import-report.json lists every row that was refused.

    Images are hard-linked where the disk allows it, else copied. To verify a PAMELA import, compare the report's mean
    ratings of `train` with the published ones: Art 2.989 (17,698 ratings), Photorealism 3.255 (32,524), abstract 2.069
    (3,289).

        steer-predictor import PAMELA --kind pamela --out my_dataset

        steer-predictor import --kind table --ratings r.csv --images photos --scale 1,7 --out my_dataset
    """
    from predictor.commands import datasets
    from predictor.data.importing import REPORT
    from predictor.data.rating_scale import RatingScale

    given = None if scale is None else RatingScale.parse(scale)
    with _progress() as advance:
        report = datasets.import_dataset(
            source, out=out, kind=kind, ratings=ratings, images=images, scale=given, seed=seed, progress=advance
        )
    for line in report.lines():
        typer.echo(line)
    typer.echo(f"{out}: a dataset" + (f"; what was refused is in {out / REPORT}" if report.refused else ""))


@app.command()
def train(
    datasets: Annotated[list[Path], typer.Argument(help="Dataset folders, to train on jointly.")],
    out: Annotated[Path, typer.Option(help="Checkpoint folder to write.")],
    recipe: Annotated[
        str, typer.Option(help="`small`: transformer and taste model; `paper`: the transformer alone, as in the paper.")
    ] = "small",
    encoder: Annotated[
        str, typer.Option(help="Image encoder: efficientnet-lite0, or a SigLIP checkpoint (folder or hub id).")
    ] = "efficientnet-lite0",
    text_encoder: Annotated[
        str | None, typer.Option(help="For prompts; by default the text half of a SigLIP encoder, else minilm.")
    ] = None,
    profile_encoder: Annotated[
        str, typer.Option(help="For demographics and metadata: minilm, or any embedding model (folder or hub id).")
    ] = "minilm",
    without: Annotated[
        str, typer.Option(help="Leave tokens out: text, demographics, metadata, user; joined by +.")
    ] = "",
    seed: Annotated[int, typer.Option(help="The same seed gives the same splits and the same checkpoint.", min=0)] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training that was stopped.")] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with an encoder's checkpoint.")
    ] = False,
) -> None:
    """Train a predictor on one dataset or several, and write its checkpoint with its metrics on unseen images.

        steer-predictor train my_dataset --out my_checkpoint

        steer-predictor train pamela lapis para --out joint --recipe paper
        --encoder google/siglip2-base-patch16-224 --profile-encoder nvidia/llama-embed-nemotron-8b --trust-remote-code

    Stopped, by Ctrl-C or worse, it resumes with --resume and ends with the same weights.
    """
    from predictor.commands import training

    with _say_on_interrupt("Stopped. Go on with the same command and --resume."), _progress() as advance:
        predictor = training.train(
            datasets,
            out,
            recipe=recipe,
            encoder=encoder,
            text_encoder=text_encoder,
            profile_encoder=profile_encoder,
            without=[part for part in without.split("+") if part],
            seed=seed,
            resume=resume,
            trust_remote_code=trust_remote_code,
            progress=advance,
        )
    typer.echo(predictor.card)


@app.command()
def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint folder or hub id.")],
    dataset: Annotated[Path, typer.Argument(help="Dataset folder.")],
    split: Annotated[str, typer.Option(help="val_seen, val_unseen, test_seen, test_unseen, or train.")] = "test_seen",
    context: Annotated[int, typer.Option(help="Ratings that are given of each unseen user (k).", min=0)] = 15,
    neighbours: Annotated[
        int, typer.Option(help="Nearest seen users whose embeddings equation 1 averages (K).", min=1)
    ] = 5,
    tau: Annotated[float, typer.Option(help="Softmax temperature of equation 1, above 0.")] = 0.1,
    strangers: Annotated[
        str,
        typer.Option(
            help="How to adapt to unseen users: default (inferred taste), paper (equation 1), none (no ratings)."
        ),
    ] = "default",
    images: Annotated[
        str, typer.Option(help="Images of unseen users to evaluate on: unseen, or seen in training (by others).")
    ] = "unseen",
    draws: Annotated[
        int, typer.Option(help="Episodes for each unseen user, each with another random context.", min=1)
    ] = 4,
    json: Annotated[Path | None, typer.Option(help="Write JSON here, with Markdown and figures beside it.")] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of the splits, for a dataset without a split column; default: the seed of training."),
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with an encoder's checkpoint.")
    ] = False,
) -> None:
    """Evaluate a checkpoint on one split as the paper does: within users and on mean ratings, beside baselines.

    For unseen users also by the number of context ratings, by the parameters of equation 1, and the generalisation gap.

        steer-predictor evaluate my_checkpoint my_dataset --split test_unseen --json unseen.json
    """
    from predictor.commands import evaluation
    from predictor.evaluation.report import markdown

    with _progress() as advance:
        result = evaluation.evaluate(
            checkpoint,
            dataset,
            split=split,
            context=context,
            neighbours=neighbours,
            tau=tau,
            strangers=strangers,
            images=images,
            draws=draws,
            json=json,
            seed=seed,
            trust_remote_code=trust_remote_code,
            progress=advance,
        )
    typer.echo(markdown(result, {}))


@app.command()
def ablate(
    datasets: Annotated[list[Path], typer.Argument(help="Dataset folders with seen and unseen test users.")],
    out: Annotated[
        Path, typer.Option(help="Folder for the six checkpoints and the table; an interrupted ablation resumes.")
    ],
    recipe: Annotated[str, typer.Option(help="`small` or `paper`.")] = "small",
    strangers: Annotated[str, typer.Option(help="How to adapt to unseen users: default, paper or none.")] = "default",
    encoder: Annotated[str, typer.Option(help="Image encoder.")] = "efficientnet-lite0",
    text_encoder: Annotated[str | None, typer.Option(help="For prompts.")] = None,
    profile_encoder: Annotated[str, typer.Option(help="For demographics and metadata.")] = "minilm",
    seed: Annotated[int, typer.Option(help="Seed of the splits and of training.", min=0)] = 0,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with an encoder's checkpoint.")
    ] = False,
) -> None:
    """Train and evaluate the predictor without each of its inputs in turn (the paper's Table 3).

    steer-predictor ablate my_dataset --out ablation --strangers paper
    """
    from predictor.ablation import table
    from predictor.commands import training

    with _say_on_interrupt("Stopped. The same command goes on where it stood."), _progress() as advance:
        lines = training.ablate(
            datasets,
            out,
            recipe=recipe,
            strangers=strangers,
            encoder=encoder,
            text_encoder=text_encoder,
            profile_encoder=profile_encoder,
            seed=seed,
            trust_remote_code=trust_remote_code,
            progress=advance,
        )
    typer.echo(table(lines))


@app.command()
def enroll(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint folder or hub id.")],
    user: Annotated[str, typer.Option(help="Name of the person.")],
    out: Annotated[Path, typer.Option(help="Checkpoint folder to write; may be the same one.")],
    ratings: Annotated[
        Path | None,
        typer.Option(help="Table with image (a path) and rating; or a dataset folder with the person's ratings."),
    ] = None,
    choices: Annotated[
        Path | None,
        typer.Option(help="Table with shown (paths, joined by a space in CSV), chosen, and optionally worst."),
    ] = None,
    likes: Annotated[Path | None, typer.Option(help="Table with image (a path) and liked (1 or 0).")] = None,
    update: Annotated[bool, typer.Option("--update", help="Add to what the person answered before.")] = False,
    scale: Annotated[
        str | None,
        typer.Option(help="Lowest and highest possible rating, LOW,HIGH (default 0,100); a dataset has its own."),
    ] = None,
    demographic: Annotated[
        list[str] | None, typer.Option(help="A demographic of the person, such as age=31; repeatable.")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with an encoder's checkpoint.")
    ] = False,
) -> None:
    """Add a person to a checkpoint, from a few images that they rated, liked or chose among.

    steer-predictor enroll my_checkpoint --user ada --ratings ada.csv --scale 1,7 --out with_ada

    steer-predictor enroll with_ada --user ada --choices more.csv --update --out with_ada

    steer-predictor enroll my_checkpoint --user p-1f0c2a --ratings my_dataset --out with_them

    steer-batch --users ada --prompts prompts.txt --predictor with_ada
    """
    from predictor.commands import people
    from predictor.data.rating_scale import RatingScale
    from predictor.people.certainty import Tastes

    given = None if scale is None else RatingScale.parse(scale)
    with _progress() as advance:
        enrolled = people.enroll(
            checkpoint,
            user,
            out,
            ratings=ratings,
            choices=choices,
            likes=likes,
            update=update,
            scale=given,
            demographics=dict(_key_value(text) for text in demographic or []),
            trust_remote_code=trust_remote_code,
            progress=advance,
        )
    count = enrolled.users["n_ratings"][-1].as_py()
    known = Tastes.read(out).certainty(user)
    typer.echo(f"{out}: knows {user} from {count} answers; error of a predicted preference {known}")


@app.command()
def forget(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint folder or hub id.")],
    user: Annotated[str, typer.Option(help="Name of a person who was enrolled.")],
    out: Annotated[Path, typer.Option(help="Checkpoint folder to write; may be the same one.")],
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with an encoder's checkpoint.")
    ] = False,
) -> None:
    """Take a person out of a checkpoint, with all that they answered and all that was inferred from it.

    steer-predictor forget with_ada --user ada --out without_ada
    """
    from predictor.commands import people

    people.forget(checkpoint, user, out, trust_remote_code=trust_remote_code)
    typer.echo(f"{out}: does not know {user}")


@app.command()
def score(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint folder or hub id.")],
    images: Annotated[list[Path], typer.Argument(help="Images to score.")],
    user: Annotated[str, typer.Option(help="User id to score for, or * for the population.")],
    prompt: Annotated[str | None, typer.Option(help="The prompt that the images were made from.")] = None,
    interval: Annotated[
        float | None,
        typer.Option(
            help="Also print low and high: the interval that holds the rating with this probability, in percent."
        ),
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with an encoder's checkpoint.")
    ] = False,
) -> None:
    """Print image,score for one user: 0 to 1, higher is better.

    steer-predictor score my_checkpoint --user u07 *.png

    steer-predictor score my_checkpoint --user u07 --interval 80 *.png
    """
    from predictor.commands import scoring

    table = scoring.score(
        checkpoint, images, user, prompt=prompt, interval=interval, trust_remote_code=trust_remote_code
    )
    rows = zip(*table.to_pydict().values(), strict=True)
    _print_csv(table.column_names, ([image, *(f"{value:.6f}" for value in values)] for image, *values in rows))


@app.command()
def push(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint folder.")],
    repository: Annotated[str, typer.Argument(help="Hub repository to publish to: owner/name.")],
    people: Annotated[
        bool, typer.Option("--people", help="Publish the people too: demographics, tastes and answers; ask them first.")
    ] = False,
    private: Annotated[
        bool, typer.Option("--private", help="Make the repository private, if it does not exist yet.")
    ] = False,
    revision: Annotated[str | None, typer.Option(help="Branch to publish to; default: main.")] = None,
) -> None:
    """Publish a checkpoint on the hub, with its card and metrics, and without its people unless asked.

    steer-predictor push my_checkpoint me/my-predictor

    steer-predictor score me/my-predictor@main --user '*' image.png
    """
    from predictor.hub.publishing import push as publish

    typer.echo(publish(checkpoint, repository, people=people, private=private, revision=revision))


@app.command()
def info(checkpoint: Annotated[str, typer.Argument(help="Checkpoint folder or hub id.")]) -> None:
    """Print a checkpoint's model card and its users."""
    from predictor.checkpoint import info as checkpoint_info

    told = checkpoint_info(checkpoint)
    typer.echo(told.card)
    _print_csv(told.users.column_names, (row.values() for row in told.users.to_pylist()))


def main() -> None:
    """Entry point of the console script."""
    run(app, "steer-predictor")


def run(commands: Callable[[], object], name: str) -> None:
    """Run a command line: a ValueError or OSError is one line and exit status 2, Ctrl-C is exit status 130."""
    try:
        commands()
    except ValueError as error:
        typer.secho(f"{name}: {' '.join(str(error).split())}", fg="red", err=True)
        sys.exit(2)
    except OSError as error:
        typer.secho(f"{name}: {system_error(error)}", fg="red", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


@contextmanager
def _say_on_interrupt(remedy: str) -> Iterator[None]:
    """On Ctrl-C, print how to resume."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(remedy, err=True)
        raise


def _key_value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ValueError(f"--demographic must be NAME=VALUE, got {text!r}")
    return name, value


def _print_csv(columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(columns)
    table.writerows(rows)


def _progress() -> "StageProgress":
    from predictor.progress import StageProgress, stderr_console

    return StageProgress(stderr_console())
