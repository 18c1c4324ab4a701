"""The web application: which address leads where, and who gets in.

/join/TOKEN           the start link, by which anybody may begin, or a person's own link
/ /begin              whatever comes next; somebody new gives a name
/know …               getting to know
/studio /prompts …    a prompt, and its rounds
/proof …              blind pairs, and what they say
/you …                what is believed of them, their link, and deleting it all
/events               a stream that says when a page has something new to show

Every page but the start link needs the cookie of a person. What a page shows and does is theirs alone: no address
names a person.
"""

import logging
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from pipelines.live.participant import Participant, PersonDeletedError
from pipelines.live.studio import Studio
from pipelines.live.web import getting_to_know, proving, steering, yourself
from pipelines.live.web.pages import Pages
from pipelines.live.web.visits import SIGNED_OUT, Visits, WarmingUpError
from pipelines.records.journal import JournalError
from studies.web.middleware import MOST_BODY, CSRFMiddleware, RateLimit, SecurityHeaders

logger = logging.getLogger(__name__)

_STATIC = Path(__file__).parent / "static"
_QUIET_S = 15.0
"""Without news, a stream says that it is still there, so that nothing between closes it."""

_REFUSALS = {
    404: "There is no such page.",
    405: "This page cannot be asked for in this way.",
    413: "What was sent is too large.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What the handlers need to know."""

    studio: Studio
    pages: Pages
    visits: Visits


def create_app(studio: Studio, *, start_token: str) -> ASGIApp:
    """The application; the studio's pools come up with it, and go down with it."""
    pages = Pages()
    visits = Visits(studio, start_token)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        studio.warm_up()
        yield
        await studio.close()

    app = Starlette(
        routes=[
            Route("/", home),
            Route("/join/{token}", join),
            Route("/begin", begin, methods=["POST"]),
            Route("/events", events),
            *getting_to_know.ROUTES,
            *steering.ROUTES,
            *proving.ROUTES,
            *yourself.ROUTES,
            Mount("/static", StaticFiles(directory=_STATIC)),
        ],
        middleware=[
            Middleware(
                RateLimit, refuse=pages.refusal, cookie=visits.cookie, researcher=f"{visits.start_cookie}={start_token}"
            ),
            Middleware(CSRFMiddleware, refuse=pages.refusal),
        ],
        exception_handlers={
            HTTPException: _refusal,
            WarmingUpError: _warming_up,
            ClientDisconnect: _gone,
            PersonDeletedError: _deleted,
            JournalError: _not_read,
            OSError: _not_saved,
            Exception: _refusal,
        },
        max_body_size=MOST_BODY,
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.live = Live(studio=studio, pages=pages, visits=visits)
    return SecurityHeaders(app)


async def home(request: Request) -> Response:
    """Whatever comes next for whoever asks."""
    live: Live = request.app.state.live
    if not live.studio.ready:
        live.visits.require_any(request)
        raise WarmingUpError(live.studio.changes.version)
    participant = await live.visits.participant(request)
    if participant is None:
        if not live.visits.may_begin(request):
            raise HTTPException(403, SIGNED_OUT)
        return live.pages.page("welcome.html", {"said": "", "problem": ""})
    return RedirectResponse("/studio" if participant.knows_enough else "/know", 303)


async def join(request: Request) -> Response:
    """A link's secret becomes a cookie, and leaves the address bar."""
    live: Live = request.app.state.live
    return live.visits.enter(request, request.path_params["token"])


async def begin(request: Request) -> Response:
    """Somebody new gives a name."""
    live: Live = request.app.state.live
    if not live.visits.may_begin(request):
        raise HTTPException(403, SIGNED_OUT)
    if not live.studio.ready:
        return RedirectResponse("/", 303)
    name = str((await request.form()).get("name", ""))
    try:
        participant: Participant = await live.studio.welcome(name)
    except ValueError as error:
        return live.pages.page("welcome.html", {"said": name, "problem": str(error)}, 400)
    response = RedirectResponse("/know", 303)
    live.visits.keep(request, response, live.visits.cookie, participant.person.folder.key)
    return response


async def events(request: Request) -> Response:
    """Server-sent events: a number for each change of what the pages of this person show."""
    live: Live = request.app.state.live
    participant = await live.visits.participant(request) if live.studio.ready else None
    if participant is None:
        live.visits.require_any(request)
    changes = live.studio.changes if participant is None else participant.changes
    text = request.headers.get("last-event-id") or request.query_params.get("since", "")
    since = int(text) if re.fullmatch("[0-9]{1,15}", text) else changes.version

    async def stream() -> AsyncIterator[str]:
        yield "retry: 1000\n\n"
        async for version in changes.since(since, _QUIET_S):
            yield ": still here\n\n" if version is None else f"id: {version}\ndata: {version}\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")


def new_token() -> str:
    return secrets.token_urlsafe(18)


async def _gone(request: Request, error: Exception) -> Response:
    """Whoever asked is gone; nobody reads this."""
    return Response(status_code=400)


async def _deleted(request: Request, error: Exception) -> Response:
    """Whoever asked was deleted meanwhile, by another tab or device of theirs."""
    return request.app.state.live.pages.refusal(request.scope, 403, SIGNED_OUT)


async def _not_read(request: Request, error: Exception) -> Response:
    """The journal of the prompt was damaged, or is of an earlier version."""
    logger.error("%s %s: %s", request.method, request.url.path, error)
    words = "What was recorded of this prompt does not read any more. Its pictures stay where they are; begin it anew."
    return request.app.state.live.pages.refusal(request.scope, 409, words)


async def _not_saved(request: Request, error: Exception) -> Response:
    """The disk is full, or cannot be written; a browser tries again."""
    assert isinstance(error, OSError)
    logger.error("%s %s: %s", request.method, request.url.path, error)
    words = f"Nothing was saved, because the disk of steer-live does not take it: {error.strerror or error}."
    return request.app.state.live.pages.refusal(request.scope, 503, words)


async def _warming_up(request: Request, error: Exception) -> Response:
    """The page in the place of one that cannot be there yet."""
    assert isinstance(error, WarmingUpError)
    live: Live = request.app.state.live
    page = {"studio": live.studio, "version": error.version}
    return live.pages.page("warming.html", page, 503)


async def _refusal(request: Request, error: Exception) -> Response:
    """Every refusal as a page in plain words."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) and status in (400, 401, 403, 409, 503) else ""
    words = detail or _REFUSALS.get(status, "Something went wrong; the log of steer-live says what.")
    return request.app.state.live.pages.refusal(request.scope, status, words)
