"""The picture that a scorer looks at."""

import io

from PIL import Image

from actors.messages import Rendering


def rgb(rendering: Rendering) -> Image.Image:
    """The rendering as it is kept on disk, decoded."""
    with Image.open(io.BytesIO(rendering.png)) as image:
        return image.convert("RGB")
