"""What forms send and how images go out: the same for participants of a study and people at steer-live."""

import re

from starlette.datastructures import FormData
from starlette.responses import Response

_LAYOUTS = ("side", "stacked")
_WHOLE_NUMBER = re.compile(r"[0-9]{1,9}")


def whole_number(form: FormData, name: str) -> int | None:
    """A whole number of a form, where it is one."""
    text = str(form.get(name, ""))
    return int(text) if _WHOLE_NUMBER.fullmatch(text) else None


def pair_layout(form: FormData) -> str | None:
    """How the two images of a pair stood on the page, where the page knew."""
    layout = str(form.get("layout", ""))
    return layout if layout in _LAYOUTS else None


def immutable_image(content: bytes, media_type: str = "image/png") -> Response:
    """An image that never changes under its address; kept by this browser alone."""
    return Response(content, media_type=media_type, headers={"Cache-Control": "private, max-age=86400, immutable"})
