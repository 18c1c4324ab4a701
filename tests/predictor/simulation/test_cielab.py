import numpy as np
from skimage import data
from skimage.color import lab2rgb, rgb2lab

from predictor.simulation.cielab import _steps, cielab, srgb


def test_colours_are_those_of_scikit_image_to_the_last_bit() -> None:
    every_step = np.repeat(np.arange(256, dtype=np.uint8), 3 * 256).reshape(256, 256, 3)
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)

    for pixels in (every_step, noise, data.astronaut()):
        expected = rgb2lab(np.asarray(pixels, np.float32) / 255)
        assert cielab(pixels).tobytes() == expected.tobytes()


def test_pixels_are_those_of_scikit_image_to_the_last_bit() -> None:
    chance = np.random.default_rng(0)
    lightness = chance.uniform(0, 100, (256, 256)).astype(np.float32)
    a, b = chance.uniform(-110, 110, (2, 256, 256)).astype(np.float32)
    b = np.minimum(b, 1.72 * lightness + 27)  # more has no XYZ, and scikit-image warns of it
    photograph = np.moveaxis(rgb2lab(np.asarray(data.astronaut(), np.float32) / 255), -1, 0)

    for planes in ((lightness, a, b), (lightness, 0 * a, 0 * b), tuple(photograph)):
        expected = (255 * lab2rgb(np.stack(planes, -1)) + 0.5).astype(np.uint8)
        assert np.array_equal(srgb(*planes), expected)


def test_light_on_the_border_of_two_steps_is_rounded_as_by_the_power_itself() -> None:
    step = np.arange(255) + 0.5
    encoded = step / 255
    border = np.where(encoded > 0.04045, ((encoded + 0.055) / 1.055) ** 2.4, encoded / 12.92).astype(np.float32)
    bits = border.view(np.int32)[:, None] + np.arange(-2000, 2000, dtype=np.int32)  # the next floats on both sides
    light = np.ascontiguousarray(bits).view(np.float32)
    curved = np.where(light > 0.0031308, 1.055 * np.power(light, np.float32(1 / 2.4)) - 0.055, light * 12.92)
    expected = (255 * np.clip(curved, 0, 1) + 0.5).astype(np.uint8)
    assert np.array_equal(_steps(light), expected)
    assert expected.min() == 0 and expected.max() == 255
