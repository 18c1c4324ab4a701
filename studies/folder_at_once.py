"""A folder that appears whole or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def folder_at_once(out: Path, *, option: str = "--out") -> Iterator[Path]:
    """Gives a folder beside `out` to write into, which becomes `out` when the block ends well, and vanishes when not.

    Raises
    ------
    ValueError
        There is something at `out` already, or nothing can be written there; `option` is what the user named it by.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{option} {out}: is there already, and may hold people's answers; name another folder")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise ValueError(f"{option} {out}: cannot be written: {error.strerror}; name another folder") from error
    try:
        yield temporary
        temporary.chmod(0o755)
        if out.is_dir():
            out.rmdir()
        temporary.rename(out)
    except OSError as error:
        raise ValueError(
            f"{option} {out}: cannot be written: {error.strerror or error}; mend that, and try again"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
