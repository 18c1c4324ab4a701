"""What comes in by forms, and pictures that go out."""

import re

from starlette.datastructures import FormData
from starlette.responses import Response

ANSWERED_ELSEWHERE = (
    "This was answered already, in another tab or on another device, and that answer counts. Here is what comes next."
)


def whole(form: FormData, name: str) -> int | None:
    """A whole number of a form, where it is one."""
    text = str(form.get(name, ""))
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None


def immutable(png: bytes) -> Response:
    """A picture that never changes under its address; kept by this browser alone."""
    return Response(png, media_type="image/png", headers={"Cache-Control": "private, max-age=86400, immutable"})
