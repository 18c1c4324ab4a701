"""Visits: who a browser belongs to, by its cookies, and what links let it do."""

import hashlib
import os
import secrets

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pipelines.live.participant import Participant
from pipelines.live.prompt_run import SteeringResources
from pipelines.live.studio import Studio

SIGNED_OUT = "You are not signed in on this device. Open the link that steer-live printed, or your own link."
_YEAR_S = 365 * 24 * 3600
_DAY_S = 24 * 3600


class WarmingUpError(Exception):
    """What was asked for needs something that is still starting; the page in its place shows itself again."""

    def __init__(self, version: int) -> None:
        super().__init__("still starting")
        self.version = version
        """Of the changes that tell when to look again."""


class Visits:
    """
    Parameters
    ----------
    start_token
        Whoever has it may begin as somebody new; it opens nobody's pages.
    """

    def __init__(self, studio: Studio, start_token: str) -> None:
        self._studio = studio
        self._start_token = start_token
        # Named after the folder of people, because cookies don't know ports: two servers keep out of each other's way.
        folder = hashlib.sha256(os.fsencode(studio.people.path.resolve())).hexdigest()[:12]
        self.cookie, self.start_cookie = f"person-{folder}", f"start-{folder}"

    def enter(self, request: Request, token: str) -> Response:
        """What a link leads to.

        Raises
        ------
        HTTPException
            Nobody has this link.
        """
        response = RedirectResponse("/", 303)
        if secrets.compare_digest(token.encode(), self._start_token.encode()):
            self.keep(request, response, self.start_cookie, token, _DAY_S)
        elif self._studio.people.of_key(token) is not None:
            self.keep(request, response, self.cookie, token)
        else:
            raise HTTPException(403, "This link is not known; copy the whole of it, or open a newer one.")
        return response

    def may_begin(self, request: Request) -> bool:
        """Whether this browser came by the start link."""
        given = request.cookies.get(self.start_cookie, "")
        return secrets.compare_digest(given.encode(), self._start_token.encode())

    async def participant(self, request: Request) -> Participant | None:
        """Whose browser this is."""
        key = request.cookies.get(self.cookie)
        return await self._studio.person_of(key) if key else None

    def require_any(self, request: Request) -> None:
        """Refuse a browser that came by no link.

        Raises
        ------
        HTTPException
        """
        key = request.cookies.get(self.cookie, "")
        if not self.may_begin(request) and self._studio.people.of_key(key) is None:
            raise HTTPException(403, SIGNED_OUT)

    def keep(self, request: Request, response: Response, name: str, value: str, seconds: int = _YEAR_S) -> None:
        """Put a secret where only this browser and no script finds it."""
        secure = request.url.scheme == "https"
        response.set_cookie(name, value, max_age=seconds, httponly=True, samesite="lax", secure=secure)


async def required(request: Request) -> Participant:
    """Whose browser this is.

    Raises
    ------
    HTTPException
        Nobody's.
    WarmingUpError
        Questions cannot be asked yet.
    """
    live = request.app.state.live
    if not live.studio.ready:
        live.visits.require_any(request)
        raise WarmingUpError(live.studio.changes.version)
    participant = await live.visits.participant(request)
    if participant is None:
        raise HTTPException(403, SIGNED_OUT)
    return participant


def resources_of(request: Request, participant: Participant) -> SteeringResources:
    """What prompts are steered with.

    Raises
    ------
    WarmingUpError
        The models are still starting.
    """
    resources: SteeringResources | None = request.app.state.live.studio.resources
    if resources is None:
        raise WarmingUpError(participant.changes.version)
    return resources
