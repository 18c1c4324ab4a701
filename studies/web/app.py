"""The web application of a study: which address leads where.

/                     whatever comes next for this participant
/join/TOKEN           an invitation; /?PROLIFIC_PID=… where `serve --prolific` allows it
/consent /about /continue /answer /undo /withdraw     what a participant sends
/assets/NAME.png      an image; NAME is random; /assets/NAME-640.webp is the same for a small screen
/researcher …         behind the researcher's token
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from studies.session import StudySession
from studies.web import participant, researcher
from studies.web.languages import Language
from studies.web.middleware import MOST_BODY, CSRFMiddleware, RateLimit, SecurityHeaders
from studies.web.rendering import Rendering
from studies.wording import message

_HERE = Path(__file__).parent
_FAILED = message("Something went wrong.")
_REFUSALS = {
    403: message("You cannot see this page."),
    404: message("There is no such page."),
    405: message("This page cannot be asked for in this way."),
    413: message("What was sent is too large."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedStudy:
    """What the handlers need to know of the study that is served."""

    study_session: StudySession
    rendering: Rendering
    overview: researcher.Overview
    researcher_token: str
    prolific: bool
    report_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One report is made at a time."""

    @property
    def cookie(self) -> str:
        """Of participants' sessions; named after the study, because cookies don't know ports."""
        return f"study-{self.study_session.study.fingerprint}"

    @property
    def arrival_cookie(self) -> str:
        """Who somebody is to a recruiting platform, until they agree to take part."""
        return f"arrival-{self.study_session.study.fingerprint}"

    @property
    def researcher_cookie(self) -> str:
        return f"researcher-{self.study_session.study.fingerprint}"


def create_app(
    study_session: StudySession, *, researcher_token: str, prolific: bool = False, language: Language | None = None
) -> ASGIApp:
    """The application that serves one study; closes the study's store when it is shut down.

    Parameters
    ----------
    prolific
        Whether anybody who comes with a PROLIFIC_PID may take part without an invitation.
    language
        In which everybody reads the study; None: in the one that their browser asks for.
    """
    rendering = Rendering(study_session.study.settings, language)
    served = ServedStudy(
        study_session=study_session,
        rendering=rendering,
        overview=researcher.Overview(
            study_session.study, partial(researcher.render_overview, rendering, study_session)
        ),
        researcher_token=researcher_token,
        prolific=prolific,
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await run_in_threadpool(served.overview.open)
        yield
        served.overview.close()
        study_session.store.close()

    app = Starlette(
        routes=[
            Route("/", participant.home),
            Route("/join/{token}", participant.join),
            Route("/consent", participant.consent, methods=["POST"]),
            Route("/about", participant.about, methods=["POST"]),
            Route("/continue", participant.go_on, methods=["POST"]),
            Route("/answer", participant.answer, methods=["POST"]),
            Route("/undo", participant.undo, methods=["POST"]),
            Route("/withdraw", participant.withdraw, methods=["GET", "POST"]),
            Route("/assets/{name}-{width:int}.webp", participant.asset),
            Route("/assets/{name}.png", participant.asset),
            Route("/researcher", researcher.overview),
            Route("/researcher/login", researcher.login, methods=["POST"]),
            Route("/researcher/close", researcher.close, methods=["POST"]),
            Route("/researcher/reopen", researcher.reopen, methods=["POST"]),
            Route("/researcher/report", researcher.report),
            Route("/researcher/images", researcher.images, methods=["GET", "POST"]),
            Route("/researcher/{table}.csv", researcher.export),
            Mount("/static", StaticFiles(directory=_HERE / "static")),
        ],
        middleware=[
            Middleware(
                RateLimit,
                refuse=rendering.refusal,
                cookie=served.cookie,
                researcher=researcher.signed_in_cookie(served),
            ),
            Middleware(CSRFMiddleware, refuse=rendering.refusal),
        ],
        exception_handlers={HTTPException: _refusal, ClientDisconnect: _gone, Exception: _refusal},
        max_body_size=MOST_BODY,
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.served = served
    return SecurityHeaders(app)  # outside, so that refusals and failures carry them too


async def _gone(request: Request, error: Exception) -> Response:
    """Whoever asked is gone, or took so long that the server has hung up; nobody reads this."""
    return Response(status_code=400)


async def _refusal(request: Request, error: Exception) -> Response:
    """Every refusal as a page in plain words."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) and status in (400, 401, 403, 409) else ""
    words = detail or _REFUSALS.get(status, _FAILED)
    return request.app.state.served.rendering.refusal(request.scope, status, words)
