"""Columns of text as codes: each name once, and a number a row. A million votes have a few thousand names."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

pc: Any = pyarrow.compute  # its functions are made when it is imported, so type checkers don't know them
Codes = NDArray[np.int64]


def encoded(column: Any) -> pa.DictionaryArray:
    """A column of anything that can be written as text, as one dictionary array of text."""
    if not pa.types.is_dictionary(column.type):
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            column = column.cast(pa.large_string())
        column = column.dictionary_encode()
    if isinstance(column, pa.ChunkedArray):
        column = column.unify_dictionaries()
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # without any rows
        column = pa.array([], pa.large_string()).dictionary_encode()
    return pa.DictionaryArray.from_arrays(column.indices, column.dictionary.cast(pa.large_string()))


def trimmed(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """Without spaces around the names, of which some may then be equal."""
    return pa.DictionaryArray.from_arrays(column.indices, pc.utf8_trim_whitespace(column.dictionary))


def positions(column: pa.DictionaryArray) -> Codes:
    """Positions in the column's own dictionary (n,); −1 where there is nothing."""
    indices = column.indices
    filled = pc.fill_null(indices, -1) if indices.null_count else indices
    return filled.to_numpy(zero_copy_only=False).astype(np.int64)


def coded(*columns: pa.DictionaryArray) -> tuple[tuple[str, ...], list[Codes]]:
    """The sorted names that all the columns together use, and each column as positions in them; nothing is −1."""
    own = [(column.dictionary.to_pylist(), positions(column)) for column in columns]
    used = {names[n] for names, rows in own for n in np.flatnonzero(np.bincount(rows + 1)[1:])} - {None}
    names = sorted(used)
    place = {name: n for n, name in enumerate(names)}
    tables = [np.array([*(place.get(name, -1) for name in words), -1], np.int64) for words, _ in own]
    return tuple(names), [table[rows] for table, (_, rows) in zip(tables, own, strict=True)]
