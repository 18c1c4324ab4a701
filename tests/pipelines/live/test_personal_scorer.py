"""Scores for people whom the checkpoint does not know."""

import asyncio
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from actors.messages import Rendering, ScoreRequest
from actors.scorers.pamela import PamelaScorer, taste_features_of
from pipelines.live.people.answers import PersonAnswer, ShownPicture
from pipelines.live.people.known_taste import KnownTaste
from pipelines.live.people.personal_scorer import PersonalScorer
from predictor.predictor import PamelaPredictor
from predictor.taste.evidence import Choice


def png(grey: int) -> bytes:
    encoded = io.BytesIO()
    Image.new("RGB", (64, 64), (grey, grey, 255 - grey)).save(encoded, "PNG")
    return encoded.getvalue()


class OneScorer:
    """A pool of one actor in this process."""

    def __init__(self, checkpoint: Path) -> None:
        self.scorer = PamelaScorer(str(checkpoint))
        self.calls = 0

    async def call(self, method: str, *arguments: Any) -> tuple[Any, Any]:
        self.calls += 1
        answer = getattr(self.scorer, method)(*arguments)
        return answer, answer


def test_a_persons_score_is_that_of_a_predictor_in_which_they_are_enrolled(checkpoint: Path) -> None:
    predictor = PamelaPredictor.from_pretrained(checkpoint)
    pictures = [Image.open(io.BytesIO(png(grey))) for grey in (20, 90, 160, 230)]
    encoded = predictor.encode(pictures, prompts=["a wall"] * 4)
    enrolled = predictor.enroll("Ada", encoded, [Choice(shown=(0, 1, 2, 3), best=2, worst=0)])
    seen = taste_features_of(predictor, encoded)
    shown = tuple(ShownPicture(seen=each, file="", prompt="a wall") for each in seen)
    names = tuple(each.id for each in seen)
    answer = PersonAnswer(number=0, kind="question", shown=names, chosen=names[2], worst=names[0], pictures=shown)
    pool: Any = OneScorer(checkpoint)
    scorer = PersonalScorer(pool, {"Ada": KnownTaste(predictor.taste, [answer])})
    request = ScoreRequest(audiences=(("Ada",),), base_prompt="a wall")

    _, (score,) = asyncio.run(scorer.call("score_each", request, Rendering(png=png(120))))

    image = Image.open(io.BytesIO(png(120)))
    assert score == pytest.approx(enrolled.score([image], "Ada", prompts=["a wall"])[0], abs=1e-6)


def test_whom_the_checkpoint_knows_is_scored_by_the_pool(checkpoint: Path) -> None:
    predictor = PamelaPredictor.from_pretrained(checkpoint)
    pool: Any = OneScorer(checkpoint)
    scorer = PersonalScorer(pool, {})
    user = predictor.user_ids[0]
    request = ScoreRequest(audiences=((user,), ()), base_prompt="a wall")

    _, scores = asyncio.run(scorer.call("score_each", request, Rendering(png=png(120))))

    image = Image.open(io.BytesIO(png(120)))
    assert scores == [predictor.score([image], who, prompts=["a wall"])[0] for who in (user, "*")]


def test_an_image_that_was_scored_is_not_looked_at_again_to_be_shown(checkpoint: Path) -> None:
    pool: Any = OneScorer(checkpoint)
    scorer = PersonalScorer(pool, {"Ada": KnownTaste(PamelaPredictor.from_pretrained(checkpoint).taste)})
    rendering, question = Rendering(png=png(120)), ScoreRequest(audiences=(), base_prompt="a wall")

    async def score_and_see() -> None:
        await scorer.call("score_each", replace(question, audiences=(("Ada",),)), rendering)
        await scorer.taste_features(question, rendering)
        assert pool.calls == 1
        await scorer.taste_features(replace(question, base_prompt="a fence"), rendering)

    asyncio.run(score_and_see())

    assert pool.calls == 2
