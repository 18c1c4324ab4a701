import logging
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.records.run_log import RunLog

EVENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) ([A-Z]+) (\S+): (.*)")
logger = logging.getLogger("pipelines.somewhere")


def events(folder: Path) -> list[tuple[str, str, str]]:
    """Level, module and message of each line; every line has to be an event."""
    found = [EVENT.fullmatch(line) for line in (folder / "run.log").read_text("utf-8").splitlines()]
    assert None not in found
    return [(match[2], match[3], match[4]) for match in found if match]


def test_events_are_lines_with_their_time_level_and_module_whether_there_was_a_folder_yet_or_not(
    tmp_path: Path,
) -> None:
    with RunLog() as log:
        logger.info("started with %d of them", 3)
        assert list(tmp_path.iterdir()) == []
        log.open(tmp_path)
        logger.warning("later")

    assert events(tmp_path) == [
        ("INFO", "pipelines.somewhere", "started with 3 of them"),
        ("WARNING", "pipelines.somewhere", "later"),
    ]
    first = EVENT.match((tmp_path / "run.log").read_text("utf-8"))
    assert first is not None
    assert abs(datetime.fromisoformat(first[1]) - datetime.now(UTC)) < timedelta(minutes=1)


def test_an_event_is_one_line_whatever_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's, whose reports cannot hold half a character
    with RunLog() as log:
        log.open(tmp_path)
        logger.info("trajectory %s: failed", "p1/pamela/1/group:\"a\nb\" = 'ü/☃'\u2028 half \ud83d")

    ((_, _, message),) = events(tmp_path)
    assert message == "trajectory p1/pamela/1/group:\"a b\" = 'ü/☃'  half \\ud83d: failed"


def test_each_event_is_in_the_file_at_once(tmp_path: Path) -> None:
    with RunLog() as log:
        log.open(tmp_path)
        for number in range(3):
            logger.info("event %d", number)
            assert len(events(tmp_path)) == number + 1


def test_a_run_that_is_resumed_appends(tmp_path: Path) -> None:
    for what in ("started", "resumed"):
        with RunLog() as log:
            log.open(tmp_path)
            logger.info("run %s", what)

    assert [message for _, _, message in events(tmp_path)] == ["run started", "run resumed"]


def test_a_run_that_never_had_a_folder_leaves_nothing(tmp_path: Path) -> None:
    with RunLog():
        logger.info("started")

    assert list(tmp_path.iterdir()) == []


def test_of_other_libraries_only_warnings_are_logged_and_afterwards_everything_is_as_before(tmp_path: Path) -> None:
    before = list(logging.getLogger().handlers), logging.getLogger("pipelines").level
    with RunLog() as log:
        log.open(tmp_path)
        logging.getLogger("elsewhere").info("chatter")
        logging.getLogger("elsewhere").warning("trouble")
        logging.getLogger("actors.pool.actor_pool").info("an actor is up")
    logger.warning("too late")

    assert [message for _, _, message in events(tmp_path)] == ["trouble", "an actor is up"]
    assert (list(logging.getLogger().handlers), logging.getLogger("pipelines").level) == before


def test_the_error_that_ends_a_run_is_there_with_its_whole_traceback(tmp_path: Path) -> None:
    log = RunLog()
    with pytest.raises(KeyError) as ended, log:
        log.open(tmp_path)
        try:
            raise ValueError("the cause")
        except ValueError as error:
            raise KeyError("the consequence") from error

    text = (tmp_path / "run.log").read_text("utf-8")
    assert "ERROR pipelines.records.run_log: ended by an error\nTraceback (most recent call last):\n" in text
    assert "ValueError: the cause" in text
    assert text.endswith("KeyError: 'the consequence'\n")
    assert log.path_of(ended.value) == tmp_path / "run.log"
    assert log.path_of(KeyError()) is None


def test_an_error_before_there_was_a_folder_is_in_no_file() -> None:
    log = RunLog()
    with pytest.raises(KeyError) as ended, log:
        raise KeyError("early")

    assert log.path_of(ended.value) is None


def test_an_interruption_is_a_line(tmp_path: Path) -> None:
    log = RunLog()
    with pytest.raises(KeyboardInterrupt), log:
        log.open(tmp_path)
        raise KeyboardInterrupt

    assert [message for _, _, message in events(tmp_path)] == ["interrupted"]


def test_a_log_that_cannot_be_written_disturbs_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def write(self, text: str) -> None:
            raise OSError(28, "No space left on device")

        def flush(self) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            raise OSError(28, "No space left on device")

    with RunLog() as log:
        log.open(tmp_path)
        file = log._file
        assert file is not None
        monkeypatch.setattr(file, "stream", Full())
        logger.info("lost")

    assert capsys.readouterr().err == ""
