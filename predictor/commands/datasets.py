"""`simulate` and `import`: the commands that make a dataset folder."""

from pathlib import Path

from predictor.data.folders import StrPath
from predictor.data.importing import TABLE, Report, import_table
from predictor.data.importing import import_dataset as import_release
from predictor.data.rating_scale import RatingScale
from predictor.progress import Progress
from predictor.simulation.dataset import simulate as rate_by_simulated_people
from predictor.simulation.raters import Rater


def simulate(
    images: StrPath,
    *,
    raters: int = 12,
    per_image: int = 8,
    seed: int = 0,
    progress: Progress = lambda what, done, total: None,
) -> list[Rater]:
    """Let simulated raters with a known taste rate a folder of images, which is a dataset folder then.

    Parameters
    ----------
    images
        Folder with images.csv (image_id, file[, prompt]) and its images. It gets users.csv, ratings.csv, dataset.yaml
        and the raters' true taste, truth.parquet.
    per_image
        How many raters rate each image; all of them, if there are fewer.

    Returns
    -------
    The raters.

    Raises
    ------
    ValueError
        An image cannot be read, or the folder holds ratings that were not simulated.
    """
    return rate_by_simulated_people(
        Path(images),
        raters=raters,
        ratings_per_image=min(per_image, raters),
        seed=seed,
        on_image=lambda done, total: progress("rating images", done, total),
    )


def import_dataset(
    source: StrPath | None = None,
    *,
    out: StrPath,
    kind: str,
    ratings: StrPath | None = None,
    images: StrPath | None = None,
    scale: RatingScale | tuple[float, float] | None = None,
    seed: int = 0,
    progress: Progress = lambda what, done, total: None,
) -> Report:
    """Write a dataset folder of released ratings, or of one table of ratings and a folder of images.

    Parameters
    ----------
    source
        Folder of the unzipped release, or a dataset folder; None with `kind="table"`.
    kind
        The layout: pamela, lapis, para, folder, or table.
    ratings, images, scale
        With `kind="table"`: the file with user_id, image and rating, the folder of the images, and the lowest and
        highest possible rating.
    seed
        Seed of the splits, for a release without splits.

    Returns
    -------
    What was kept, and what was refused and why.

    Raises
    ------
    ValueError
        The kind is unknown or takes something else, `out` is not empty, or no rating could be kept.

    Examples
    --------
    >>> import_dataset("PAMELA", kind="pamela", out="my_dataset")  # doctest: +SKIP
    >>> import_dataset(kind="table", ratings="r.csv", images="photos", scale=(1, 7), out="mine")  # doctest: +SKIP
    """
    if kind == TABLE:
        if ratings is None or images is None or scale is None or source is not None:
            raise ValueError("--kind table takes --ratings FILE, --images FOLDER and --scale LOW,HIGH, and no source")
        given = RatingScale.of(scale)
        return import_table(Path(ratings), Path(images), Path(out), scale=given, seed=seed, progress=progress)
    if source is None or not (ratings is images is scale is None):
        raise ValueError(f"--kind {kind} takes the folder of the release, and none of a table's options")
    return import_release(Path(source), Path(out), kind=kind, seed=seed, progress=progress)
