"""Images that somebody may be asked about, looked at once: what a taste weighs of each, and an id to know it again."""

from dataclasses import dataclass

from predictor.taste.hierarchical import ImageFeatures


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """N images; an id is the same for the same image, prompt and metadata."""

    ids: tuple[str, ...]
    features: ImageFeatures

    def __len__(self) -> int:
        return len(self.ids)
