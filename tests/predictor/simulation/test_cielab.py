import numpy as np
from skimage import data
from skimage.color import rgb2lab

from predictor.simulation.cielab import cielab


def test_colours_are_those_of_scikit_image_to_the_last_bit() -> None:
    every_step = np.repeat(np.arange(256, dtype=np.uint8), 3 * 256).reshape(256, 256, 3)
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)

    for pixels in (every_step, noise, data.astronaut()):
        expected = rgb2lab(np.asarray(pixels, np.float32) / 255)
        assert cielab(pixels).tobytes() == expected.tobytes()
