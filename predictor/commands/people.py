"""`enroll` and `forget`: the commands that add a person to a checkpoint and remove one."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from pathlib import Path

from predictor.checkpoint import checkpoint_categories, checkpoint_folder
from predictor.commands.output import refuse_nonempty
from predictor.data.folders import StrPath
from predictor.data.output_folder import output_folder
from predictor.data.rating_scale import RatingScale
from predictor.enrolment import AnsweredImages, read_choices_of_files, read_likes, read_person, read_ratings
from predictor.enrolment import enroll as enroll_files
from predictor.people.users import demographic_columns
from predictor.predictor import PamelaPredictor
from predictor.progress import Progress


def enroll(
    checkpoint: StrPath,
    user: str,
    out: StrPath,
    *,
    ratings: StrPath | None = None,
    choices: StrPath | None = None,
    likes: StrPath | None = None,
    update: bool = False,
    scale: RatingScale | tuple[float, float] | None = None,
    demographics: Mapping[str, str] | None = None,
    trust_remote_code: bool = False,
    progress: Progress = lambda what, done, total: None,
) -> PamelaPredictor:
    """Add a person to a checkpoint, from tables of a few images that they rated, liked or chose among.

    `PamelaPredictor.enroll` does it for images and answers in memory.

    Parameters
    ----------
    checkpoint
        Checkpoint folder or hub id.
    out
        Checkpoint folder to write; may be the same one.
    ratings
        Table with image (a path) and rating; or a dataset folder with the person's ratings.
    choices
        Table with shown (paths, joined by a space in CSV), chosen, and optionally worst.
    likes
        Table with image (a path) and liked (1 or 0).
    update
        Add to what the person answered before.
    scale
        Lowest and highest possible rating; None: 0 to 100. A dataset folder has its own.
    demographics
        The person's, such as {"age": "31"}. They override those of a dataset folder.

    Returns
    -------
    The predictor that was written; the person is the last of its `users`.

    Raises
    ------
    ValueError
        There is nothing to learn the person by, a table is faulty, the name is taken, or `out` holds something else.
    """
    if ratings is None and choices is None and likes is None:
        raise ValueError(f"--user {user}: nothing to learn them by; give --ratings, --choices or --likes")
    chosen = None if scale is None else RatingScale.of(scale)
    with _rewritten(checkpoint, Path(out)) as folder:
        categories = checkpoint_categories(folder)
        said, known = _ratings(None if ratings is None else Path(ratings), user, chosen, categories)
        said += [] if choices is None else [read_choices_of_files(Path(choices))]
        said += [] if likes is None else [read_likes(Path(likes), metadata=categories)]
        predictor = PamelaPredictor.from_pretrained(folder, trust_remote_code=trust_remote_code)
        known = {name: known[name] for name in demographic_columns(predictor.users.schema) if name in known}
        enrolled = enroll_files(
            predictor,
            user,
            reduce(AnsweredImages.joined, said),
            demographics={**known, **(demographics or {})},
            update=update,
            progress=progress,
        )
        enrolled.save_pretrained(Path(out))
    return enrolled


def forget(checkpoint: StrPath, user: str, out: StrPath, *, trust_remote_code: bool = False) -> PamelaPredictor:
    """Take a person out of a checkpoint, with all that they answered and all that was inferred from it.

    Parameters
    ----------
    user
        Somebody who was enrolled.
    out
        Checkpoint folder to write; may be the same one.

    Returns
    -------
    The predictor that was written.

    Raises
    ------
    ValueError
        The checkpoint does not know them, or learnt from them in training; or `out` holds something else.
    """
    with _rewritten(checkpoint, Path(out)) as folder:
        predictor = PamelaPredictor.from_pretrained(folder, trust_remote_code=trust_remote_code).forget(user)
        predictor.save_pretrained(Path(out))
    return predictor


@contextmanager
def _rewritten(checkpoint: StrPath, out: Path) -> Iterator[Path]:
    """Lock `out`, which must be the checkpoint's own folder or an empty one, and give the checkpoint's folder."""
    folder = checkpoint_folder(checkpoint)
    with output_folder(out):
        if out.resolve() != folder.resolve():
            refuse_nonempty(out)
        yield folder


def _ratings(
    source: Path | None, user: str, scale: RatingScale | None, categories: Collection[str]
) -> tuple[list[AnsweredImages], Mapping[str, str]]:
    """What a table of ratings or a dataset folder says of a person, and the demographics that the folder knows."""
    if source is None:
        return [], {}
    if source.is_dir():
        answered, demographics = read_person(source, user)
        return [answered], demographics
    return [read_ratings(source, scale, metadata=categories)], {}
