"""PickScore's adapter on a random CLIP in the checkpoint's own format."""

import io
from pathlib import Path

import pytest
import torch
import transformers
from PIL import Image

from actors.messages import Rendering, ScoreRequest
from actors.scorers.pickscore import PickScoreScorer
from tests.checkpoints import tiny_clip

REQUEST = ScoreRequest(audiences=((),), base_prompt="a dog in the rain")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def scorer(folder: Path) -> PickScoreScorer:
    scorer = PickScoreScorer(model=str(folder), revision=None, processor=str(folder))
    scorer.setup()
    return scorer


def rendering(image: Image.Image) -> Rendering:
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return Rendering(png=encoded.getvalue())


def test_the_score_is_the_cosine_times_the_temperature_as_on_the_models_card(
    folder: Path, scorer: PickScoreScorer
) -> None:
    image = Image.effect_noise((50, 40), 80).convert("RGB")
    model = transformers.AutoModel.from_pretrained(folder).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder)
    with torch.inference_mode():
        seen = model.get_image_features(**processor(images=image, return_tensors="pt")).pooler_output
        read = model.get_text_features(**processor(text=REQUEST.base_prompt, return_tensors="pt")).pooler_output
        cosine = torch.nn.functional.cosine_similarity(seen, read)
        expected = float(model.logit_scale.exp() * cosine)
    assert scorer.score(REQUEST, rendering(image)) == pytest.approx(expected, abs=1e-4)


def test_the_prompt_counts_and_the_user_does_not(scorer: PickScoreScorer) -> None:
    image = rendering(Image.effect_noise((50, 40), 80))
    other = ScoreRequest(audiences=((),), base_prompt="a cup of coffee")
    person = ScoreRequest(audiences=(("u1",),), base_prompt=REQUEST.base_prompt)
    assert scorer.score(REQUEST, image) == scorer.score(person, image) != scorer.score(other, image)


def test_a_prompt_of_any_length_has_a_score(scorer: PickScoreScorer) -> None:
    long = ScoreRequest(audiences=((),), base_prompt="fog and bridges " * 200)
    assert -200 < scorer.score(long, rendering(Image.new("RGB", (3, 70)))) < 200


def test_weights_that_cannot_be_had_are_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    scorer = PickScoreScorer(model=str(tmp_path), revision=None, processor=str(tmp_path))
    with pytest.raises(ValueError, match=r"scorer pickscore: cannot be loaded: .*generic\.pickscore\.model") as refused:
        scorer.setup()
    assert "\n" not in str(refused.value)
