"""Replies that hold no numbered list, as models have been seen to write them."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.proposers.chat.reply_parser import parse_reply, parse_sample

CATS = ["a cat, soft light", 'a cat, "golden hour"']
QUOTED = [json.dumps(cat) for cat in CATS]


@pytest.mark.parametrize(
    "reply",
    [
        json.dumps(CATS),
        json.dumps(CATS, indent=2),
        f"```json\n{json.dumps(CATS, indent=2)}\n```",
        f"```\n{json.dumps({'prompts': CATS})}\n```",
        json.dumps({"prompts": [{"prompt": cat, "score": 0.5} for cat in CATS]}),
        json.dumps([{"id": n, "Description": cat} for n, cat in enumerate(CATS)]),
        json.dumps({"1": CATS[0], "2": CATS[1]}),
        json.dumps({"prompt_1": CATS[0], "prompt_2": CATS[1]}),
        "\n".join(json.dumps({"prompt": cat}) for cat in CATS),

        "- a cat, soft light\n- a cat, \"golden hour\"",
        "* a cat,\n  soft light\n\n* a cat, \"golden hour\"",
        "• **a cat, soft light**\n• a cat, \"golden hour\"",
        "a) a cat, soft light\nb) a cat, \"golden hour\"",
        "A. a cat, soft light\nB. a cat, \"golden hour\"",
        "| # | Prompt |\n|---|:---|\n| 1 | a cat, soft light |\n| 2 | a cat, \"golden hour\" |",
        "| a | b |\n|---|---|\n| a cat, soft light | x |\n| a cat, \"golden hour\" | y |",
        "1. **Quiet**\n   a cat, soft light\n\n2. **Warm**\n   a cat, \"golden hour\"",
        "1. Quiet:\na cat, soft light\n2. Warm:\na cat, \"golden hour\"",
    ],
)  # fmt: skip
def test_every_form_gives_the_texts_in_order(reply: str) -> None:
    found = parse_reply(reply)

    assert list(found.prompts) == CATS
    assert set(found.refused) <= {"not numbered"}


def test_what_is_around_json_is_counted() -> None:
    reply = parse_reply(f"Sure, here you are:\n```json\n{json.dumps(CATS)}\n```\nI hope\nyou like them")

    assert list(reply.prompts) == CATS
    assert reply.refused == {"not numbered": 3}


@pytest.mark.parametrize(
    "cut", [f'[{QUOTED[0]}, {QUOTED[1]}, "a do', f'{{"prompts": [{QUOTED[0]},\n{QUOTED[1]},\n"a d']
)
def test_json_that_was_cut_off_gives_its_whole_texts(cut: str) -> None:
    reply = parse_reply(cut, finished=False)

    assert list(reply.prompts) == CATS
    assert reply.refused == {"unfinished": 1}


def test_a_list_that_was_cut_off_leaves_its_last_item_out() -> None:
    reply = parse_reply("- a cat, soft light\n- a dog\n- a do", finished=False)

    assert reply.prompts == ("a cat, soft light", "a dog")
    assert reply.refused == {"unfinished": 1}


@pytest.mark.parametrize(
    "reply",
    [
        "- one remark alone",
        "A. single",
        "[]",
        "{}",
        '{"error": "no"}',
        "[1, 2, 3]",
        "[a cat] and more",
        "{not json",
        "| no | ruler |\n| a | b |",
        "a) first\nc) not the next",
    ],
)
def test_what_only_looks_like_a_form_holds_no_proposal(reply: str) -> None:
    found = parse_reply(reply)

    assert found.prompts == ()
    assert found.refused


def test_numbers_come_before_bullets() -> None:
    reply = parse_reply("- a remark\n- another\n1. a cat\n   - on a mat")

    assert reply.prompts == ("a cat on a mat",)
    assert reply.refused == {"not numbered": 2}


@pytest.mark.parametrize(
    "begin, end",
    [
        ("<think>", "</think>"),
        ("<thinking>", "</thinking>"),
        ("<Reasoning>", "</Reasoning>"),
        ("[THINK]", "[/THINK]"),
        ("<seed:think>", "</seed:think>"),
        ("<THOUGHT>", "</THOUGHT>"),
        ("", "</think>"),
        ("analysis ", "<|channel|>final<|message|>"),
    ],
)
def test_what_is_thought_aloud_is_no_proposal(begin: str, end: str) -> None:
    thought = "1. first I look\n2. then I write"
    reply = parse_reply(f"{begin}{thought}\n{end}\n1. a cat")

    assert reply.prompts == ("a cat",)
    assert set(reply.refused) == {"reasoning"}


def test_a_thought_without_an_end_has_no_answer() -> None:
    for finished in (True, False):
        reply = parse_reply("<think>\n1. a cat\n2. a dog", finished=finished)
        assert (reply.prompts, reply.refused) == ((), {"reasoning": 3})


def test_a_second_thought_after_the_answer_takes_nothing_from_it() -> None:
    reply = parse_reply("<think>a</think>\n1. a cat\n<think>2. a dog")

    assert reply.prompts == ("a cat",)


def test_a_sample_may_come_as_json() -> None:
    assert parse_sample('{"prompt": "a cat"}').prompts == ("a cat",)


def test_a_title_is_shorter_than_what_it_names() -> None:
    assert parse_reply("1. **a cat in the rain**\nI hope").prompts == ("a cat in the rain I hope",)


plain = st.text(st.characters(categories=["Lu", "Ll"]), min_size=1, max_size=20)


@given(st.lists(plain, min_size=2), st.sampled_from(["json", "lines", "bullets", "table"]))
def test_any_texts_in_any_form_are_read_back(texts: list[str], form: str) -> None:
    reply = {
        "json": json.dumps(texts, ensure_ascii=False),
        "lines": "\n".join(json.dumps({"prompt": text}) for text in texts),
        "bullets": "\n".join(f"- {text}" for text in texts),
        "table": "\n".join(["| prompt |", "| --- |", *(f"| {text} |" for text in texts)]),
    }[form]

    assert list(parse_reply(reply).prompts) == texts


@given(st.text(alphabet='[]{}",:|-* \nab\\', max_size=200))
def test_any_mess_is_read_without_an_error_and_invents_no_word(text: str) -> None:
    for finished in (True, False):
        for proposal in parse_reply(text, finished=finished).prompts:
            assert all(word in text.replace("\\", "") for word in re.findall(r"[ab]+", proposal))
