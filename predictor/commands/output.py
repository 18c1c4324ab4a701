"""Check of the folder that a checkpoint is written to: it must not hold anything else."""

from pathlib import Path

from predictor.data.output_folder import holds_something
from predictor.transformer.training_state import FILE


def refuse_nonempty(out: Path, *, unless: str | None = None) -> None:
    """Refuse an output folder that is not empty, but for an unfinished one that holds the file `unless`.

    Raises
    ------
    ValueError
        It is not empty; says how to go on with a training that was stopped there.
    """
    if not holds_something(out):
        return
    unfinished = not (out / "config.json").is_file()
    if unless is not None and (out / unless).is_file() and unfinished:
        return
    stopped = out.is_dir() and (out / FILE).is_file() and unfinished
    remedy = "go on with it by --resume, or name a new folder" if stopped else "name a new folder"
    raise ValueError(f"--out {out}: is not empty; {remedy}")
