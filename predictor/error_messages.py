"""How an error of a library is worded in a message of one line."""

import os


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def type_and_last_line(error: BaseException) -> str:
    """The type of an error with the last line of its text, where the gist of a long one stands."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1] if lines else ''}".rstrip(": ")


def readable(name: object) -> str:
    """The name of a file as text that can be printed and stored: bytes that are no UTF-8 are escaped."""
    return os.fsencode(str(name)).decode("utf-8", "backslashreplace")
