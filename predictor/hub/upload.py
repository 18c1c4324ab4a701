"""Puts a folder on the Hugging Face hub, or on whatever HF_ENDPOINT names, in one commit."""

from pathlib import Path
from typing import Literal

from predictor.error_messages import first_line


def upload(
    folder: Path,
    repository: str,
    *,
    kind: Literal["model", "dataset"],
    message: str,
    private: bool,
    revision: str | None = None,
) -> str:
    """Upload all files of a folder, and return the address of the commit.

    The hub's client takes address and token from its own settings (`hf auth login`).

    Parameters
    ----------
    repository
        Hub id, `owner/name`; it is created if it does not exist.
    private
        Make the repository private, if it does not exist yet.
    revision
        Branch, which is created if it does not exist; None: main.

    Raises
    ------
    ValueError
        It is no hub id, or the hub does not take it.
    """
    from huggingface_hub import HfApi

    check_repository(repository)
    api = HfApi()
    try:
        api.create_repo(repository, repo_type=kind, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repository, repo_type=kind, branch=revision, exist_ok=True)
        done = api.upload_folder(
            repo_id=repository, repo_type=kind, folder_path=folder, revision=revision, commit_message=message
        )
    except Exception as error:  # the hub's client raises a dozen kinds, all of which mean: not taken
        raise ValueError(
            f"{repository}: the hub does not take it: {first_line(error)}; `hf auth login` with a token that may write"
        ) from error
    return done.commit_url


def upload_dataset(folder: Path, repository: str, *, message: str, public: bool) -> str:
    """Upload the folder of a data set, and return the address of the commit.

    Raises
    ------
    ValueError
        As `upload`; the message says where the data set is, which stays there.
    """
    try:
        return upload(folder, repository, kind="dataset", message=message, private=not public)
    except ValueError as error:
        raise ValueError(f"{error}; the data set stays in {folder}") from error


def check_repository(repository: str) -> None:
    """
    Raises
    ------
    ValueError
        It is no hub id.
    """
    if repository.count("/") != 1 or "" in repository.split("/"):
        raise ValueError(f"{repository}: must be a hub id, owner/name")
