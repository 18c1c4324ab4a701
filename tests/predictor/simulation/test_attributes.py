from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter
from skimage import data

from predictor.simulation.attributes import ATTRIBUTES, measure

SPREAD: dict[str, float] = {
    "luminance": 13,
    "contrast": 6,
    "saturation": 13,
    "warmth": 12,
    "sharpness": 0.75,
    "vignetting": 8.5,
    "subject_scale": 0.007,
}
"""How much each differs between prints of one photograph: a shift is told from noise by it."""


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    return Image.fromarray(data.astronaut())


def tinted(image: Image.Image, warmth: float) -> Image.Image:
    return Image.fromarray((np.asarray(image) * (1 + warmth, 1, 1 - warmth)).clip(0, 255).astype(np.uint8))


def vignetted(image: Image.Image, strength: float) -> Image.Image:
    across, down = (np.linspace(-1, 1, length) for length in image.size)
    falloff = 1 - strength * (across[None, :] ** 2 + down[:, None] ** 2) / 2
    return Image.fromarray((np.asarray(image) * falloff[..., None]).clip(0, 255).astype(np.uint8))


def zoomed(image: Image.Image, factor: float) -> Image.Image:
    width, height = image.size
    left, top = (width - width / factor) / 2, (height - height / factor) / 2
    box = (left, top, width - left, height - top)
    return image.resize(image.size, Image.Resampling.BICUBIC, box=box)


def blurred(image: Image.Image, radius: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(radius))


@pytest.mark.parametrize(
    ("attribute", "change", "amounts"),
    [
        ("luminance", lambda image, amount: ImageEnhance.Brightness(image).enhance(amount), (0.5, 0.8, 1.0, 1.3)),
        ("contrast", lambda image, amount: ImageEnhance.Contrast(image).enhance(amount), (0.3, 0.6, 1.0, 1.4)),
        ("saturation", lambda image, amount: ImageEnhance.Color(image).enhance(amount), (0.0, 0.5, 1.0, 1.6)),
        ("warmth", tinted, (-0.3, -0.1, 0.0, 0.2)),
        ("sharpness", lambda image, amount: blurred(image, 4 - amount), (0.0, 1.0, 2.5, 4.0)),
        ("vignetting", vignetted, (0.0, 0.3, 0.6, 0.9)),
        ("subject_scale", zoomed, (1.0, 1.5, 2.0, 3.0)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_attribute_rises_step_by_step_with_what_it_is_named_after(
    photograph: Image.Image,
    attribute: str,
    change: Callable[[Image.Image, float], Image.Image],
    amounts: tuple[float, ...],
) -> None:
    steps = [measure(change(photograph, amount))[ATTRIBUTES.index(attribute)] for amount in amounts]
    assert all(np.diff(steps) > 0), steps


@pytest.mark.parametrize("size", [(256, 256), (384, 384), (512, 256), (1024, 1024)], ids=str)
def test_the_same_picture_measures_the_same_at_any_size(photograph: Image.Image, size: tuple[int, int]) -> None:
    resized = measure(photograph.resize(size, Image.Resampling.BICUBIC))
    for attribute, change in zip(ATTRIBUTES, resized - measure(photograph), strict=True):
        assert abs(change) < SPREAD[attribute] / 5, attribute


def test_a_grey_surface_has_no_colour_no_contrast_and_no_vignette() -> None:
    luminance, contrast, saturation, warmth, sharpness, vignetting, scale = measure(Image.new("RGB", (64, 64), "grey"))
    assert luminance == pytest.approx(53.6, abs=0.1)
    assert (contrast, saturation, warmth, vignetting) == pytest.approx((0, 0, 0, 0), abs=0.05)
    assert sharpness == pytest.approx(-2, abs=0.01)
    assert np.isfinite(scale)


def test_bigger_shapes_mean_a_larger_subject_scale() -> None:
    x = np.linspace(0, 2 * np.pi, 256)
    waves = [np.sin(cycles * x)[:, None] * np.sin(cycles * x) for cycles in (4, 12, 36)]
    scales = [measure(Image.fromarray((120 + 100 * wave).astype(np.uint8)))[-1] for wave in waves]
    assert scales[0] > 1.3 * scales[1] > 1.3**2 * scales[2], scales


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_any_mode_is_measured_as_the_rgb_image_that_it_shows(photograph: Image.Image, mode: str) -> None:
    converted = photograph.convert(mode)
    assert np.array_equal(measure(converted), measure(converted.convert("RGB")))
