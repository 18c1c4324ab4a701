"""From what a service sends as an image to a rendering: base64, data URLs, half images, and images of another size.

Invariant: what is cut off depends on the moment, and is asked for again; what is no image at all depends on the prompt.
"""

import base64
import binascii
import io

from PIL import Image, ImageOps, UnidentifiedImageError

from actors.messages import Rendering
from actors.service_client import ServiceError, UnusableAnswerError
from predictor.data.image_files import as_shown

_URL_SAFE = str.maketrans("-_", "+/")
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF", b"GIF8")


def image_of(text: str) -> bytes | str:
    """The bytes of an image that is written as base64 or as a data URL; any other URL as it is.

    Raises
    ------
    ServiceError
        It is neither, or is cut off.
    """
    if text.startswith(("http://", "https://")):
        return text
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        if not head.endswith(";base64"):
            raise UnusableAnswerError(f"the service answered with a data URL that is no base64: {head[:60]}")
    # Some wrap it every 76 characters, some leave out the padding, and some write the alphabet for URLs.
    joined = "".join(text.split()).rstrip("=").translate(_URL_SAFE)
    try:
        return base64.b64decode(joined + "=" * (-len(joined) % 4), validate=True)
    except binascii.Error as error:
        raise ServiceError("the service's image is not base64, or cut off; ask again") from error


def fitted(encoded: bytes, *, size: tuple[int, int]) -> Rendering:
    """The service's image as PNG of the size that is wanted.

    One of another size is cropped at its middle to the wanted aspect ratio, and then scaled; the rendering says so.

    Raises
    ------
    UnusableAnswerError
        It is no image.
    ServiceError
        It is half of one.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            shown = as_shown(image)
            made = ImageOps.fit(shown, size, Image.Resampling.LANCZOS)
    except (OSError, SyntaxError) as error:  # so Pillow says that a file is cut off
        if isinstance(error, UnidentifiedImageError) and not _begins_as_image(encoded):
            raise UnusableAnswerError("the service answered with what is no image") from error
        raise ServiceError("the service's image is cut off; ask again") from error
    png = io.BytesIO()
    made.save(png, "PNG", compress_level=1)
    return Rendering(png=png.getvalue(), warning=_other_size(shown.size, size))


def _other_size(there: tuple[int, int], wanted: tuple[int, int]) -> str | None:
    if there == wanted:
        return None
    cropped = "" if there[0] * wanted[1] == there[1] * wanted[0] else "cropped at the middle and "
    return (
        f"the service draws {there[0]} x {there[1]} pixels where {wanted[0]} x {wanted[1]} are wanted; "
        f"its images are {cropped}scaled: set renderer.width and renderer.height to a size that it has"
    )


def _begins_as_image(encoded: bytes) -> bool:
    """Whether these are the first bytes of an image, perhaps too few for Pillow to know it by."""
    return any(encoded.startswith(sign) or (encoded and sign.startswith(encoded)) for sign in _SIGNATURES)
