"""answers.jsonl, and what follows from it."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from actors.messages import TasteFeatures
from pipelines.live.people.answers import AnswerLog, PersonAnswer, ShownPicture, pictures_of
from pipelines.live.people.folder import PeopleFolder, choices_of


def picture(name: str) -> ShownPicture:
    seen = TasteFeatures(id=name, population=0.5, generic=0.1, values=(0.25, -1.5))
    return ShownPicture(seen=seen, file=f"images/{name}.png", prompt="a cat")


def question(number: int, *names: str, chosen: str | None = None, worst: str | None = None) -> PersonAnswer:
    pictures = tuple(picture(name) for name in names)
    return PersonAnswer(number=number, kind="question", shown=names, chosen=chosen, worst=worst, pictures=pictures)


def test_answers_read_back_as_they_were_given(tmp_path: Path) -> None:
    given = [question(0, "a", "b", chosen="a"), question(1, "c", "d", chosen="d", worst="c")]
    e = replace(picture("e"), metadata={"content": "animal"})
    given.append(PersonAnswer(number=2, kind="question", shown=("e",), chosen="e", pictures=(e,)))
    log = AnswerLog(tmp_path / "answers.jsonl")
    for answer in given:
        assert log.append(answer)
    log.close()

    again = AnswerLog(tmp_path / "answers.jsonl")

    assert again.answers == given
    assert pictures_of(again.answers)["d"] == picture("d")
    again.close()


def test_a_torn_last_line_is_dropped_and_its_number_is_due_again(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    log = AnswerLog(file)
    log.append(question(0, "a", "b", chosen="a"))
    log.append(question(1, "c", "d", chosen="c"))
    log.close()
    file.write_bytes(file.read_bytes()[:-20])

    torn = AnswerLog(file)
    assert len(torn.answers) == 1
    assert torn.append(question(1, "e", "f", chosen="f"))
    torn.close()

    again = AnswerLog(file)
    assert [answer.chosen for answer in again.answers] == ["a", "f"]
    again.close()


def test_a_number_that_was_answered_is_not_answered_again_and_none_is_left_out(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path / "answers.jsonl")
    log.append(question(0, "a", "b", chosen="a"))

    assert not log.append(question(0, "a", "b", chosen="b"))
    with pytest.raises(ValueError, match="answer 1 is due, got 2"):
        log.append(question(2, "c", "d", chosen="c"))
    assert [answer.chosen for answer in log.answers] == ["a"]
    log.close()


def test_a_line_that_is_no_answer_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text('{"number": 0, "kind": "question"}\n{"number": 5, "kind": "question"}\n')

    with pytest.raises(ValueError, match=r"answers.jsonl, line 2: not an answer: it is number 5"):
        AnswerLog(file)


def test_none_of_these_is_a_dislike_of_each_and_a_skipped_question_is_no_choice() -> None:
    skipped = PersonAnswer(number=1, kind="question", shown=("c", "d"), skipped=True)

    rows = choices_of("Ada", [question(0, "a", "b"), skipped, question(2, "e", "f", chosen="f", worst="e")])

    assert [(row["shown"], row["chosen"], row["worst"]) for row in rows] == [
        (["a"], None, None),
        (["b"], None, None),
        (["e", "f"], "f", "e"),
    ]


def test_a_new_persons_folder_has_empty_tables_and_a_key_that_only_they_can_read(tmp_path: Path) -> None:
    people = PeopleFolder(tmp_path / "people")

    person = people.add("Ada Lovelace", tmp_path / "checkpoint", "abc")

    assert people.of_key(person.key) == person
    assert people.of_key("guessed") is None
    assert pq.read_table(person.path / "choices.parquet").num_rows == 0
    assert (person.path / "person.json").stat().st_mode & 0o077 == 0
    people.close()
    assert PeopleFolder(tmp_path / "people").of_key(person.key) == person


@pytest.mark.parametrize("name", ["", "..", "a/b", "a,b", "*", "all", "x" * 41, ".hidden", "group: me"])
def test_what_cannot_be_a_persons_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"A name has|must be a name"):
        PeopleFolder(tmp_path).add(name, tmp_path, "abc")


def test_a_name_is_there_once_whatever_its_case(tmp_path: Path) -> None:
    people = PeopleFolder(tmp_path)
    people.add("Ada", tmp_path, "abc")

    with pytest.raises(ValueError, match="This name is taken"):
        people.add("ada", tmp_path, "abc")
    with pytest.raises(ValueError, match="This name is taken"):
        people.add("U01", tmp_path, "abc", taken=["u01"])


def test_whoever_is_deleted_leaves_nothing(tmp_path: Path) -> None:
    people = PeopleFolder(tmp_path)
    person = people.add("Ada", tmp_path, "abc")

    people.delete(person)

    assert not person.path.exists()
    assert people.of_key(person.key) is None


FULL_DISK = """
import resource, sys
from pathlib import Path
from pipelines.live.people.answers import AnswerLog, PersonAnswer
path = Path(sys.argv[1])
log = AnswerLog(path)
free, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 50, most))
try:
    log.append(PersonAnswer(number=1, kind="round", run="y" * int(sys.argv[2])))
except OSError as error:
    assert error.strerror == "File too large", error
else:
    raise AssertionError("it should not have fitted")
resource.setrlimit(resource.RLIMIT_FSIZE, (free, most))
assert log.append(PersonAnswer(number=1, kind="stop"))
log.close()
again = AnswerLog(path)
assert [answer.kind for answer in again.answers] == ["question", "stop"], again.answers
"""


@pytest.mark.parametrize("size", [60, 100_000])
def test_an_answer_that_did_not_fit_on_the_disk_leaves_nothing_even_behind_a_torn_line(
    tmp_path: Path, size: int
) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text('{"number": 0, "kind": "question"}\n{"number": 1, "kind": "stop", "at": "2026-11-2')

    ended = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(file), str(size)], capture_output=True, text=True, check=False
    )

    assert (ended.returncode, ended.stderr) == (0, "")


def test_only_questions_and_rounds_that_were_answered_tell_something_of_a_taste() -> None:
    given = PersonAnswer(number=0, kind="question", shown=("a", "b"), chosen="a")

    assert given.is_evidence
    assert replace(given, kind="round").is_evidence
    assert not replace(given, kind="keep").is_evidence
    assert not replace(given, skipped=True).is_evidence
    assert not replace(given, shown=()).is_evidence


def test_nothing_chosen_and_no_worst_is_a_dislike_of_all() -> None:
    none = PersonAnswer(number=0, kind="question", shown=("a", "b"))

    assert none.dislikes_all
    assert not replace(none, chosen="a").dislikes_all
    assert not replace(none, worst="a").dislikes_all
