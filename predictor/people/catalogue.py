"""The images that a person may be asked about, each with its taste features and an id that recognises it again."""

from dataclasses import dataclass

from predictor.taste.hierarchical import ImageFeatures


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """N images; an id is the same for the same image, prompt and metadata."""

    ids: tuple[str, ...]
    features: ImageFeatures

    def __len__(self) -> int:
        return len(self.ids)
