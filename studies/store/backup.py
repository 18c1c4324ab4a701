"""A sound copy of a study, also while it is served."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from studies.folders import new_output_folder
from studies.store.database import open_for_reading
from studies.study import Study


def back_up(study: Study, out: Path) -> int:
    """Copy a study folder to `out`, where it can be served, read and reported like the study itself.

    The votes are copied by SQLite's own backup, in one piece: what was confirmed before it began is there, and nobody
    who votes waits for it. All else in a study folder never changes.

    Returns
    -------
    How many answers are in the copy.

    Raises
    ------
    ValueError
        There is something at `out` already, it lies in the study, or it cannot be written; or nobody was invited yet,
        and there is no answer.
    """
    if study.folder.resolve() in out.resolve().parents:
        raise ValueError(f"OUT {out}: lies in the study itself, which would copy the copy; name a folder elsewhere")
    with new_output_folder(out, option="OUT") as folder:
        target = sqlite3.connect(folder / study.database.name)
        with closing(open_for_reading(study.database)) as votes, closing(target) as copy:
            votes.backup(copy)
            count = "SELECT (SELECT count(*) FROM votes) + (SELECT count(*) FROM ratings)"
            answers = copy.execute(count).fetchone()[0]
        for path in sorted(study.folder.iterdir()):
            if path.is_dir():
                shutil.copytree(path, folder / path.name)
            elif not path.name.startswith((study.database.name, ".")):
                shutil.copy2(path, folder / path.name)
    return answers
