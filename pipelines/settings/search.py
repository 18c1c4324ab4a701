"""The settings of the search: the limits of the paper's protocol (the defaults), and what goes beyond it."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from pipelines.settings.placement import Closed

ShareMode = Literal["base", "round", "pool"]
Guard = Literal["off", "warn", "reject"]

_Level = Annotated[Guard, BeforeValidator(lambda level: "off" if level is False else level)]
"""YAML, and so `--set`, reads a bare `off` as false."""


class GuardSettings(Closed):
    """What is checked of a candidate beside its score. Each guard is off, warns, or rejects."""

    subject: _Level = Field(default="off", description="a prompt has the key words of its base prompt, or its meaning")
    subject_similarity: float = Field(
        default=0.6, ge=-1, le=1, description="least cosine of the two prompts' embeddings where key words are missing"
    )
    image: _Level = Field(
        default="off",
        description="an image is as similar to the base prompt as base images are; needs a SigLIP predictor",
    )
    image_seeds: int = Field(
        default=4, ge=1, description="base images rendered with fresh seeds, to know how similar these are"
    )
    held_out: _Level = Field(default="off", description="the score of a scorer that does not steer does not fall")
    held_out_scorer: str = Field(default="population", description="a scorer of --scorer")
    held_out_fall: float = Field(
        default=0.05, ge=0, description="the most it may fall below the base image's score, on its own scale"
    )
    drift: _Level = Field(default="off", description="saturation and sharpness stay near those of the base image")
    saturation_rise: float = Field(
        default=36.0, gt=0, description="the most that mean chroma may rise, in units of CIELAB"
    )
    sharpness_fall: float = Field(
        default=2.8, gt=0, description="the most that the variance of the Laplacian may fall, in powers of ten"
    )
    sharpness_rise: float = Field(default=1.5, gt=0, description="the most that it may rise")
    reseed: _Level = Field(
        default="off", description="a winner scores higher than the base prompt with fresh seeds too"
    )
    reseeds: int = Field(default=2, ge=1, description="fresh seeds with which a winner is rendered again")

    @property
    def measures_images(self) -> bool:
        """Whether a candidate has to be measured before it can be the best."""
        return any(guard != "off" for guard in (self.image, self.held_out, self.drift))


class SearchSettings(Closed):
    """The limits of a search, and its extensions."""

    name: str = Field(default="paper", description="the protocol file that these settings were read from")
    candidates: int = Field(default=20, ge=1, description="T, proposals in each iteration")
    iterations: int = Field(default=5, ge=0)
    patience: int = Field(default=2, ge=1, description="stop after so many iterations in a row without a new best")
    share: ShareMode = Field(
        default="base",
        description="what users of a prompt share: base images; the first round too; or a pool of all its images",
    )
    screen: int | None = Field(default=None, ge=1, description="the most proposals that are rendered; none: all")
    novelty: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="least 1 - cosine, by words and pairs of words, of a screened proposal to every evaluated prompt",
    )
    previews: int | None = Field(
        default=None, ge=1, description="the most previews that are finished; none: there are no previews"
    )
    preview_agreement: float = Field(
        default=0.5,
        ge=-1,
        le=1,
        description="rank correlation with final scores below which a trajectory's previews are switched off",
    )
    guards: GuardSettings = GuardSettings()

    @property
    def shares_first_round(self) -> bool:
        return self.share != "base"

    def images_of_round(self, number: int, searching: float) -> float:
        """The images of a cohort's round in which so many users search, if none is there already."""
        if number == 0:
            return 1
        if number == 1 and self.shares_first_round:
            return self.candidates
        return searching * min(self.candidates, self.screen or self.candidates)
