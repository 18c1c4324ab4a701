import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.proposers.chat.reply_parser import parse_reply

FULL_WIDTH = str.maketrans({chr(ascii_code): chr(ascii_code + 0xFEE0) for ascii_code in range(0x21, 0x7F)})
NUMBERINGS = [
    "1.",
    "1)",
    "1:",
    "(1)",
    "[1]",
    "1.)",
    "1\\.",
    "(1).",
    "#1:",
    "# 1.",
    "- 1.",
    "* 1)",
    "> 1.",
    "  1.",
    "1、",
]
NUMBERINGS += ["**1.**", "**1**.", "*1.*", "__1.__", "- **1)**", "> - 1:", "**(1)**"]
NUMBERINGS += [numbering.translate(FULL_WIDTH) for numbering in ("1.", "1)", "1:", "(1)")]
WRAPPINGS = [
    "{}",
    '"{}"',
    "“{}”",
    "‘{}’",
    "«{}»",
    "„{}“",
    "„{}”",
    "「{}」",
    "`{}`",
    "*{}*",
    "**{}**",
    "_{}_",
    '**"{}"**',
    "- {}",
]
INNER_WORDS = [
    "(f/1.4),",
    "3:2",
    "2 * 3",
    "a_file_name",
    "5*",
    "dog's",
    '"golden hour"',
    "0.5:",
    "1.",
    "2)",
    "—",
    "{x}",
]
LISTS_IN_PIECES = [
    "1. ",
    "2) ",
    "0.45: ",
    "**",
    "_",
    '"',
    "“",
    "’",
    "\n",
    "\n\n",
    "# ",
    "- ",
    "> ",
    "```",
    "a cat",
    "(",
    "9" * 9,
]

plain_words = st.text(st.characters(categories=["Lu", "Ll", "Lo"]), min_size=1)
other_words = st.text(
    st.characters(exclude_categories=["Z", "C"], exclude_characters="*_`\"'“”‘’„«»‹›「」『』＂"), min_size=1
)
prompts = st.builds(
    lambda first, between, last: " ".join([first, *between, last]),
    plain_words,
    st.lists(st.sampled_from(INNER_WORDS) | other_words),
    plain_words,
).filter(lambda prompt: len(prompt.splitlines()) == 1 and "</think>" not in prompt)
wrapped_lines = st.lists(plain_words | st.sampled_from(["(f/1.4)", "3D scene", "16:9 frame", "35mm film"]), max_size=3)
replies = st.text() | st.lists(st.sampled_from(LISTS_IN_PIECES) | st.text(max_size=5)).map("".join)


def read(reply: str) -> tuple[str, ...]:
    return parse_reply(reply).prompts


def numbered(numbering: str, number: int, prompt: str) -> str:
    wide = "\uff11" in numbering
    return (
        numbering.replace("\uff11" if wide else "1", str(number).translate(FULL_WIDTH if wide else {})) + " " + prompt
    )


def wrap(prompt: str, wrapping: str) -> str:
    """As it stands where the prompt holds the mark itself: '*rated 5* by all*' has two readings."""
    return prompt if set(prompt).intersection(wrapping) - set("{} ") else wrapping.format(prompt)


def test_a_reply_of_a_small_model_is_read_without_its_markup_and_afterword() -> None:
    reply = parse_reply(
        "Here are 2 variations:\n\n"
        "1. *Frozen Shrines*: A tiny New York studio apartment with lush gardens filled with bamboo.\n"
        "2. *Monkey Business*: A tiny New York studio apartment where the sky is painted with monkeys.\n\n"
        "Generated 5 new prompt variations, numbered, and ordered by the highest score."
    )
    assert reply.prompts == (
        "Frozen Shrines: A tiny New York studio apartment with lush gardens filled with bamboo.",
        "Monkey Business: A tiny New York studio apartment where the sky is painted with monkeys.",
    )
    assert reply.refused == {"not numbered": 2}


def test_a_story_and_a_list_of_scores_hold_no_proposal() -> None:
    assert read("Encountering a petrified garden amidst a bustling street is the perfect backdrop.") == ()
    reply = parse_reply("0.45: A small studio apartment with palm trees.\n0.50: A small apartment in New York.")
    assert (reply.prompts, dict(reply.refused)) == ((), {"not numbered": 2})


@pytest.mark.parametrize(
    ("reply", "proposal"),
    [
        ("1. 0.45: A small studio", "A small studio"),
        ("1. 1.5. A small studio", "A small studio"),
        ("1. **0.45:** A small studio", "A small studio"),
        ('1. 0.45: "A small studio"', "A small studio"),
        ("1. -0.45： A small studio", "A small studio"),
        ("1. 2.39:1 frame of a studio", "2.39:1 frame of a studio"),
        ("1. 0.5 seconds of rain", "0.5 seconds of rain"),
        ("1. 3: a third studio", "3: a third studio"),
        ("1. 50mm lens, f/1.8: a studio", "50mm lens, f/1.8: a studio"),
        ("1. A studio, 0.45: small", "A studio, 0.45: small"),
    ],
)
def test_only_a_leading_number_with_decimals_and_a_colon_or_stop_counts_as_a_copied_score(reply, proposal) -> None:
    assert read(reply) == (proposal,)


@pytest.mark.parametrize(
    ("reply", "proposals"),
    [
        ('1. "Blue" and "red"', ['"Blue" and "red"']),
        ('1. "a "blue" cat"', ['a "blue" cat']),
        ("1. 'a dog's life'", ["a dog's life"]),
        ("1. ‘a dog’s life’", ["a dog’s life"]),
        ("1. “Blue” and “red”", ["“Blue” and “red”"]),
        ('"1. a cat"', ["a cat"]),
        ("**1. Golden hour:** a cat", ["Golden hour: a cat"]),
        ("**1. a cat** ", ["a cat"]),
        ("### 1. Golden hour\na cat", ["Golden hour a cat"]),
        ("1.\na cat", ["a cat"]),
        ("1. a hotel of 5*", ["a hotel of 5*"]),
        ("1. **a cat", ["a cat"]),
        ("> 1. a cat\n> on a mat", ["a cat on a mat"]),
        ("1. a cat\n   - on a mat", ["a cat on a mat"]),
        ('1. "a cat\non a mat"', ["a cat on a mat"]),
        ("```\n1. a cat\n```", ["a cat"]),
        ("1. a cat\n---\nI hope that helps", ["a cat"]),
        ("1. a cat\n0.58: a dog\nin the rain", ["a cat"]),
        ("1. a cat\n# Notes\nnone", ["a cat"]),
        ("1. a cat (soft light (warm)), 1 of 2: \\o/", ["a cat (soft light (warm)), 1 of 2: \\o/"]),
    ],
)
def test_what_is_around_a_proposal_goes_and_what_is_within_stays(reply: str, proposals: list[str]) -> None:
    assert list(read(reply)) == proposals


def test_a_number_without_a_prompt_is_refused_as_empty() -> None:
    reply = parse_reply("1. a cat\n2.\n\n3. **\n4. ''\n5. 0.45:")
    assert (reply.prompts, dict(reply.refused)) == (("a cat",), {"empty": 4})


@given(
    st.lists(st.tuples(prompts, st.sampled_from(WRAPPINGS))),
    st.sampled_from(NUMBERINGS),
    st.sampled_from(["\n", "\n\n", "\r\n", "  \n"]),
)
def test_a_numbered_list_is_read_back_verbatim_and_in_order(items, numbering: str, separator: str) -> None:
    lines = [numbered(numbering, number, wrap(*item)) for number, item in enumerate(items, start=1)]
    reply = parse_reply(separator.join(lines))
    assert list(reply.prompts) == [prompt for prompt, _ in items]
    assert reply.refused == {}


@given(st.lists(st.tuples(prompts, wrapped_lines), min_size=1), st.sampled_from(["", "  ", "> ", "- "]))
def test_wrapped_lines_join_their_proposal(items, indent: str) -> None:
    lines = [f"{n}. {prompt}" + "".join(f"\n{indent}{more}" for more in rest) for n, (prompt, rest) in enumerate(items)]
    assert list(read("\n".join(lines))) == [" ".join([prompt, *rest]) for prompt, rest in items]


@given(replies)
def test_any_text_is_read_and_every_word_of_a_proposal_is_in_it(text: str) -> None:
    for proposal in read(text):
        assert proposal == proposal.strip() != ""
        assert all(word in text for word in re.findall(r"\w+", proposal))


@given(replies)
def test_every_line_is_a_proposal_joins_one_or_is_counted_as_refused(text: str) -> None:
    lines = [line for line in text.splitlines() if line.strip()]
    together, apart = parse_reply("\n".join(lines)), parse_reply("\n\n".join(lines))
    assert len(apart.prompts) + sum(apart.refused.values()) == len(lines)
    joined = len(lines) - len(together.prompts) - sum(together.refused.values())
    assert 0 <= joined <= apart.refused.get("not numbered", 0)


@pytest.mark.parametrize(
    "unit", ["a", "1", " ", "\\", '"', "'", "“", "*", "_", "`", "- ", "#", "> ", "*a ", "a* ", "_*", "1. ", "0.5: "]
)
@pytest.mark.parametrize("frame", ["{}", "{}1. {}", "1. {}a", '1. "{}"'])
def test_a_quarter_of_a_megabyte_in_one_line_is_read_in_linear_time(unit: str, frame: str) -> None:
    reply = frame.format((unit * 250_000)[:250_000], "")
    begun = time.process_time()
    parse_reply(reply)
    assert time.process_time() - begun < 0.25


def test_ten_thousand_lines_are_read_in_well_under_a_second() -> None:
    reply = "\n".join(f'**{number}.** "a cat, *scene* {number}"' for number in range(1, 10_001))
    begun = time.process_time()
    proposals = read(reply)
    assert proposals[-1] == "a cat, scene 10000"
    assert len(proposals) == 10_000
    assert time.process_time() - begun < 1
