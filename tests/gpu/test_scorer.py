"""On a GPU as on a CPU: a score depends on the image, its prompt and the person alone."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from actors.messages import ProposalRequest, Rendering, ScoreRequest
from actors.proposers.chat.transformers_proposer import TransformersProposer
from actors.scorers.pamela import PamelaScorer
from predictor.encoders.registry import image_encoder, text_encoder
from tests.chat_checkpoint import tiny_chat_llama
from tests.checkpoints import tiny_embedding_model, tiny_siglip, tiny_siglip2
from tests.gpu.device import needs_device
from tests.pipelines.predictors import train_on_tiny

pytestmark = needs_device

TEXTS = [f"a prompt of {number} words {'and more ' * number}" for number in range(40)]


def pictures(count: int) -> list[Image.Image]:
    """Noise of many aspect ratios: other numbers of patches in SigLIP2."""
    chance = np.random.default_rng(0)
    sizes = [(40 + 7 * (n % 9), 40 + 11 * (n % 5)) for n in range(count)]
    return [Image.fromarray(chance.integers(0, 256, (*size, 3), np.uint8)) for size in sizes]


def alone_and_together(encoder: Any, items: list[Any]) -> None:
    together = encoder.encode(items)
    assert np.array_equal(encoder.encode(items[::-1])[::-1], together)
    assert np.array_equal(np.concatenate([encoder.encode([item]) for item in items]), together)


@pytest.mark.parametrize("make", [tiny_siglip, tiny_siglip2])
def test_a_vector_does_not_depend_on_what_was_encoded_beside_it(make, tmp_path: Path) -> None:
    model = str(make(tmp_path / "model"))
    alone_and_together(image_encoder(model), pictures(40))
    alone_and_together(text_encoder(model), TEXTS)


def test_a_profiles_vector_does_not_depend_on_what_was_encoded_beside_it(tmp_path: Path) -> None:
    alone_and_together(text_encoder(str(tiny_embedding_model(tmp_path / "model"))), TEXTS)


def test_a_score_is_the_same_in_any_order_alone_or_for_many_users_and_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAMELA_CACHE", str(tmp_path / "cache"))
    checkpoint = train_on_tiny(tmp_path / "predictor")
    both = ScoreRequest(audiences=(("u01",), ()), base_prompt="a cat")
    requests = [ScoreRequest(audiences=(users,), base_prompt="a cat") for users in both.audiences]
    renderings = []
    for picture in pictures(12):
        encoded = io.BytesIO()
        picture.save(encoded, "PNG")
        renderings.append(Rendering(png=encoded.getvalue()))

    def scorer() -> PamelaScorer:
        made = PamelaScorer(str(checkpoint))
        made.setup()
        return made

    first, again = scorer(), scorer()
    scores = [first.score_each(both, rendering) for rendering in renderings]
    assert len({tuple(pair) for pair in scores}) > 4
    assert [[again.score(r, rendering) for r in requests] for rendering in reversed(renderings)] == scores[::-1]


def test_the_seed_decides_a_proposal(tmp_path: Path) -> None:
    folder = tiny_chat_llama(tmp_path / "llama", subject="a cat")

    def replies(seeds: range) -> list[str]:
        proposer = TransformersProposer(str(folder), max_new_tokens=60)
        proposer.setup()
        request = {"base_prompt": "a cat", "best_prompt": "a cat", "best_score": 0.5, "count": 3}
        return [proposer.answers(ProposalRequest(**request, seed=seed))[0].text for seed in seeds]

    assert replies(range(6)) == replies(range(5, -1, -1))[::-1]
    assert len(set(replies(range(6)))) > 3
