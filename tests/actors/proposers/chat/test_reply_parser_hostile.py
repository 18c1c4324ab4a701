"""The parser on what models write that nobody asked for: every numbering and script, or no list at all."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages import ProposalRequest
from actors.proposers.chat.reply_parser import parse_reply, parse_sample
from pipelines.search.state_machine import admit

STYLES = ["{}. ", "{}) ", "({}) ", "{}: ", "{}- ", "{} - ", "{} – ", "**{}.** ", "**{}** ", "#{} ", "#{}. ", "[{}] "]
STYLES += ["Prompt {}: ", "**Prompt {}:** ", "Variation #{}: ", "### {}. ", "> {}. ", "\u200f{}. ", "- {}) ", "{}.\n"]
WORDS = [
    "2.",
    "2)",
    "(2)",
    "#2",
    "2-",
    "3:2",
    "f/1.8,",
    "[red]",
    "{x}",
    '"fog,"',
    "'dusk'",
    "«nuit»",
    "a, b,",
    "5*",
    "🐈‍⬛",
]
WORDS += [
    "قطة",
    "חתול",
    "猫",
    "\u202bقط\u202c",
    "0.5:",
    "1.5",
    "—",
    "<b>",
    "&amp;",
    "\\n",
    "$1",
    "%s",
    "①",
    "1️⃣",
    "</s>",
]

plain = st.text(st.characters(categories=["Lu", "Ll", "Lo"]), min_size=2, max_size=8)
prompts = st.builds(
    lambda first, between, last: " ".join([first, *between, last]),
    plain,
    st.lists(st.sampled_from(WORDS) | plain, max_size=6),
    plain,
)
lists = st.lists(prompts, min_size=1, max_size=12)


@given(lists, st.sampled_from(STYLES), st.sampled_from(["\n", "\n\n", "\r\n", "\n \n"]))
def test_a_list_in_any_style_of_numbering_is_read_back_whole(items: list[str], style: str, between: str) -> None:
    reply = between.join(style.format(number) + item for number, item in enumerate(items, start=1))
    assert list(parse_reply(reply).prompts) == items


@given(st.lists(prompts, min_size=1, max_size=10), st.sampled_from([0x2460, 0x2474, 0x2488, 0x2776, 0x2780, 0x278A]))
def test_a_list_with_circled_numbers_is_read_back_whole(items: list[str], first: int) -> None:
    reply = "\n".join(f"{chr(first + number)} {item}" for number, item in enumerate(items))
    assert list(parse_reply(reply).prompts) == items


@given(st.lists(prompts, min_size=1, max_size=9), st.sampled_from(["٠", "०", "０"]))
def test_a_list_with_digits_of_another_script_is_read_back_whole(items: list[str], zero: str) -> None:
    reply = "\n".join(f"{chr(ord(zero) + number)}. {item}" for number, item in enumerate(items, start=1))
    assert list(parse_reply(reply).prompts) == items
    keycaps = "\n".join(f"{number}\ufe0f\u20e3 {item}" for number, item in enumerate(items, start=1))
    assert list(parse_reply(keycaps).prompts) == items


@given(prompts, st.sampled_from(["35- to 50mm", "7 – more or less", "#9 of a series", "**12** cats", "3 cats", "2nd"]))
def test_a_number_that_does_not_count_on_belongs_to_the_line_that_it_wraps(prompt: str, more: str) -> None:
    assert parse_reply(f"1. {prompt}\n{more} {prompt}").prompts == (f"{prompt} {more.replace('**', '')} {prompt}",)


@given(lists, st.integers(0, 200))
def test_a_reply_that_was_cut_off_gives_only_prompts_that_are_whole(items: list[str], left: int) -> None:
    reply = "\n".join(f"{number}. {item}" for number, item in enumerate(items, start=1))[:left]
    read = parse_reply(reply, finished=False)
    assert list(read.prompts) == items[: len(read.prompts)]


@given(prompts, st.sampled_from(["{}", "1. {}", "1) {}\n2) b", '"{}"', "Here you are:\n\n{}", "**{}**", "① {}"]))
def test_one_prompt_is_read_from_a_sample_whether_it_is_numbered_or_not(prompt: str, style: str) -> None:
    if set(prompt) & set(style) & set('"*'):
        return  # a prompt that holds the very mark around it has two readings
    read = parse_sample(style.format(prompt))
    assert read.prompts == (prompt,)
    assert parse_sample(style.format(prompt), finished=False).prompts in ((), (prompt,))


@pytest.mark.parametrize(
    ("reply", "refused"),
    [
        ("", {}),
        ("A cat.\n\nA dog.", {"not numbered": 2}),
        ("I cannot help with that.\n\nAsk me something else.", {"not numbered": 2}),
        ("**", {"empty": 1}),
        ("# A heading\nA cat", {"not numbered": 2}),
    ],
)
def test_a_sample_that_is_not_one_prompt_is_refused(reply: str, refused: dict[str, int]) -> None:
    read = parse_sample(reply)
    assert (read.prompts, dict(read.refused)) == ((), refused)


def test_what_a_model_thinks_aloud_is_no_proposal() -> None:
    reply = "<think>\n1. too dark\n2. better\n</think>\n\n1. a cat, noon"
    assert (parse_reply(reply).prompts, dict(parse_reply(reply).refused)) == (("a cat, noon",), {"reasoning": 3})
    assert dict(parse_reply("<think>\n1. too dark", finished=False).refused) == {"reasoning": 2}
    assert parse_sample("<think>hm</think>a cat").prompts == ("a cat",)


@given(st.text(max_size=300), st.booleans())
def test_a_sample_of_any_text_holds_one_prompt_at_most_and_none_of_its_words_is_new(text: str, finished: bool) -> None:
    read = parse_sample(text, finished=finished)
    assert len(read.prompts) <= 1
    unmarked = re.sub(r"[*_`~]", "", text)  # emphasis may end within a word
    assert all(word in text or word in unmarked for prompt in read.prompts for word in prompt.split())


def test_ten_thousand_lines_of_the_context_again_are_all_dropped_in_time() -> None:
    request = ProposalRequest(base_prompt="a cat", best_prompt="A cat,  fog", best_score=0.5, count=20, seed=0)
    began = time.process_time()
    read = parse_reply("\n".join(f"{number}. a CAT, fog" for number in range(1, 10_001)))
    admitted, refused = admit(read.prompts, [request.best_prompt], request.count)
    assert (admitted, refused) == ([], {"duplicate": 10_000})
    assert time.process_time() - began < 2
