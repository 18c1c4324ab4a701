"""What is asked of the Hugging Face hub: files of a repository at one commit, and how large they are.

Invariant: whatever the hub's client raises becomes a ValueError of one line with the remedy.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from predictor.error_messages import hub_errors

IGNORED = ("*.fp16.*", "*.bf16.*", "*.fp8.*", "*.non_ema.*", "*.ema.*")
"""File names of variants of the weights, which are not read."""
_QUESTION_S = 5.0


def download_file(repository: str, file: str, revision: str | None) -> Path:
    """The file in the hub's cache, in a folder named after the commit."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # no warning for each retry: the error below says what came of them
    with hub_errors(repository, revision, file):
        return Path(hf_hub_download(repository, file, revision=revision))


def download_folder(repository: str, commit: str, patterns: Sequence[str]) -> Path:
    """The folder with the files of these names, in the hub's cache."""
    from huggingface_hub import snapshot_download

    with hub_errors(repository, commit, "such files"):
        return Path(
            snapshot_download(repository, revision=commit, allow_patterns=[*patterns], ignore_patterns=[*IGNORED])
        )


def check_available(repository: str, file: str, revision: str | None) -> None:
    """See that a file can be had, by one question without the retries of a download.

    Raises
    ------
    ValueError
        It is not in the hub's cache, and the hub does not answer, or says no.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(repository, file, revision=revision), str):
        return
    with hub_errors(repository, revision, file):
        get_hf_file_metadata(hf_hub_url(repository, file, revision=revision), timeout=_QUESTION_S)


def commit_and_size(repository: str, file: str, revision: str | None) -> tuple[str, int]:
    """The commit and the bytes of a file, of which nothing is downloaded."""
    from huggingface_hub import hf_hub_download

    with hub_errors(repository, revision, file):
        found = hf_hub_download(repository, file, revision=revision, dry_run=True)
    return found.commit_hash, found.file_size or 0


def safetensors_headers(repository: str, commit: str, folder: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and header of each safetensors file in a folder of a repository, as in the files themselves."""
    from huggingface_hub import HfApi

    api = HfApi()
    with hub_errors(repository, commit, folder):
        files = [name for name in api.list_repo_files(repository, revision=commit) if name.startswith(f"{folder}/")]
        for name in (name for name in files if name.endswith(".safetensors")):
            tensors = api.parse_safetensors_file_metadata(repository, name, revision=commit).tensors
            yield (
                name.rpartition("/")[2],
                {
                    key: {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": tensor.data_offsets}
                    for key, tensor in tensors.items()
                },
            )
