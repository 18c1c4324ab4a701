"""Turns the errors of libraries into messages of one line."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_OFFLINE = "give the folder of a copy, or try again with a connection"


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def type_and_last_line(error: BaseException) -> str:
    """The type of an error with the last line of its text, where the gist of a long one stands."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1] if lines else ''}".rstrip(": ")


def system_error(error: OSError) -> str:
    """What the operating system refused, such as a full disk or a file that may not be read, with the file's name."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}; mend that, and try again"


def first_fault(error: "ValidationError") -> str:
    """Where values do not fit their model, and how: the first fault of several.

    Example: "body: field required", "block: input should be greater than or equal to 1, got 0"
    """
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {fault_of(first)}" if where else fault_of(first)


def fault_of(details: "ErrorDetails") -> str:
    """One fault that pydantic found, with the value that was given.

    A validator of one's own has said the value already, unless it may be a secret.
    """
    if details["type"] == "value_error":
        return details["msg"].removeprefix("Value error, ")
    got = "" if details["type"] in ("missing", "extra_forbidden") else f", got {details['input']!r}"
    return f"{details['msg'][:1].lower()}{details['msg'][1:]}{got}"


@contextmanager
def hub_errors(repository: str, revision: str | None, file: str) -> Iterator[None]:
    """Turn what the Hugging Face hub's client raises while the block runs into one line with the remedy.

    Parameters
    ----------
    file
        What is asked for, in words: the repository may not have it.

    Raises
    ------
    ValueError
        The repository is gated, missing or out of reach, or has no such revision or file.
    """
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    page = f"https://huggingface.co/{repository}"
    try:
        yield
    except HFValidationError as error:
        raise ValueError(f"{repository}: neither a folder nor a hub id (owner/name)") from error
    except GatedRepoError as error:
        raise ValueError(
            f"{repository}: gated; accept its licence on {page}, then log in by `hf auth login` (or set HF_TOKEN)"
        ) from error
    except RepositoryNotFoundError as error:
        raise ValueError(
            f"{repository}: neither a folder nor on the hub; if it is private, `hf auth login` first"
        ) from error
    except RevisionNotFoundError as error:
        raise ValueError(f"{repository}: the hub has no revision {revision!r}; see {page}/commits") from error
    except RemoteEntryNotFoundError as error:
        raise ValueError(f"{repository}: the repository has no {file}") from error
    except LocalEntryNotFoundError as error:
        raise ValueError(
            f"{repository}: neither a folder nor in the hub's cache, and the hub is out of reach; {_OFFLINE}"
        ) from error
    except Exception as error:  # the hub's client raises a dozen more kinds, all of which mean: out of reach
        raise ValueError(f"{repository}: the hub is out of reach ({first_line(error)}); {_OFFLINE}") from error


def readable(name: object) -> str:
    """The name of a file as text that can be printed and stored: bytes that are no UTF-8 are escaped."""
    return os.fsencode(str(name)).decode("utf-8", "backslashreplace")
