"""run.log: the events of a run with their times, in UTC. One line an event; tracebacks follow their line, whole.

The modules of the house log by `logging.getLogger(__name__)`. A `RunLog` collects what they log, and what any other
library warns of, and writes it to the run folder as soon as there is one. A run that is resumed appends to its log.
"""

import logging
import logging.handlers
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

logger = logging.getLogger(__name__)

_HOUSE = ("predictor", "actors", "pipelines")
"""Packages of which more than warnings is logged."""

LOG_FILE = "run.log"


class RunLog:
    """Collects events while it is entered, and the error that ends it. Until `open` is called, memory holds them.

    Example:

        with RunLog() as log:
            logger.info("run begun")
            log.open(folder)
    """

    def __init__(self) -> None:
        # Holds events as long as it has no target, and passes each on at once when it has one.
        self._buffer = logging.handlers.MemoryHandler(capacity=1, flushLevel=logging.NOTSET, flushOnClose=False)
        self._file: _File | None = None
        self._error: BaseException | None = None
        self._levels = {name: logging.getLogger(name).level for name in _HOUSE}

    def open(self, folder: Path) -> None:
        """Write what was collected, and each later event at once, to the log of a run folder.

        Raises
        ------
        OSError
            The file cannot be opened.
        """
        self._file = _File(folder / LOG_FILE, encoding="utf-8", errors="backslashreplace")
        self._file.setFormatter(_Lines())
        self._buffer.setTarget(self._file)
        self._buffer.flush()

    def path_of(self, error: BaseException) -> Path | None:
        """The file that has the traceback of the error that ended the run; None where there is none."""
        return Path(self._file.baseFilename) if self._file is not None and error is self._error else None

    def __enter__(self) -> "RunLog":
        for name in _HOUSE:
            logging.getLogger(name).setLevel(logging.INFO)
        logging.getLogger().addHandler(self._buffer)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            logger.info("interrupted")
        elif error is not None:
            logger.error("ended by an error", exc_info=error)
            self._error = error
        logging.getLogger().removeHandler(self._buffer)
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)
        self._buffer.close()
        if self._file is not None:
            with suppress(OSError):
                self._file.close()


class _File(logging.FileHandler):
    """A log that cannot be written, as on a full disk, never disturbs the run or the screen."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Drop the event; that the disk is full is said where the records are written."""


class _Lines(logging.Formatter):
    """Time in UTC, level, module, message: one line, whatever the message holds."""

    converter = time.gmtime

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self.default_time_format, self.default_msec_format = "%Y-%m-%dT%H:%M:%S", "%s.%03dZ"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return " ".join(super().formatMessage(record).splitlines())
