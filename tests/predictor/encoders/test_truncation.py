import logging

import pytest

from predictor.encoders.minilm import MiniLM
from predictor.encoders.truncation import Truncation


def test_texts_that_are_longer_than_an_encoder_reads_are_counted_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    truncation = Truncation("siglip", 64)
    with caplog.at_level(logging.WARNING):
        for tokens in (64, 65, 200, 3):
            truncation.note(tokens)

    assert truncation.texts == 2
    assert [record.getMessage() for record in caplog.records] == [
        "siglip reads the first 64 tokens of a text, and one has 65: what stands after them counts for nothing"
    ]


def test_minilm_counts_what_it_does_not_read() -> None:
    texts = MiniLM()
    texts.encode(["a cat", "cat " * 254, "cat " * 255])

    assert texts.truncation.texts == 1
