"""The settings of each scorer, free of heavy imports.

The scorers `pamela` and `population` are the predictor, and share one pool and the settings under `scorer`. All others
are generic: they know no user, steer once per prompt, and have a pool and settings of their own, under `generic.NAME`.
"""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from actors.scorers.registry import SCORERS
from pipelines.settings.placement import Closed, Placement

PERSONAL, POPULATION = "pamela", "population"
PREDICTOR_SCORERS = (PERSONAL, POPULATION)


class ScorerSettings(Placement):
    """Of the predictor's pool."""


class GenericScorer(Placement):
    python: str | None = Field(
        default=None,
        description="Python of the environment that has the scorer's library, on every node; none: this project's own",
    )
    setup_timeout_s: float = Field(default=1800, gt=0)


class LaionSettings(GenericScorer):
    pass


class QAlignSettings(GenericScorer):
    dtype: Literal["fp16", "8bit", "4bit"] = Field(default="fp16", description="8bit and 4bit by bitsandbytes")


class ImageRewardSettings(GenericScorer):
    model: str = Field(default="ImageReward-v1.0", description="a name that the package knows, or a checkpoint's file")
    med_config: str | None = Field(default=None, description="the text encoder's JSON file; none: downloaded")


class DeQASettings(GenericScorer):
    model: str = Field(default="zhiyuanyou/DeQA-Score-Mix3", description="folder or Hugging Face name")
    revision: str | None = Field(default=None, description="branch, tag or commit")
    dtype: Literal["float16", "bfloat16", "float32"] = "float16"
    trust_remote_code: bool = Field(default=False, description="whether to run the code that the checkpoint brings")


class HPSv3Settings(GenericScorer):
    checkpoint: str | None = Field(default=None, description="HPSv3.safetensors; none: downloaded")
    config: str | None = Field(default=None, description="the package's YAML file; none: the one it ships")


class PickScoreSettings(GenericScorer):
    model: str = Field(default="yuvalkirstain/PickScore_v1", description="folder or Hugging Face name")
    revision: str | None = Field(default=None, description="branch, tag or commit")
    processor: str = Field(default="laion/CLIP-ViT-H-14-laion2B-s32B-b79K", description="folder or Hugging Face name")


class OwnScorer(GenericScorer):
    arguments: dict[str, Any] = Field(default={}, description="what the class is made with")


class GenericSettings(Closed):
    """Settings of each generic scorer, by its name."""

    model_config = ConfigDict(extra="forbid", frozen=True, serialize_by_alias=True)

    laion: LaionSettings = LaionSettings()
    q_align: QAlignSettings = Field(default=QAlignSettings(), alias="q-align")
    q_align_iqa: QAlignSettings = Field(default=QAlignSettings(), alias="q-align-iqa")
    imagereward: ImageRewardSettings = ImageRewardSettings()
    deqa: DeQASettings = DeQASettings()
    hpsv3: HPSv3Settings = HPSv3Settings()
    pickscore: PickScoreSettings = PickScoreSettings()
    own: dict[str, OwnScorer] = Field(default={}, description="scorers of one's own, by import path or entry point")

    def of(self, name: str) -> GenericScorer:
        """The settings of one scorer."""
        if name not in SCORERS:
            return self.own.get(name, OwnScorer())
        return getattr(self, name.replace("-", "_"))


def needs_predictor(scorers: tuple[str, ...]) -> bool:
    return any(name in PREDICTOR_SCORERS for name in scorers)


def generic(scorers: tuple[str, ...]) -> list[str]:
    """The scorers that have a pool of their own."""
    return [name for name in scorers if name not in PREDICTOR_SCORERS]
