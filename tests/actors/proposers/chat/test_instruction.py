from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages import ProposalRequest
from actors.proposers.chat.instruction import PLACEHOLDERS, fill, load_instruction


def request(prompt: str, score: float = 0.6123, count: int = 20) -> ProposalRequest:
    return ProposalRequest(base_prompt="a cat", best_prompt=prompt, best_score=score, count=count, seed=0)


def test_the_shipped_instruction_says_prompt_score_and_number() -> None:
    filled = fill(load_instruction(None), request("a cat, soft light"))
    assert "0.61: a cat, soft light" in filled
    assert "20 new" in filled
    assert not any(placeholder in filled for placeholder in PLACEHOLDERS)


@given(st.text() | st.sampled_from(["{requested_number}", "{descriptions}", "a {cat} {0} %s \\1", "{"]))
def test_prompts_are_put_in_literally_whatever_braces_they_hold(prompt: str) -> None:
    template = "{other} {requested_number}|{descriptions}|{}"
    assert fill(template, request(prompt, count=3)) == "{other} 3|0.61: " + prompt + "|{}"


def test_a_file_replaces_the_instruction(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("\ufeffEn français : {requested_number} × {descriptions}", "utf-8")
    assert fill(load_instruction(str(file)), request("un chat", count=2)) == "En français : 2 × 0.61: un chat"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file"),
        (b"\xff\xfe{descriptions}{requested_number}", "not UTF-8 at byte 0; save it as UTF-8"),
        (b"Write {requested_number} prompts", r"lacks \{descriptions\}"),
        (b"", r"lacks \{descriptions\} and \{requested_number\}"),
    ],
)
def test_an_unusable_file_is_refused_in_one_line_that_names_it(tmp_path: Path, content, problem: str) -> None:
    file = tmp_path / "mine.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=problem) as refusal:
        load_instruction(str(file))
    assert "mine.txt" in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize("path", ["", ".", "a\0b", "x" * 5000])
def test_a_path_that_is_no_file_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="give a text file"):
        load_instruction(path)
