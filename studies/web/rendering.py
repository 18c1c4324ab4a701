"""Pages in the language of whoever reads them."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse
from starlette.types import Scope

from studies.study import StudySettings
from studies.web.languages import ENGLISH, Language, preferred, shipped

_PAGES = Path(__file__).parent / "pages"


class Rendering:
    """The templates of a study, in every language.

    Parameters
    ----------
    language
        For everybody; None: what each browser asks for.
    """

    def __init__(self, settings: StudySettings, language: Language | None = None) -> None:
        self._settings = settings
        self._language = language
        self._environments: dict[str, Environment] = {}

    def page(self, scope: Scope, name: str, context: Mapping[str, Any], status: int = 200) -> HTMLResponse:
        """A page for whoever asks."""
        return HTMLResponse(self.render(name, context, self._of(scope)), status)

    def refusal(self, scope: Scope, status: int, words: str, headers: Mapping[str, str] | None = None) -> HTMLResponse:
        """A page that says in plain words what did not work, and what to do."""
        page = self.render("refusal.html", {"words": words}, self._of(scope))
        return HTMLResponse(page, status, dict(headers or {}))

    def render(self, name: str, context: Mapping[str, Any], language: Language | None = None) -> str:
        """A page in a language; the researcher's are in English."""
        language = language or shipped()[ENGLISH]
        if language.code not in self._environments:
            self._environments[language.code] = _environment(self._settings, language)
        return self._environments[language.code].get_template(name).render(context)

    def _of(self, scope: Scope) -> Language:
        return self._language or preferred(Headers(scope=scope).get("accept-language", ""))


def _environment(settings: StudySettings, language: Language) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_PAGES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_translations(language.translations, newstyle=True)  # type: ignore[attr-defined]
    known: dict[str, Any] = environment.globals
    known |= {"study": settings, "language": language, "translate": partial(_translate, language)}
    return environment


def _translate(language: Language, words: str) -> str:
    """Words that are no markup, such as the researcher's own: what no catalogue knows stays as it is."""
    return language.translations.gettext(words) if words else ""
