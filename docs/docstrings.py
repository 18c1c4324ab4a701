"""The project's docstrings as Sphinx reads them.

They are written for people who read the code: `name` is code, as in Markdown, a block that is indented is a diagram or
code, and sections (Parameters, Raises) are NumPy's. Sphinx reads reStructuredText, where each of these means
something else.
"""

import re
from collections.abc import Sequence
from itertools import groupby

from sphinx.ext.napoleon import Config
from sphinx.ext.napoleon.docstring import NumpyDocstring

_CODE = re.compile(r"(?<!`)(`[^`]+`)(?!`)")
_COLUMNS = re.compile(r"\S {2,}\S")
_UNDERLINE = re.compile(r"-{3,}")
_MEANS_SOMETHING = re.compile(r"([*|\\]|(?<=\w)_(?!\w))")
_NUMPY = Config(napoleon_use_rtype=False)


def as_restructured_text(lines: Sequence[str]) -> list[str]:
    """A docstring's lines, with indented blocks as literal ones and NumPy's sections as Sphinx's fields."""
    text = list(lines)
    end = next((n - 1 for n, line in enumerate(text) if n and _UNDERLINE.fullmatch(line.strip())), len(text))
    prose, sections = text[:end], text[end:]
    return [*_prose(prose), *str(NumpyDocstring(_marked(sections), _NUMPY)).split("\n")]


def _prose(lines: Sequence[str]) -> list[str]:
    """Paragraphs as they are; what is indented or set in columns as literal blocks."""
    out: list[str] = []
    literal = False
    for _, group in groupby(lines, key=lambda line: bool(line.strip())):
        block = list(group)
        if not block[0].strip():
            out += block
        elif _keeps_its_shape(block):
            out += [*([] if literal else ["::", ""]), *(f"    {line}" for line in block)]
            literal = True
        else:
            out += _marked(block)
            literal = False
    return [*out, ""]


def _keeps_its_shape(block: Sequence[str]) -> bool:
    """Whether a block is a diagram, a table or code."""
    if block[0].startswith("- "):
        return False
    return any(line.startswith(" ") or _COLUMNS.search(line) for line in block)


def _marked(lines: Sequence[str]) -> list[str]:
    """Code in double backticks, and everything else without a meaning of its own; a span may run over lines."""
    parts = _CODE.split("\n".join(lines))
    marked = [f"`{part}`" if n % 2 else _MEANS_SOMETHING.sub(r"\\\1", part) for n, part in enumerate(parts)]
    return "".join(marked).split("\n") if lines else []
