"""Text embedding models by sentence-transformers, such as nvidia/llama-embed-nemotron-8b.

Invariant: code that comes with a checkpoint runs only if the caller trusts it. Otherwise such a checkpoint is refused,
even if the libraries could load it without: the vectors would not be its authors'.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictor.encoders.loading import device, loading
from predictor.encoders.source import Source

_VERSION = 1
"""Raise it whenever the same checkpoint and text would give another vector."""


@dataclass(frozen=True)
class EmbeddingModel:
    """A whole sentence-transformers pipeline; a checkpoint without one is pooled by the mean of its token states.

    Vectors have unit length, so that a dot product is a cosine. Where the checkpoint names a default prompt,
    it is prepended to each text. Texts are truncated to the model's maximum.

    Raises
    ------
    ValueError
        The checkpoint brings code of its own, and `trust_remote_code` is not given.
    """

    source: Source
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if not self.trust_remote_code and (where := _own_code(self.source)):
            raise ValueError(
                f"{self.name}: runs code of its own ({where}); read it, and if you trust it give --trust-remote-code"
            )

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def fingerprint(self) -> str:
        return f"embedding-{self.source.identity}-{self.source.dtype}-v{_VERSION}"

    @property
    def dimensions(self) -> int:
        return self._dimensions

    @cached_property
    def _dimensions(self) -> int:
        """From the settings if they have it, else from the loaded model."""
        return _dimensions(self.source) or int(self._model.get_embedding_dimension() or 0)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts; unit length, shape (len(texts), dimensions).

        Raises
        ------
        ValueError
            The model gives vectors of another length than its settings say.
        """
        import torch

        vectors = np.empty((len(texts), self.dimensions), np.float32)
        for row, text in enumerate(texts):
            # Some tokenizers make nothing at all of an empty text, and nothing has no mean.
            said = text if text.strip() else "."
            pooled = self._model.encode([said], convert_to_tensor=True, show_progress_bar=False)
            if pooled.shape[1] != self.dimensions:
                raise ValueError(f"{self.name}: vectors of {pooled.shape[1]}, but its settings say {self.dimensions}")
            (vectors[row],) = torch.nn.functional.normalize(pooled.float(), dim=-1).cpu().numpy()
        return vectors

    @cached_property
    def _model(self) -> Any:
        import torch

        folder = self.source.complete()
        with loading(self.name):
            from sentence_transformers import SentenceTransformer

            return SentenceTransformer(
                str(folder),
                device=device(),
                trust_remote_code=self.trust_remote_code,
                local_files_only=True,
                model_kwargs={"dtype": getattr(torch, self.source.dtype), "use_safetensors": True},
            ).eval()


def _own_code(source: Source) -> str | None:
    """The setting that names code from outside the installed libraries, or None."""
    for path in sorted(source.folder.rglob("*config*.json")):
        file = path.relative_to(source.folder).as_posix()
        settings = source.json(file)
        if isinstance(settings, dict) and settings.get("auto_map"):
            return f"auto_map in {file}"
    foreign = (
        module["type"]
        for module in source.json("modules.json") or []
        if not module["type"].startswith("sentence_transformers.")
    )
    return next((f"{kind} in modules.json" for kind in foreign), None)


def _dimensions(source: Source) -> int | None:
    """The length of the last module's vectors; None if the settings do not have it."""
    modules = source.json("modules.json")
    if modules is None:
        return source.config.get("hidden_size")
    size = None
    for module in modules:
        settings = source.json(f"{module['path']}/config.json".lstrip("/")) or {}
        match module["type"].rpartition(".")[2]:
            case "Transformer":
                size = settings.get("hidden_size")
            case "Pooling":
                size = _pooled(settings)
            case "Dense":
                size = settings.get("out_features")
            case "Normalize" | "Dropout" | "LayerNorm":
                pass
            case _:
                size = None
    return size


def _pooled(settings: Mapping[str, Any]) -> int | None:
    """The length after pooling; several kinds of pooling are concatenated, and older settings have a flag for each."""
    width = settings.get("embedding_dimension") or settings.get("word_embedding_dimension")
    ways = settings.get("pooling_mode") or [
        on for key, on in settings.items() if key.startswith("pooling_mode_") and on
    ]
    return width and width * (1 if isinstance(ways, str) else max(len(ways), 1))
