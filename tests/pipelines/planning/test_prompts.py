from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.planning.prompts import Prompt, prompts_of, read_prompts

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", ["prompts.txt", "prompts.md", "prompts", "PROMPTS.TXT"])
def test_a_text_file_is_read_a_prompt_a_line_without_blank_lines_and_comments(tmp_path: Path, name: str) -> None:
    path = file(tmp_path / name, "# one\na cat\n\n  \t\n   # two\n  a   dog, #3 \n#\nein Füchslein ☃")

    assert read_prompts(path) == [
        Prompt(id="p01", text="a cat"),
        Prompt(id="p02", text="a dog, #3"),
        Prompt(id="p03", text="ein Füchslein ☃"),
    ]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_byte_order_mark_and_any_line_ending_are_not_part_of_a_prompt(
    tmp_path: Path, newline: str, mark: str
) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes((mark + newline.join(["a cat", "", "# no", "a dog", ""])).encode())

    assert [prompt.text for prompt in read_prompts(path)] == ["a cat", "a dog"]


def test_only_a_line_break_ends_a_prompt(tmp_path: Path) -> None:
    path = file(tmp_path / "prompts.txt", "a cat\u2028on a\x0bmat, at\x0cdusk\x85here\na dog\n")

    assert [prompt.text for prompt in read_prompts(path)] == ["a cat on a mat, at dusk here", "a dog"]


def test_a_text_file_of_a_windows_editor_in_utf_16_is_read(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes("a fox\r\nein Füchslein\r\n".encode("utf-16"))

    assert [prompt.text for prompt in read_prompts(path)] == ["a fox", "ein Füchslein"]


def test_a_text_file_that_is_not_utf_8_is_refused_with_line_and_byte(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes("a fox\nein Füchslein".encode("latin-1"))

    with pytest.raises(ValueError, match=r"prompts\.txt: not UTF-8 in line 2 \(byte 11: fc\); save it as UTF-8"):
        read_prompts(path)


def test_metadata_in_lists_and_floats_are_words(tmp_path: Path) -> None:
    path = file(
        tmp_path / "prompts.jsonl", '{"prompt": "a cat", "tags": ["oil", "canvas"], "year": 1890.0, "none": []}\n'
    )

    assert read_prompts(path)[0].metadata == {"tags": "oil, canvas", "year": "1890"}


@pytest.mark.parametrize(
    "name, text",
    [("p.txt", ""), ("p.txt", "\n\n# only a comment\n"), ("p.txt", "\ufeff"), ("p.csv", "prompt,prompt_id\n")],
)
def test_a_file_without_prompts_is_refused(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(ValueError, match="holds no prompt; write one a line"):
        read_prompts(file(tmp_path / name, text))


def test_a_file_that_is_missing_or_no_table_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.txt", tmp_path / "gone.csv", tmp_path):
        with pytest.raises(ValueError, match="no such prompts file"):
            read_prompts(path)
    with pytest.raises(ValueError, match=r"not a table that can be read; use one of \.csv"):
        read_prompts(file(tmp_path / "prompts.xlsx", "a cat\n"))
    with pytest.raises(ValueError, match="cannot be read as a table"):
        read_prompts(file(tmp_path / "prompts.parquet", "a cat\n"))


EXPECTED = [
    Prompt(id="007", text='a "big" cat, sitting', metadata={"style": "photo", "content": "animal"}),
    Prompt(id="x y", text="a dog on two lines", metadata={"content": "animal"}),
]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_csv_file_gives_ids_and_metadata(tmp_path: Path, newline: str, mark: str) -> None:
    path = tmp_path / "prompts.csv"
    lines = [
        "prompt_id,style,prompt,content",
        '007,photo,"a ""big"" cat, sitting",animal',
        '"x y",,"a dog\non two  lines",animal',
        "",
    ]
    path.write_bytes((mark + newline.join(lines)).encode())

    assert read_prompts(path) == EXPECTED


def test_a_parquet_file_gives_ids_and_metadata(tmp_path: Path) -> None:
    table = pa.table(
        {
            "prompt": ['a "big" cat, sitting', "a dog\non two  lines"],
            "prompt_id": ["007", "x y"],
            "style": ["photo", None],
            "content": ["animal", "animal"],
        }
    )
    pq.write_table(table, tmp_path / "prompts.parquet")

    assert read_prompts(tmp_path / "prompts.parquet") == EXPECTED


@pytest.mark.parametrize("name", ["prompts.jsonl", "prompts.ndjson"])
def test_a_json_lines_file_gives_ids_and_metadata(tmp_path: Path, name: str) -> None:
    lines = [
        '{"prompt": "a \\"big\\" cat, sitting", "prompt_id": "007", "style": "photo", "content": "animal"}',
        '{"prompt": "a dog\\non two  lines", "prompt_id": "x y", "content": "animal"}',
    ]

    assert read_prompts(file(tmp_path / name, "\n".join(lines))) == EXPECTED


def test_a_table_without_ids_is_numbered_like_a_text_file(tmp_path: Path) -> None:
    path = file(tmp_path / "prompts.csv", "prompt,likes\na cat,3\na dog,4\n")

    assert read_prompts(path) == [
        Prompt(id="p01", text="a cat", metadata={"likes": "3"}),
        Prompt(id="p02", text="a dog", metadata={"likes": "4"}),
    ]


@pytest.mark.parametrize(
    "text, message",
    [
        ("prompt,prompt_id\na,x\nb,x\n", "prompt_id 'x' is there twice"),
        ("prompt,prompt_id\na,x/y\n", "prompt_id must be a name without slashes, got 'x/y'"),
        ("prompt,prompt_id\na,x\nb,\n", "prompt_id must be a name without slashes, got ''"),
        ("prompt,prompt_id\na,x\n,y\n", "prompt 'y' is empty"),
        ('prompt,prompt_id\na,x\n" \n ",y\n', "prompt 'y' is empty"),
        ("text,prompt_id\na,x\n", "no column prompt; the file has text, prompt_id"),
    ],
)
def test_a_table_whose_ids_or_prompts_do_not_do_is_refused_with_the_culprit(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ValueError, match=rf"prompts\.csv: {message}"):
        read_prompts(file(tmp_path / "prompts.csv", text))


def test_a_csv_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prompts.csv"
    path.write_bytes("prompt\nein Füchslein\n".encode("latin-1"))

    with pytest.raises(ValueError, match="cannot be read as a table"):
        read_prompts(path)


@pytest.mark.parametrize("value, text", [("5", "5"), ('"007"', "007"), ('"2024-01-01"', "2024-01-01")])
def test_a_prompt_or_an_id_that_looks_like_a_number_or_a_date_is_still_text(
    tmp_path: Path, value: str, text: str
) -> None:
    path = file(tmp_path / "prompts.jsonl", f'{{"prompt": {value}, "prompt_id": {value}}}\n')

    assert read_prompts(path) == [Prompt(id=text, text=text)]


def test_the_prompts_that_ship_are_readable_and_distinct() -> None:
    prompts = read_prompts(ROOT / "prompts.txt")

    assert len({prompt.text for prompt in prompts}) == len(prompts) > 1


def file(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("prompt", ["a cat", "a cat " * 100])
def test_a_prompt_in_the_place_of_its_file_is_refused_in_a_short_line(prompt: str) -> None:
    with pytest.raises(ValueError, match="name a text file with one prompt per line, or a table") as refused:
        read_prompts(Path(prompt))
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("texts", [[], [""], [" \n"], ["a cat", None], ["a cat", float("nan")]])
def test_prompts_that_are_no_texts_are_refused(texts: list) -> None:
    with pytest.raises(ValueError, match="prompts must be texts that say what to draw, got"):
        prompts_of(texts)
