"""The pages, from their templates."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse
from starlette.types import Scope

ANSWERED_ELSEWHERE = (
    "This was answered already, in another tab or on another device, and that answer counts. Here is what comes next."
)


class Pages:
    """Templates of this folder; all that people wrote is escaped."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )

    def page(self, name: str, context: Mapping[str, Any], status: int = 200) -> HTMLResponse:
        return HTMLResponse(self._environment.get_template(name).render(context), status)

    def refusal(self, scope: Scope, status: int, words: str, headers: Mapping[str, str] | None = None) -> HTMLResponse:
        """What did not work, and what to do."""
        page = self._environment.get_template("refusal.html").render({"words": words})
        return HTMLResponse(page, status, dict(headers or {}))
