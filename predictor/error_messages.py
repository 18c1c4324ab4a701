"""How an error of a library is worded in a message of one line."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def type_and_last_line(error: BaseException) -> str:
    """The type of an error with the last line of its text, where the gist of a long one stands."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1] if lines else ''}".rstrip(": ")
