r"""Reads the numbered list that a language model was asked for, strictly.

Where there is no number, another form will do (`actors.proposers.chat.reply_forms`); JSON comes before numbers, because
the texts in it may begin with them.

    1. A cat, soft light          a number begins a proposal: "1.", "2)", "3:", "(4)", "**5.**", "Prompt 6:", "⑦"
       and a wide lens            a line without one joins it
                                  a blank line, a heading, a fence, a rule or a score ends it
    I hope you like these!        any other line is refused: "not numbered"
    2. **                         and so is a number without a prompt: "empty"
    3- A dog in the ra            and the last one of a reply that was cut off: "unfinished"

"1-", "#1" and "**1**" are weaker: they begin a proposal only if they count on from the one before, since "35- to 50mm"
may as well stand at the start of a wrapped line. What a model thinks aloud, in <think>, [THINK], <reasoning> or the
like, is refused: "reasoning". A title above a proposal, emphasised or with a colon at its end, is no part of it.

Around a proposal, quotes, bullets and markdown are stripped; emphasis is also taken off the words within. No word of
it is cut, with one exception. Models copy the score of their context (see `instruction`), so that an item may
begin with one. It is removed only if it is a number with decimals, followed by a colon or by a full stop, and then by
no other digit: "0.45: a cat" and "1.5. a cat" lose theirs; "3: a cat", "2.39:1 frame", "0.5 seconds" keep all.
The same number at the start of a line is no item number either: such a line is refused.

Invariant: each line that is not blank begins a proposal, joins one, or is counted in `refused`; the order is kept.
Every pattern scans a line once, so that the time is linear in the length of the reply.
"""

import re
from collections import Counter

from actors.messages import Proposals
from actors.proposers.chat.reply_forms import Found, in_json, in_list, in_table

# Marks come as ASCII and as the full-width forms of East Asian type: \uFF0E . \uFF0C , \uFF1A : \uFF08 ( \uFF09 )
_UNSEEN = r"\u200B-\u200F\u202A-\u202E\u2060\u2066-\u2069\uFEFF"
"""Characters without a width: models put those that tell the direction of writing before a number."""
_BULLETS = rf"(?:[\s{_UNSEEN}>]|[-+*•·‣▪◦●○–—](?=\s))*+"
_NUMBER = r"\d{1,6}+"
_POINT = r"(?:\\?[.):\]\uFF0E\uFF09\uFF1A、。](?!\d))"
_CIRCLED = "[\u2460-\u249b\u24eb-\u24f4\u2776-\u2793\u3251-\u325f\u32b1-\u32bf\U0001f51f]"
"""①, ⑴, ⒈, ❶, …, and the keycap of ten; the other keycaps are a digit, U+FE0F and U+20E3."""
_OPENING = r"""(?P<opening>[*_`"'“‘„«‹「『]*+)"""
"""Marks around a whole line that is emphasised or quoted, number and all."""
_ITEM = re.compile(
    rf"""{_BULLETS} \#*+ \s*+ {_OPENING} (?:(?i:prompt|variation|version|option) \s*+ \#?+)?+
    (?:
        [(\[\uFF08【] \s*+ {_NUMBER} \s*+ [)\]\uFF09】] {_POINT}? (?P<after_bracket>(?P=opening))?
        | {_NUMBER} (?P<after_number>(?P=opening)) {_POINT}{{1,2}}+
        | {_NUMBER} {_POINT}{{1,2}}+ (?P<after_point>(?P=opening))?
        | (?:{_CIRCLED} | {_NUMBER} \uFE0F?+ \u20E3) {_POINT}?+ (?P<after_circled>(?P=opening))?
    )
    (?P<rest>.*)""",
    re.VERBOSE | re.DOTALL,
)
_WEAK_ITEM = re.compile(
    rf"""{_BULLETS} (?P<hash>\#)?+ {_OPENING} (?P<number>{_NUMBER})
    (?:
        (?P<after_number>(?P=opening))? \s?+ [-–—\u2212] (?=\s)
        | (?(hash)(?P<after_hash>(?P=opening))?(?=\s)|(?!))
        | (?=[*_`])(?P<after_emphasis>(?P=opening))(?=\s)
    )
    (?P<rest>.*)""",
    re.VERBOSE | re.DOTALL,
)
_SCORE = re.compile(r"[-+−]?\d{1,3}+[.,\uFF0E\uFF0C]\d{1,4}+(?:\s*+[:\uFF1A](?!\d)|[.\uFF0E](?=\s|$))\s*+")
_BREAK = re.compile(rf"{_BULLETS}(?:\#{{1,6}}\s|```|~~~|([-*_=])\1{{2,}}+\s*+$|[*_`\"'“‘]*+{_SCORE.pattern})")
_LEADING = re.compile(rf"{_BULLETS}(?:\#{{1,6}}+\s++)?")
_EMPHASIS = re.compile(r"(?<![\w*_`])(([*_`])\2{0,2}+)(?=\S)((?:(?!\2).)++)(?<=\S)\1(?![\w*_`])", re.DOTALL)
_QUOTES = {
    '"': '"',
    "'": "'",
    "“": "”",
    "‘": "’",
    "„": "“”",
    "«": "»",
    "»": "«",
    "‹": "›",
    "›": "‹",
    "「": "」",
    "『": "』",
    "\uff02": "\uff02",
}
"""Opening quote -> the marks that close it."""
_MARKS = "*_`"
_THOUGHT = r"(?:[\w-]+:)?(?:think|thinking|thought|thoughts|reasoning|reflection|scratchpad)"
_THOUGHT_BEGINS = re.compile(rf"(?:<{_THOUGHT}>|\[{_THOUGHT}\])", re.IGNORECASE)
_THOUGHT_ENDS = re.compile(rf"(?:</{_THOUGHT}>|\[/{_THOUGHT}\]|<\|channel\|>final<\|message\|>)", re.IGNORECASE)
_TITLE = re.compile(r"\s*+(?:([*_]{2,3})(?!\s)[^*_]++\1:?|[^:\uFF1A]++[:\uFF1A])\s*+$")
_LONGEST_TITLE = 8
"""Words."""
_LAYERS = 4
"""As many layers of quotes and emphasis are taken off; models write two at most, and each takes a pass."""


def parse_reply(text: str, *, finished: bool = True) -> Proposals:
    """Read the proposals of a reply, in order.

    Parameters
    ----------
    finished
        False: the reply was cut off, so that the last line may lack its end.

    Example:

        parse_reply('Sure:\\n1. "A cat, soft light"').prompts == ("A cat, soft light",)
    """
    text, refused = _without_reasoning(text)
    if (found := in_json(text)) is not None:
        return _proposals(found, refused)
    listed = _numbered(text, Counter(refused), finished=finished)
    if not listed.prompts and "empty" not in listed.refused and "unfinished" not in listed.refused:
        other = in_table(text) or in_list(text)
        if other is not None:
            return _proposals(other, refused, finished=finished or text.endswith("\n"))
    return listed


def _proposals(found: Found, refused: Counter[str], *, finished: bool = True) -> Proposals:
    """The proposals of a reply of another form; the last one is left out where the reply was cut off within it."""
    texts = found.texts if finished else found.texts[:-1]
    prompts = tuple(filter(None, map(_joined, texts)))
    counts = {"not numbered": found.other_lines, "empty": len(texts) - len(prompts)}
    counts["unfinished"] = int(found.cut_off or not finished)
    return Proposals(prompts=prompts, refused=dict(+(refused + Counter(counts))))


def _numbered(text: str, refused: Counter[str], *, finished: bool) -> Proposals:
    items: list[list[str]] = []
    joins = False
    for line in text.splitlines():
        if item := _ITEM.match(line) or _counted_on(line, len(items) + 1):
            items.append([_first_line(item)])
            joins = True
        elif not line.strip():
            joins = False
        elif joins and not _BREAK.match(line):
            items[-1].append(_without_leading(line))
        else:
            joins = False
            refused["not numbered"] += 1
    if joins and not finished and not text.endswith("\n"):
        items.pop()
        refused["unfinished"] += 1
    prompts = tuple(filter(None, map(_joined, items)))
    if empty := len(items) - len(prompts):
        refused["empty"] = empty
    return Proposals(prompts=prompts, refused=dict(refused))


def parse_sample(text: str, *, finished: bool = True) -> Proposals:
    """Read a reply that was to hold one proposal: the first of a numbered list, or else a paragraph on its own.

    A line before it that ends with a colon announces it, and is refused as "not numbered"; further items of a list are
    refused as "surplus".

    Example:

        parse_sample("Here you are:\\n\\nA cat, soft light").prompts == ("A cat, soft light",)
    """
    listed = parse_reply(text, finished=finished)
    if listed.prompts or not set(listed.refused) <= {"not numbered", "reasoning"}:
        surplus = {"surplus": len(listed.prompts) - 1} if len(listed.prompts) > 1 else {}
        return Proposals(prompts=listed.prompts[:1], refused={**listed.refused, **surplus})
    text, refused = _without_reasoning(text)
    paragraphs = _paragraphs(text)
    while len(paragraphs) > 1 and paragraphs[0][-1].rstrip().endswith((":", "\uff1a")):
        refused["not numbered"] += len(paragraphs.pop(0))
    if len(paragraphs) != 1 or any(map(_BREAK.match, paragraphs[0])):
        return listed
    if not finished:
        refused["unfinished"] += 1
    elif prompt := _joined(paragraphs[0]):
        return Proposals(prompts=(prompt,), refused=dict(refused))
    else:
        refused["empty"] += 1
    return Proposals(prompts=(), refused=dict(refused))


def _without_reasoning(text: str) -> tuple[str, Counter[str]]:
    """The answer proper, and how many lines of thought were in the reply. A thought without an end has no answer."""
    ends = list(_THOUGHT_ENDS.finditer(text))
    thought, answer = (text[: ends[-1].start()], text[ends[-1].end() :]) if ends else ("", text)
    if (begun := _THOUGHT_BEGINS.search(answer)) is not None:
        thought, answer = thought + answer[begun.start() :], answer[: begun.start()]
    lines = sum(bool(line.strip()) for line in thought.splitlines())
    return answer, Counter({"reasoning": lines} if lines else {})


def _paragraphs(text: str) -> list[list[str]]:
    paragraphs: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip():
            paragraphs[-1].append(line)
        elif paragraphs[-1]:
            paragraphs.append([])
    return [paragraph for paragraph in paragraphs if paragraph]


def _counted_on(line: str, expected: int) -> re.Match[str] | None:
    """A line with one of the weaker numbers, if it is the number that comes next."""
    item = _WEAK_ITEM.match(line)
    return item if item and int(item["number"]) == expected else None


def _first_line(item: re.Match[str]) -> str:
    """What follows the number; marks that opened before it and still wait to be closed go with it."""
    closed = any(marks for name, marks in item.groupdict().items() if name.startswith("after_"))
    return ("" if closed else item["opening"]) + item["rest"].strip()


def _joined(lines: list[str]) -> str:
    text = lines[1:] if _is_title(lines) else lines
    return _clean(" ".join(filter(None, text)))


def _is_title(lines: list[str]) -> bool:
    """Whether the first line names the proposal that the others make."""
    words = [len(line.split()) for line in lines]
    return len(lines) > 1 and 0 < words[0] <= min(_LONGEST_TITLE, sum(words[1:])) and bool(_TITLE.match(lines[0]))


def _clean(text: str) -> str:
    text = _bare(text)
    return _bare(text[score.end() :]) if (score := _SCORE.match(text)) else text


def _bare(text: str) -> str:
    """Take off what is around a proposal, a layer at a time."""
    for _ in range(_LAYERS):
        inner = _unquoted(_unemphasised(_without_leading(text)))
        if inner == text:
            break
        text = inner
    return text


def _without_leading(text: str) -> str:
    return _LEADING.sub("", text, count=1).strip()


def _unemphasised(text: str) -> str:
    """Take the marks off emphasised words, and those at the edges whose partner is missing or further away."""
    text = _EMPHASIS.sub(r"\3", text)
    inner = text.lstrip(_MARKS)
    body = inner.rstrip(_MARKS)
    tail = inner[len(body) :]
    of_the_text = tail in ("*", "_") and len(inner) == len(text)  # as in "a hotel of 5*"
    return inner if of_the_text else body


def _unquoted(text: str) -> str:
    """Take off quotes around the whole text; '"Blue" and "red"' are two quotations and keep theirs."""
    opening, closing = text[:1], _QUOTES.get(text[:1], "")
    if len(text) < 2 or text[-1] not in closing:
        return text
    inner = text[1:-1]
    marks = re.escape(opening + closing)
    mark = re.search(rf"(?<!\w)[{marks}]|[{marks}](?!\w)", inner)  # one between two letters is an apostrophe
    if mark is None:
        return inner.strip()
    before = inner[: mark.start()][-1:]
    opens = mark[0] == opening and (opening != closing or not before or before in "([{" or before.isspace())
    return inner.strip() if opens else text
