"""What the model believes of a person, in plain words: how they differ from most people, and how sure that is.

The personal part of their liking is regressed, over the catalogue of pictures, on attributes that are measured from the
pixels. The coefficients are linear in the taste, so that its posterior gives theirs in closed form.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from predictor.taste.hierarchical import ImageFeatures
from predictor.taste.posterior import Posterior, covariance_factor

SURE, FAIRLY = 0.95, 0.8

_WORDS = {
    "luminance": ("brighter pictures", "darker pictures"),
    "contrast": ("strong contrast", "soft contrast"),
    "saturation": ("more colour", "less colour"),
    "warmth": ("warm light", "cool light"),
    "sharpness": ("crisp detail", "soft detail"),
    "vignetting": ("darkened corners", "even light to the edges"),
    "subject_scale": ("large, simple shapes", "fine, busy detail"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """One way in which a person differs from most people."""

    words: str
    probability: float
    """That they do like it more than most, not less; from 0.5 to 1."""
    strength: float
    """Expected change of liking (0 to 1) with one standard deviation of the attribute."""

    @property
    def certainty(self) -> str:
        if self.probability >= SURE:
            return "sure"
        return "fairly sure" if self.probability >= FAIRLY else "not sure yet"


def beliefs(
    posterior: Posterior, features: ImageFeatures, attributes: NDArray[np.float64], names: Sequence[str]
) -> list[Belief]:
    """Beliefs about each attribute, the surest first.

    Parameters
    ----------
    features, attributes
        Of the same N pictures; attributes (N, A), in any units.
    names
        Of the attributes, `predictor.simulation.attributes.ATTRIBUTES`.
    """
    scaled = (attributes - attributes.mean(0)) / np.maximum(attributes.std(0), 1e-9)
    design = np.column_stack([np.ones(len(scaled)), scaled])
    weights = np.linalg.pinv(design)[1:]  # (A, N): from likings to coefficients
    personal = (features.values @ posterior.taste).numpy()  # (N,)
    rows = covariance_factor(posterior.factor, features).numpy()  # (N, rank + 1)
    mean = weights @ personal
    deviation = np.linalg.norm(weights @ rows, axis=1)
    found = []
    for name, value, sd in zip(names, mean, deviation, strict=True):
        more, less = _WORDS[name]
        probability = float(ndtr(abs(value) / max(float(sd), 1e-12)))
        found.append(Belief(words=more if value > 0 else less, probability=probability, strength=float(abs(value))))
    return sorted(found, key=lambda belief: -belief.probability)
