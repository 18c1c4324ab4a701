"""Counts the texts that were longer than a text encoder reads, and warns of the first."""

import logging

logger = logging.getLogger(__name__)


class Truncation:
    """Counts the texts of one encoder that were longer than it reads.

    Example:

        truncation = Truncation("minilm", 256)
        truncation.note(300)
        truncation.texts == 1
    """

    def __init__(self, encoder: str, most_tokens: int) -> None:
        self._encoder = encoder
        self._most_tokens = most_tokens
        self.texts = 0

    def note(self, tokens: int) -> None:
        """A text of so many tokens is encoded."""
        if tokens <= self._most_tokens:
            return
        self.texts += 1
        if self.texts == 1:
            logger.warning(
                "%s reads the first %d tokens of a text, and one has %d: what stands after them counts for nothing",
                *(self._encoder, self._most_tokens, tokens),
            )
