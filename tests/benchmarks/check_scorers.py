"""Compares the scorers that are installed here with scores that their authors publish.

    python tests/benchmarks/check_scorers.py FOLDER laion q-align imagereward …

Run it with the Python of the environment that holds the scorer's library (docs/scorers.md), on a machine that can
have the weights. FOLDER holds the published images; a missing one is named with its source. Exit status 1 where a
score lies further from the published one than it may.
"""

import io
import sys
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from actors.messages import Rendering, Scorer, ScoreRequest
from actors.scorers.deqa import DeQAScorer
from actors.scorers.image_reward import ImageRewardScorer
from actors.scorers.iqa import LaionScorer, QAlignScorer

_CALIBRATION = "github.com/chaofengc/IQA-PyTorch, ResultsCalibra/dist_dir"
_REWARD = "github.com/THUDM/ImageReward, assets/images"
_ALIGN = "github.com/Q-Future/Q-Align, fig"
_OCEAN = "a painting of an ocean with clouds and birds, day time, low depth field effect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One image with the score that its source gives it, and how far off another machine may be."""

    image: str
    source: str
    score: float
    within: float
    prompt: str = ""


PUBLISHED = {
    "laion": [
        Published(image=image, source=_CALIBRATION, score=score, within=0.1)
        for image, score in zip(
            ("I03.bmp", "I04.bmp", "I06.bmp", "I08.bmp", "I19.bmp"),
            (3.6420, 5.5836, 5.0716, 4.6458, 3.0889),
            strict=True,
        )
    ],
    "q-align-iqa": [Published(image="singapore_flyer.jpg", source=_ALIGN, score=1.911, within=0.05)],
    "imagereward": [
        Published(image=f"{number}.webp", source=_REWARD, score=score, within=0.1, prompt=_OCEAN)
        for number, score in enumerate((0.5811622738838196, 0.2745276093482971, -1.41318190, -2.02956963), start=1)
    ],
}
"""Of q-align (aesthetic), deqa, hpsv3 and pickscore no score of a public image was found: they are only run."""


def make(name: str) -> Scorer:
    if name == "hpsv3":
        from actors.scorers.hps import HPSv3Scorer

        return HPSv3Scorer(checkpoint=None, config=None)
    if name == "pickscore":
        from actors.scorers.pickscore import PickScoreScorer

        return PickScoreScorer(
            model="yuvalkirstain/PickScore_v1", revision=None, processor="laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
        )
    made: dict[str, Scorer] = {
        "laion": LaionScorer(),
        "q-align": QAlignScorer(name="q-align", task="aesthetic", dtype="fp16"),
        "q-align-iqa": QAlignScorer(name="q-align-iqa", task="quality", dtype="fp16"),
        "imagereward": ImageRewardScorer(model="ImageReward-v1.0", med_config=None),
        "deqa": DeQAScorer(model="zhiyuanyou/DeQA-Score-Mix3", revision=None, dtype="float16", trust_remote_code=True),
    }
    return made[name]


def rendering(path: Path) -> Rendering:
    encoded = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").save(encoded, "PNG")
    return Rendering(png=encoded.getvalue())


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def check(name: str, folder: Path) -> bool:
    """Whether every published image scores as it should; prints a line for each."""
    scorer = make(name)
    try:
        scorer.setup()
    except (ValueError, ModuleNotFoundError) as error:
        say(f"{name:12} {error}")
        return False
    right = True
    for published in PUBLISHED.get(name, []):
        path = folder / published.image
        if not path.is_file():
            say(f"{name:12} {published.image:20} not in {folder}; get it from {published.source}")
            right = False
            continue
        score = scorer.score(ScoreRequest(audiences=((),), base_prompt=published.prompt), rendering(path))
        close = abs(score - published.score) <= published.within
        right = right and close
        verdict = "as published" if close else "NOT as published"
        say(f"{name:12} {published.image:20} {score:8.3f}, published {published.score:8.3f}: {verdict}")
    if name not in PUBLISHED:
        for path in sorted(path for path in folder.iterdir() if path.suffix in (".bmp", ".jpg", ".png", ".webp")):
            score = scorer.score(ScoreRequest(audiences=((),), base_prompt=_OCEAN), rendering(path))
            say(f"{name:12} {path.name:20} {score:8.3f}, nothing published")
    return right


if __name__ == "__main__":
    results = [check(name, Path(sys.argv[1])) for name in sys.argv[2:]]
    sys.exit(0 if results and all(results) else 1)
