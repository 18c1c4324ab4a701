"""Decodes renderings for scorers."""

import io

from PIL import Image

from actors.messages import Rendering


def rgb(rendering: Rendering) -> Image.Image:
    """The rendering as an RGB image."""
    with Image.open(io.BytesIO(rendering.png)) as image:
        return image.convert("RGB")
