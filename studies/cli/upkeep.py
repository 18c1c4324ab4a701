"""`steer-study backup`, `remove`, `close` and `reopen`: what a researcher does while a study runs."""

from pathlib import Path
from typing import Annotated

import typer

_StudyFolder = Annotated[Path, typer.Argument(help="Study folder.")]


def backup(
    folder: _StudyFolder,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write the copy to.")],
) -> None:
    """Copy a study with all answers that are confirmed by now; the server may be running.

    The copy is a study folder like the study itself. It holds the key and what people told: keep it as safe.

    steer-study backup my_study backups/2026-11-28
    """
    from studies.commands import upkeep

    answers = upkeep.backup(folder, out)
    typer.echo(f"{out}: a copy of {folder} with {answers:,} answers")


def remove(
    folder: _StudyFolder,
    participant: Annotated[str, typer.Argument(help="Their random name (p-…), or their id at Prolific.")],
) -> None:
    """Delete everything that a participant answered and told, as if they had withdrawn; the server may be running.

    It cannot be undone, and it does not reach copies: those of `backup`, exports and reports are yours to delete.

    steer-study remove my_study p-1f0c2a9b33d4
    """
    from studies.commands import upkeep

    upkeep.remove(folder, participant)
    typer.echo(f"{participant}: everything that they answered and told is deleted")


def close(folder: _StudyFolder) -> None:
    """Let nobody new begin; those who have begun may go on. The server may be running.

    steer-study close my_study
    """
    from studies.commands import upkeep

    upkeep.close(folder)
    typer.echo(f"{folder}: closed to newcomers; `steer-study reopen` lets them in again")


def reopen(folder: _StudyFolder) -> None:
    """Let people begin again after `close`.

    steer-study reopen my_study
    """
    from studies.commands import upkeep

    upkeep.reopen(folder)
    typer.echo(f"{folder}: open")
