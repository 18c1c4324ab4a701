"""The settings of the search: the limits of the paper's protocol, and what goes beyond it. Defaults are the paper's."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from pipelines.search.steps import Guard, Guards, Protocol, Share
from pipelines.settings.placement import Closed

_GUARDS = Guards()

_Level = Annotated[Guard, BeforeValidator(lambda level: "off" if level is False else level)]
"""To YAML, and so to `--set`, a bare `off` is false."""


class GuardSettings(Closed):
    """Each guard is off, warns, or rejects."""

    subject: _Level = Field(
        default="off", description="a prompt keeps the key words of its base prompt, or its meaning"
    )
    subject_similarity: float = Field(
        default=_GUARDS.subject_similarity, ge=-1, le=1, description="cosine of two prompts that mean the same"
    )
    image: _Level = Field(
        default="off", description="an image is as like the base prompt as base images are; needs a SigLIP predictor"
    )
    image_seeds: int = Field(default=_GUARDS.image_seeds, ge=1, description="base images drawn to find out how like")
    held_out: _Level = Field(default="off", description="a scorer that does not steer does not fall")
    held_out_scorer: str = Field(default=_GUARDS.held_out_scorer, description="a scorer of --scorer")
    held_out_fall: float = Field(
        default=_GUARDS.held_out_fall, ge=0, description="so much may it fall, on its own scale"
    )
    drift: _Level = Field(default="off", description="saturation and sharpness stay near the base image's")
    saturation_rise: float = Field(
        default=_GUARDS.saturation_rise, gt=0, description="so much may mean chroma rise, in units of CIELAB"
    )
    sharpness_fall: float = Field(
        default=_GUARDS.sharpness_fall, gt=0, description="so much may the Laplacian's variance fall, in powers of ten"
    )
    sharpness_rise: float = Field(default=_GUARDS.sharpness_rise, gt=0, description="the same, upwards")
    reseed: _Level = Field(default="off", description="a winner beats the base prompt with fresh seeds too")
    reseeds: int = Field(default=_GUARDS.reseeds, ge=1, description="so many fresh seeds")


class ProtocolSettings(Closed):
    """What a search does; see `pipelines.search.steps.Protocol`."""

    name: str = Field(default="paper", description="the protocol that the others of these settings started from")
    candidates: int = Field(default=20, ge=1, description="T, proposals in each iteration")
    iterations: int = Field(default=5, ge=0)
    patience: int = Field(default=2, ge=1, description="stop after so many iterations in a row without a new best")
    share: Share = Field(
        default="base", description="base images; the first round of proposals too; or a pool of all images of a prompt"
    )
    screen: int | None = Field(default=None, ge=1, description="draw so many of the proposals; none: all")
    novelty: float = Field(default=0.02, ge=0, le=2, description="least distance of what is screened to what was tried")
    previews: int | None = Field(default=None, ge=1, description="finish so many of those that are drawn; none: all")
    preview_agreement: float = Field(
        default=0.5, ge=-1, le=1, description="rank correlation with final scores below which previews switch off"
    )
    guards: GuardSettings = GuardSettings()

    @property
    def protocol(self) -> Protocol:
        return Protocol(**self.model_dump(exclude={"name", "guards"}), guards=Guards(**self.guards.model_dump()))
