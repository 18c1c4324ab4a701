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
        Hub id, `owner/name`; it is made if it is not there.
    private
        Of a repository that is made.
    revision
        Branch, which is made if it is not there; None: the main one.

    Raises
    ------
    ValueError
        It is no hub id, or the hub does not take it.
    """
    from huggingface_hub import HfApi

    if repository.count("/") != 1:
        raise ValueError(f"{repository}: must be a hub id, owner/name")
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
