"""Pushes a data set folder to the Hugging Face hub, or to whatever HF_ENDPOINT names."""

from pathlib import Path


def push(folder: Path, repo: str, *, private: bool) -> str:
    """The address of the data set, once all of the folder is there.

    Raises
    ------
    ValueError
        The hub does not take it: no token, no right, or out of reach.
    """
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi()
    try:
        api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, repo_type="dataset", folder_path=folder, commit_message="A run of steer-batch")
    except (HfHubHTTPError, httpx2.HTTPError, OSError, ValueError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(
            f"--repo {repo}: the hub does not take it ({reason}); `hf auth login` with a token that may write, "
            f"or push {folder} yourself"
        ) from error
    return f"{api.endpoint}/datasets/{repo}"
