"""The settings of the search: the limits of the paper's protocol, and what goes beyond it. Defaults are the paper's."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from pipelines.settings.placement import Closed

Share = Literal["base", "round", "pool"]
Guard = Literal["off", "warn", "reject"]

_Level = Annotated[Guard, BeforeValidator(lambda level: "off" if level is False else level)]
"""To YAML, and so to `--set`, a bare `off` is false."""


class GuardSettings(Closed):
    """What is measured of a candidate beside its score, and what follows: each guard is off, warns, or rejects."""

    subject: _Level = Field(
        default="off", description="a prompt keeps the key words of its base prompt, or its meaning"
    )
    subject_similarity: float = Field(
        default=0.6, ge=-1, le=1, description="cosine of two prompts from which on key words may be missing"
    )
    image: _Level = Field(
        default="off", description="an image is as like the base prompt as base images are; needs a SigLIP predictor"
    )
    image_seeds: int = Field(default=4, ge=1, description="base images rendered with fresh seeds to find out how like")
    held_out: _Level = Field(default="off", description="a scorer that does not steer does not fall")
    held_out_scorer: str = Field(default="population", description="a scorer of --scorer")
    held_out_fall: float = Field(
        default=0.05, ge=0, description="so much may it lie below the base image's score, on its own scale"
    )
    drift: _Level = Field(default="off", description="saturation and sharpness stay near the base image's")
    saturation_rise: float = Field(default=36.0, gt=0, description="so much may mean chroma rise, in units of CIELAB")
    sharpness_fall: float = Field(
        default=2.8, gt=0, description="so much may the Laplacian's variance fall, in powers of ten"
    )
    sharpness_rise: float = Field(default=1.5, gt=0, description="the same, upwards")
    reseed: _Level = Field(default="off", description="a winner beats the base prompt with fresh seeds too")
    reseeds: int = Field(default=2, ge=1, description="fresh seeds with which a winner is rendered again")

    @property
    def measures_images(self) -> bool:
        """Whether candidates that would be the best are measured first."""
        return any(guard != "off" for guard in (self.image, self.held_out, self.drift))


class SearchSettings(Closed):
    """The limits of a search, and what of it goes beyond the paper."""

    name: str = Field(default="paper", description="the protocol that the others of these settings started from")
    candidates: int = Field(default=20, ge=1, description="T, proposals in each iteration")
    iterations: int = Field(default=5, ge=0)
    patience: int = Field(default=2, ge=1, description="stop after so many iterations in a row without a new best")
    share: Share = Field(
        default="base", description="base images; the first round of proposals too; or a pool of all images of a prompt"
    )
    screen: int | None = Field(default=None, ge=1, description="render so many of the proposals; none: all")
    novelty: float = Field(
        default=0.02, ge=0, le=2, description="least 1 - cosine of what is screened to what was evaluated"
    )
    previews: int | None = Field(default=None, ge=1, description="finish so many of those rendered; none: all")
    preview_agreement: float = Field(
        default=0.5, ge=-1, le=1, description="rank correlation with final scores below which previews switch off"
    )
    guards: GuardSettings = GuardSettings()

    @property
    def shares_first_round(self) -> bool:
        return self.share != "base"
