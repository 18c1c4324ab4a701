"""`score`: image files for one person."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from predictor.data.folders import StrPath, names_of
from predictor.error_messages import readable
from predictor.predictor import PamelaPredictor


def score(
    checkpoint: StrPath,
    images: StrPath | Sequence[StrPath],
    user: str,
    *,
    prompt: str | None = None,
    interval: float | None = None,
    trust_remote_code: bool = False,
) -> pa.Table:
    """Score image files for one person. `PamelaPredictor.score` does it for images in memory.

    Parameters
    ----------
    checkpoint
        Checkpoint folder or hub id.
    user
        A user id, or `*` for the population.
    prompt
        The prompt that the images were made from.
    interval
        Probability in percent: also give low and high, the ends of the interval that holds the person's rating.

    Returns
    -------
    A table in the order of the images: image (the path as given), score (0 to 1, higher is better), and with
    `interval` low and high.

    Raises
    ------
    ValueError
        The user is unknown, an image cannot be read, or the interval is not between 0 and 100.
    """
    if interval is not None and not 0 < interval < 100:
        raise ValueError(f"--interval must be between 0 and 100 percent, got {interval:g}")
    names = names_of(images, "image")
    files = [Path(name) for name in names]
    predictor = PamelaPredictor.from_pretrained(checkpoint, trust_remote_code=trust_remote_code)
    person = predictor.population() if user == "*" else predictor.person(user)
    encoded = predictor.encoders.encode_files(files, [prompt] * len(files), [{}] * len(files))
    columns = {"score": predictor.score_images(encoded, [person])[0]}
    if interval is not None:
        columns["low"], columns["high"] = predictor.interval(encoded, person, probability=interval / 100)
    return pa.table({"image": pa.array(map(readable, names), pa.string()), **columns})
