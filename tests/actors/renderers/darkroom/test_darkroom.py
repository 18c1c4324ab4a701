import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from actors.messages import Rendering, RenderRequest
from actors.renderers.darkroom.darkroom import Darkroom, photographed
from predictor.encoders.minilm import MiniLM


@pytest.fixture(scope="module")
def darkroom() -> Darkroom:
    darkroom = Darkroom(size=96)
    darkroom.setup()
    return darkroom


def draw(darkroom: Darkroom, prompt: str, seed: int = 1) -> Rendering:
    return darkroom.render(RenderRequest(prompt=prompt, seed=seed))


def test_a_render_is_a_png_of_the_asked_size(darkroom: Darkroom) -> None:
    image = Image.open(io.BytesIO(draw(darkroom, "a kitten, golden hour").png))
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (96, 96))


def test_the_same_request_gives_the_same_bytes_in_any_order_and_from_a_fresh_darkroom(darkroom: Darkroom) -> None:
    prompts = ["a kitten, film grain", "a motorbike, very moody", "a bowl of soup"]
    fresh = Darkroom(size=96)
    assert [draw(darkroom, prompt) for prompt in prompts] == [draw(fresh, prompt) for prompt in reversed(prompts)][::-1]


def test_words_and_seed_change_the_pixels(darkroom: Darkroom) -> None:
    prints = [
        draw(darkroom, prompt, seed).png
        for prompt, seed in [("a kitten", 1), ("a kitten", 2), ("a kitten, foggy", 1), ("a kitten, very foggy", 1)]
    ]
    assert len(set(prints)) == 4


def test_photographic_words_do_not_change_what_is_photographed(darkroom: Darkroom) -> None:
    assert draw(darkroom, "black and white macro photo of a kitten, slightly foggy, no grain").warning is None


@pytest.mark.parametrize("prompt", ["espresso on a wooden table", "a motorbike", "a kitten", "a temple by a lake"])
def test_a_subject_that_was_photographed_gives_no_warning(darkroom: Darkroom, prompt: str) -> None:
    assert draw(darkroom, prompt).warning is None


@pytest.mark.parametrize("subject", ["a bowl of soup", "a dog", "a mountain lake", "children playing football"])
def test_a_subject_that_no_photograph_shows_is_warned_of_by_name(darkroom: Darkroom, subject: str) -> None:
    warning = draw(darkroom, f"{subject}, very vibrant").warning
    assert warning is not None
    assert warning.startswith(f'no photograph fits "{subject}"; developed "')


def test_a_prompt_of_nothing_but_photographic_words_is_still_drawn(darkroom: Darkroom) -> None:
    assert draw(darkroom, "golden hour, foggy").png


def test_the_identity_is_json_needs_no_torch_and_tells_sizes_and_libraries_apart(tmp_path: Path) -> None:
    script = (
        "import json, sys; from actors.renderers.darkroom.darkroom import Darkroom; "
        "print(json.dumps([dict(Darkroom().identity()), 'torch' in sys.modules]))"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    identity, torch_loaded = json.loads(printed)
    assert not torch_loaded
    assert identity == Darkroom().identity()
    Image.new("RGB", (64, 64)).save(tmp_path / "boat.png")
    assert len({json.dumps(dict(d.identity())) for d in (Darkroom(), Darkroom(size=64), Darkroom(str(tmp_path)))}) == 3


def test_the_embedding_of_the_subject_may_come_from_elsewhere(darkroom: Darkroom) -> None:
    prompts = ["a kitten, film grain", "a bowl of soup", "golden hour, foggy"]
    embeddings = MiniLM().encode([photographed(prompt) for prompt in prompts])
    given, (own, own_preview) = Darkroom(size=96), (darkroom.render, darkroom.preview)
    for prompt, embedding in zip(prompts, embeddings, strict=True):
        request = RenderRequest(prompt=prompt, seed=1)
        preview = given.preview(request, embedding)
        assert preview == own_preview(request)
        assert given.finish(request, preview, embedding) == given.render(request, embedding) == own(request)


def test_a_process_that_draws_needs_neither_torch_nor_transformers() -> None:
    script = (
        "import sys; from actors.messages import RenderRequest\n"
        "from actors.renderers.darkroom.darkroom import Darkroom\n"
        "darkroom = Darkroom(size=96); darkroom.setup()\n"
        "darkroom.render(RenderRequest(prompt='a cat, foggy', seed=1))\n"
        "print({'torch', 'transformers', 'sklearn', 'matplotlib', 'pandas', 'pyarrow'} & set(sys.modules))"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "set()"


def test_ones_own_photographs_are_developed(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), (250, 0, 0)).save(tmp_path / "red_boat-2.png")
    darkroom = Darkroom(str(tmp_path), size=32)
    rendering = draw(darkroom, "a red boat")
    assert rendering.warning is None
    assert Image.open(io.BytesIO(rendering.png)).getpixel((16, 16)) == (250, 0, 0)


@pytest.mark.parametrize("size", [0, 31, 5000])
def test_a_size_out_of_range_is_refused_at_once(size: int) -> None:
    with pytest.raises(ValueError, match=f"between 32 and 2048 pixels, got size={size}"):
        Darkroom(size=size)
