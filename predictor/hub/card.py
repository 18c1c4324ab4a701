"""README.md of what is published: front matter that the hub reads, then the text that people read."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml


def card_text(front: Mapping[str, Any], lines: Sequence[str]) -> str:
    """A card in Markdown.

    Parameters
    ----------
    front
        Fields of the hub: license, tags, configs, and so on.
    """
    fields = yaml.safe_dump(dict(front), sort_keys=False, allow_unicode=True).rstrip()
    return "\n".join(["---", fields, "---", "", *lines]) + "\n"
