import base64
import json
import random
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipelines.records.journal import Journal, JournalError, cohort_of, lines, parse
from pipelines.search.notices import Check, Notice
from pipelines.search.rounds import Candidate, FreshImage, GuardVerdict, Proposed, Reseeded, Round
from tests.pipelines.search.recorded import as_text

texts = st.text(max_size=12) | st.sampled_from(["a\ncat", "\r\n", "\u2028", '{"', "\x00", "😀", "\\n", '"}\n'])
numbers = st.integers(0, 99) | st.floats()
optional_texts = st.none() | texts
a_notice = st.builds(Notice, st.sampled_from(Check), numbers, numbers, texts)
some_notices = st.lists(a_notice, max_size=2).map(tuple)
some_seeds = st.lists(st.integers(0, 2**63 - 1), max_size=2).map(tuple)
a_candidate = st.builds(
    Candidate,
    prompt=texts,
    image=optional_texts,
    error=optional_texts,
    preview=optional_texts,
    preview_score=st.none() | st.floats(),
    warnings=some_notices,
    rejected=st.none() | a_notice,
)
a_proposal = st.builds(
    Proposed,
    users=st.lists(texts, min_size=1, max_size=3).map(tuple),
    candidates=st.lists(a_candidate, max_size=3).map(tuple),
    seeds=some_seeds,
    refused=st.dictionaries(texts, st.integers(0, 99), max_size=2),
)
a_verdict = st.builds(
    GuardVerdict,
    measured=st.dictionaries(texts, numbers, max_size=2),
    warnings=some_notices,
    rejected=st.none() | a_notice,
    error=optional_texts,
)
fresh_images = st.lists(
    st.builds(FreshImage, image=optional_texts, score=st.none() | st.floats(), error=optional_texts), max_size=2
).map(tuple)
what_became_of_a_winner = st.builds(
    Reseeded,
    prompt=texts,
    seeds=some_seeds,
    initial=fresh_images,
    final=fresh_images,
    warnings=some_notices,
    rejected=st.none() | a_notice,
)
any_bits = arrays.arrays(np.uint32, st.tuples(st.integers(1, 4), st.integers(0, 4))).map(lambda a: a.view(np.float32))
a_search = st.builds(
    Round,
    number=st.integers(0, 99),
    proposed=st.lists(a_proposal, min_size=1, max_size=2).map(tuple),
    scores=any_bits,
    verdicts=st.dictionaries(texts, a_verdict, max_size=2),
)
a_reseed = st.builds(
    Round,
    number=st.integers(1, 99),
    reseeded=st.dictionaries(texts, what_became_of_a_winner, min_size=1, max_size=2),
)
some_lines = st.lists(st.tuples(texts, a_search | a_reseed), max_size=3)


@settings(max_examples=100)
@given(some_lines)
@example([("", Round(number=0, proposed=(Proposed(users=("",), candidates=(Candidate(prompt=""),)),)))])
def test_what_was_appended_reads_back_equal_and_its_scores_bit_for_bit(appended: Sequence[tuple[str, Round]]) -> None:
    with TemporaryDirectory() as folder:
        path = write(Path(folder) / "journal.jsonl", appended)

        assert read(path) == [(name, as_text(finished)) for name, finished in appended]
        assert [cohort_of("here", line) for _, line in lines(path)] == [name for name, _ in appended]
        assert path.read_bytes().count(b"\n") == len(appended)


@settings(max_examples=50)
@given(some_lines, st.data())
def test_a_journal_cut_at_any_byte_reads_to_a_prefix_and_can_be_continued(
    appended: Sequence[tuple[str, Round]], data: st.DataObject
) -> None:
    with TemporaryDirectory() as folder:
        path = write(Path(folder) / "journal.jsonl", appended)
        whole = path.read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:cut])
        kept = whole[:cut].count(b"\n")

        assert read(path) == [(name, as_text(finished)) for name, finished in appended[:kept]]
        write(path, appended[kept:])
        assert path.read_bytes() == whole


@settings(max_examples=50)
@given(texts, a_search | a_reseed, st.data())
def test_a_line_that_lacks_its_end_is_refused_with_the_place_where_it_stands(
    cohort_id: str, finished: Round, data: st.DataObject
) -> None:
    with TemporaryDirectory() as folder:
        ((_, line),) = lines(write(Path(folder) / "journal.jsonl", [(cohort_id, finished)]))
    cut = data.draw(st.integers(0, len(line) - 2))

    with pytest.raises(JournalError, match=r"^journal\.jsonl, line 7: not a line of a journal: "):
        parse("journal.jsonl, line 7", line[:cut] + b"\n")


def test_a_journal_that_is_not_there_or_empty_has_no_lines(tmp_path: Path) -> None:
    assert read(tmp_path / "none") == []

    assert read(write(tmp_path / "empty", [])) == []


def test_a_torn_line_longer_than_any_buffer_is_dropped(tmp_path: Path) -> None:
    path = write(tmp_path / "journal.jsonl", [("c", a_round(0))])
    with path.open("ab") as file:
        file.write(b"x" * 200_000)

    write(path, [("c", a_round(1))])

    assert read(path) == [("c", as_text(a_round(number))) for number in range(2)]


def test_every_line_has_the_byte_at_which_it_begins(tmp_path: Path) -> None:
    path = write(tmp_path / "journal.jsonl", [("ü/☃", a_round(number)) for number in range(3)])

    with path.open("rb") as file:
        for place, line in lines(path):
            file.seek(place)
            assert file.readline() == line


GOOD = (
    '{"cohort": "p1/pamela/1", "number": 1, "proposed": [{"users": ["u1"], "candidates": [], "seeds": [1], '
    '"refused": {"empty": 1}}], "users": 1, "scores": "AAAAPw=="}'
)
NOTICE = '{"check": "drift", "measured": 1, "limit": 2, "words": "w"}'
RESEEDED = (
    '{"cohort": "p1/pamela/1", "number": 1, "reseeded": {"u1": {"prompt": "p", "seeds": [3], '
    '"initial": [{"image": "i", "score": 0.1, "error": null}], "final": [{"image": "f", "score": 0.1, "error": null}], '
    '"warnings": [], "rejected": null}}}'
)


def with_candidate(candidate: str) -> str:
    return GOOD.replace('"candidates": []', f'"candidates": [{candidate}]')


def with_notice(notice: str) -> str:
    return with_candidate(f'{{"prompt": "a", "rejected": {notice}}}')


def with_verdict(verdict: str) -> str:
    return GOOD[:-1] + f', "verdicts": {{"i": {verdict}}}}}'


def packed(values: object) -> str:
    return base64.b64encode(zlib.compress(json.dumps(values).encode())).decode()


def in_plain(line: bytes) -> str:
    """The line with its proposals as JSON."""
    values = json.loads(line)
    if "proposed" in values:
        values["proposed"] = json.loads(zlib.decompress(base64.b64decode(values["proposed"])))
    return json.dumps(values)


def as_written(line: str) -> bytes:
    """The line with its proposals compressed, as a journal has them; as it is where it is no line."""
    try:
        values = json.loads(line)
        values["proposed"] = packed(values["proposed"])
    except (ValueError, KeyError, TypeError):
        return line.encode() + b"\n"
    return json.dumps(values, ensure_ascii=False).encode() + b"\n"


def test_the_lines_that_are_damaged_below_are_good_ones() -> None:
    for line in (GOOD, RESEEDED, with_notice(NOTICE), with_verdict("{}")):
        assert parse("here", as_written(line))[0] == "p1/pamela/1"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "null",
        "[]",
        "nonsense",
        GOOD[:-1],
        GOOD + GOOD,
        "\x00" * 20,
        '{"number": 1, "proposed": []}',
        '{"cohort": "p1/pamela/1", "proposed": []}',
        '{"cohort": "p1/pamela/1", "number": 1}',
        '{"trajectory": "p1/pamela/1/u1", "number": 1, "candidates": [], "seeds": [1], "refused": {}}',
        GOOD.replace('"p1/pamela/1"', "[]"),
        GOOD.replace('"number": 1', '"number": "1"'),
        GOOD.replace('"number": 1', '"number": 1.0'),
        GOOD.replace('"seeds"', '"seed"'),
        with_verdict("{}").replace('"verdicts"', '"verdict"'),
        RESEEDED.replace('"reseeded"', '"reseed"'),
        GOOD.replace("[1]", '["1"]'),
        GOOD.replace("[1]", "1"),
        GOOD.replace('{"empty": 1}', '{"empty": "1"}'),
        GOOD.replace('{"empty": 1}', "[]"),
        GOOD.replace('["u1"]', "[1]"),
        GOOD.replace('["u1"]', '"u1"'),
        GOOD.replace('["u1"]', "null"),
        GOOD.replace("[]", "null"),
        GOOD.replace('"candidates": [], ', ""),
        GOOD.replace('"users": ["u1"], ', ""),
        GOOD.replace('"users": 1', '"users": "1"'),
        GOOD.replace('"users": 1', '"users": 2'),
        GOOD.replace('"users": 1', '"users": 0'),
        GOOD.replace('"users": 1', '"users": -1'),
        GOOD.replace('"AAAAPw=="', "0.5"),
        GOOD.replace('"AAAAPw=="', "[0.5]"),
        GOOD.replace("AAAAPw==", "AAAAPw="),
        GOOD.replace("AAAAPw==", "AAAAPw"),
        GOOD.replace("AAAAPw==", "AAAA"),
        GOOD.replace("AAAAPw==", "AAAA Pw=="),
        GOOD.replace("AAAAPw==", "AAAAPw☃="),
        with_candidate('{"image": "i"}'),
        with_candidate('{"prompt": 1}'),
        with_candidate('{"prompt": "a", "mood": 1}'),
        with_candidate('{"prompt": "a", "image": 1}'),
        with_candidate('{"prompt": "a", "error": 1}'),
        with_candidate('{"prompt": "a", "preview_score": "1"}'),
        with_candidate('"a"'),
        with_notice(NOTICE.replace("drift", "mood")),
        with_notice(NOTICE.replace("1", '"1"')),
        with_notice(NOTICE.replace('"w"', "1")),
        with_notice('{"check": "drift"}'),
        with_candidate('{"prompt": "a", "warnings": ["subject: lacks cat"]}'),
        with_verdict('{"measured": {"saturation": "1"}}'),
        with_verdict('{"measured": [1]}'),
        with_verdict('{"error": 1}'),
        with_verdict('{"mood": 1}'),
        with_verdict("null"),
        RESEEDED.replace("[3]", '["3"]'),
        RESEEDED.replace('"prompt": "p", ', ""),
        RESEEDED.replace('"p"', "1"),
        RESEEDED.replace('"score": 0.1', '"score": "0.1"'),
        RESEEDED.replace('"image": "i"', '"image": 1'),
        RESEEDED.replace('"rejected": null', '"rejected": "reseed: no better"'),
        RESEEDED.replace('"seeds": [3], ', ""),
    ],
)
def test_a_damaged_line_is_an_error_that_says_where_it_stands(line: str) -> None:
    with pytest.raises(JournalError, match=r"^journal\.jsonl, line 2: not a line of a journal: "):
        parse("journal.jsonl, line 2", as_written(line))


@pytest.mark.parametrize(
    "proposed, problem",
    [
        ([], "an earlier version wrote it: start a new run"),
        (None, "proposals are not text"),
        (packed([]), "a round of nothing"),
        ("AAAA", "proposals do not decompress: Error -3 while decompressing data: unknown compression method"),
        (packed([])[:-4], "proposals end before their time, or go on after their end"),
        (
            base64.b64encode(zlib.compress(b"[]") + b"hidden").decode(),
            "proposals end before their time, or go on after",
        ),
        (base64.b64encode(zlib.compress(b"[" * 100_000)).decode(), "maximum recursion depth exceeded"),
        ("☃", "string argument should contain only ASCII characters"),
    ],
)
def test_proposals_that_are_not_compressed_json_are_an_error(proposed: object, problem: str) -> None:
    line = json.dumps({**json.loads(GOOD), "proposed": proposed}).encode()

    with pytest.raises(JournalError, match=f"line 2: not a line of a journal: {problem}"):
        parse("line 2", line)


def test_a_line_that_is_not_utf_8_is_an_error_that_says_where_it_stands() -> None:
    for line in (b"\xff\n", b'{"cohort": "\xff"}\n'):
        for reading in (parse, cohort_of):
            with pytest.raises(JournalError, match=r"line 2: not a line of a journal"):
                reading("line 2", line)


def test_the_cohort_of_a_line_that_begins_otherwise_is_found_too() -> None:
    values = json.loads(as_written(GOOD))
    turned = json.dumps(dict(reversed(values.items()))).encode()

    assert cohort_of("here", turned) == cohort_of("here", as_written(GOOD)) == "p1/pamela/1"
    with pytest.raises(JournalError, match="line 2: not a line of a journal"):
        cohort_of("line 2", b'{"cohort": 1}\n')


def test_what_became_of_a_winner_with_fresh_seeds_reads_back_equal(tmp_path: Path) -> None:
    notice = Notice(Check.RESEED, 0.4, 0.5, "with 1 fresh seeds its mean score is 0.400, the base prompt's 0.500")
    again = Reseeded(
        prompt="a cat, warm",
        seeds=(3,),
        initial=(FreshImage(image="b", score=0.5),),
        final=(FreshImage(error="no photograph"),),
    )
    appended = [
        ("c", Round(number=1, reseeded={"u1": replace(again, warnings=(notice,)), "u2": again})),
        ("c", Round(number=2, reseeded={"u1": replace(again, rejected=notice)})),
    ]

    assert read(write(tmp_path / "journal.jsonl", appended)) == [(name, as_text(each)) for name, each in appended]


APPEND_FOREVER = """
import sys
import numpy as np
from pathlib import Path
from pipelines.records.journal import Journal, lines
from pipelines.search.rounds import Candidate, Proposed, Round
path = Path(sys.argv[1])
number = len(list(lines(path)))
journal = Journal(path)
while True:
    proposed = Proposed(users=("u",), candidates=(Candidate(prompt="☃" * 300_000, image="i"),))
    journal.append("c", Round(number=number, proposed=(proposed,), scores=np.full((1, 1), number / 7, np.float32)))
    print(number, flush=True)
    number += 1
"""


def test_a_writer_that_is_killed_at_any_moment_leaves_a_journal_that_reads_with_all_it_had_finished(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal.jsonl"
    rng = random.Random(0)
    finished = 0
    for _ in range(5):
        command = [sys.executable, "-c", APPEND_FOREVER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            said = process.stdout.readline()
            time.sleep(rng.uniform(0, 0.1))
            process.kill()
            said += process.stdout.read()

        rounds = [parse("here", line)[1] for _, line in lines(path)]

        finished += said.count("\n")
        assert len(rounds) in (finished, finished + 1)
        assert [each.number for each in rounds] == list(range(len(rounds)))
        assert [each.scores.item() for each in rounds] == [np.float32(number / 7) for number in range(len(rounds))]
        finished = len(rounds)
    assert finished >= 5


FULL_DISK = """
import resource, sys
from pathlib import Path
from pipelines.records.journal import Journal, lines, parse
from pipelines.search.rounds import Candidate, Proposed, Round
path, size, then = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
def of(number, prompt):
    return Round(number=number, proposed=(Proposed(users=("u",), candidates=(Candidate(prompt=prompt),)),))
def prompts():
    return [parse("here", line)[1].proposed[0].candidates[0].prompt for _, line in lines(path)]
journal = Journal(path)
journal.append("c", of(0, "before"))
free, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, most))
try:
    journal.append("c", of(1, "y" * size))
except OSError as error:
    assert error.strerror == "File too large", error
    assert prompts() == ["before"]
else:
    raise AssertionError("it should not have fitted")
resource.setrlimit(resource.RLIMIT_FSIZE, (free, most))
if then == "append":
    journal.append("c", of(1, "after"))
journal.close()
assert prompts() == ["before", "after"][: 2 if then == "append" else 1]
"""


@pytest.mark.parametrize("size", [200, 100_000])
@pytest.mark.parametrize("then", ["append", "close"])
def test_a_line_that_did_not_fit_on_the_disk_is_not_in_the_journal_even_once_there_is_space_again(
    tmp_path: Path, size: int, then: str
) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "journal.jsonl"), str(size), then]

    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_line_says_in_json_whose_it_is_and_leaves_out_what_is_not_said(tmp_path: Path) -> None:
    path = write(tmp_path / "journal.jsonl", [("p1/pamela/1", a_round(0))])

    assert json.loads(in_plain(path.read_bytes())) == {
        "cohort": "p1/pamela/1",
        "number": 0,
        "proposed": [{"users": ["u1", "u2"], "candidates": [{"prompt": "a cat, 0", "image": "i0"}]}],
        "users": 2,
        "scores": base64.b64encode(np.array([0.1, 0.2], "<f4").tobytes()).decode(),
    }


def test_a_score_of_a_large_cohort_takes_five_and_a_half_bytes_at_most(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).random((400, 60), np.float32)
    candidates = tuple(Candidate(prompt="p", image=f"i{place}") for place in range(60))
    finished = Round(number=0, proposed=(Proposed(users=("u",), candidates=candidates),), scores=scores)

    path = write(tmp_path / "journal.jsonl", [("c", finished)])

    assert path.stat().st_size < 5.5 * scores.size


def test_a_proposal_that_was_not_rendered_takes_less_room_than_its_prompt(tmp_path: Path) -> None:
    words = [f"word{number}" for number in range(300)]
    chance = random.Random(0)
    notice = Notice(Check.SCREEN, 0.25, 0.5, "predicted score 0.250, below 0.500")
    prompts = [" ".join(chance.choices(words, k=12)) for _ in range(1000)]
    candidates = tuple(Candidate(prompt=prompt, rejected=notice) for prompt in prompts)

    path = write(
        tmp_path / "journal.jsonl", [("c", Round(number=1, proposed=(Proposed(users=("u",), candidates=candidates),)))]
    )

    assert path.stat().st_size < 0.7 * sum(map(len, prompts))


def a_round(number: int) -> Round:
    candidates = (Candidate(prompt=f"a cat, {number}", image=f"i{number}"),)
    scores = np.array([[0.1], [0.2]], np.float32)
    return Round(number=number, proposed=(Proposed(users=("u1", "u2"), candidates=candidates),), scores=scores)


def write(path: Path, appended: Sequence[tuple[str, Round]]) -> Path:
    journal = Journal(path)
    for cohort_id, finished in appended:
        journal.append(cohort_id, finished)
    journal.close()
    return path


def read(path: Path) -> list[tuple[str, tuple[str, tuple[int, ...], bytes]]]:
    parsed = [parse(f"{path}, byte {place}", line) for place, line in lines(path)]
    return [(cohort_id, as_text(finished)) for cohort_id, finished in parsed]
