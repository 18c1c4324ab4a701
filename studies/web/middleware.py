"""What stands before every request: headers of every answer, same-origin posts, a limit on how fast one may ask."""

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studies.wording import message

Refuse = Callable[[Scope, int, str, Mapping[str, str] | None], ASGIApp]
"""Makes the page by which a request is refused, with a status, a sentence and further headers."""

MOST_BODY = 16 * 1024
"""Bytes of a request's body; the largest form (a researcher's review of 100 images) has 4 KiB."""

_FORM = "application/x-www-form-urlencoded"

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # With "no-referrer", a browser over plain HTTP posts `Origin: null`, and nobody could consent.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "X-Robots-Tag": "noindex, nofollow",
    "Cache-Control": "no-store",
}


_OTHER_SITE = message("This request came from another site. Please open your link again, and go on from there.")
_NO_FORM = message("Only plain forms are understood here.")
_TOO_FAST = message("Too many requests; please wait a moment.")


class SecurityHeaders:
    """Puts the same headers on every answer, but for one that has its own; pages are never cached, so that nobody finds
    another's by going back."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, with_headers)


class CSRFMiddleware:
    """Refuses posts that another site's page makes in a participant's name, and those that are no plain form."""

    def __init__(self, app: ASGIApp, *, refuse: Refuse) -> None:
        self.app, self._refuse = app, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            headers = Headers(scope=scope)
            kind = headers.get("content-type", _FORM).replace(" ", "").lower()
            if not _same_origin(headers):
                await self._refuse(scope, 403, _OTHER_SITE, None)(scope, receive, send)
                return
            if kind not in (_FORM, f"{_FORM};charset=utf-8"):
                await self._refuse(scope, 415, _NO_FORM, None)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _same_origin(headers: Headers) -> bool:
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or origin.split("://", 1)[-1] == headers.get("host", "")


class TokenBucket:
    """So many requests at once, then so many a second, for each of many names; the oldest names are forgotten."""

    def __init__(
        self, *, per_second: float, burst: float, most: int = 20_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second, self._burst, self._most, self._clock = per_second, burst, most, clock
        self._filled: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> float:
        """Take a token; 0, or the seconds until there is one again."""
        now = self._clock()
        tokens, at = self._filled.pop(name, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._per_second)
        wait_s = 0.0 if tokens >= 1 else (1 - tokens) / self._per_second
        self._filled[name] = (tokens - 1 if tokens >= 1 else tokens, now)
        while len(self._filled) > self._most:
            self._filled.popitem(last=False)
        return wait_s


class RateLimit:
    """Limits each address, each session, and – far below – what could be used to guess a secret.

    Every request is charged to its address, whatever cookies it sends, with room for a lab of a hundred people behind
    one address. Whoever asks faster is answered 429 with the seconds to wait.

    Parameters
    ----------
    cookie
        Name of the cookie of participants' sessions.
    researcher
        The researcher's cookie, as `name=value`: another value under that name is a guess.
    """

    def __init__(self, app: ASGIApp, *, refuse: Refuse, cookie: str, researcher: str) -> None:
        self.app, self._refuse = app, refuse
        self._cookie = f"{cookie}="
        self._researcher = researcher
        self._addresses = TokenBucket(per_second=200, burst=2000)
        self._sessions = TokenBucket(per_second=40, burst=200)
        self._guesses = TokenBucket(per_second=5, burst=150)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            wait_s = self._wait_s(scope)
            if wait_s > 0:
                refusal = self._refuse(scope, 429, _TOO_FAST, {"Retry-After": str(math.ceil(wait_s))})
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _wait_s(self, scope: Scope) -> float:
        address = scope["client"][0] if scope.get("client") else ""
        wait_s = self._addresses.take(address)
        cookies = Headers(scope=scope).get("cookie", "").split("; ")
        name = f"{self._researcher.partition('=')[0]}="
        session = next((part for part in cookies if part.startswith(self._cookie)), None)
        if session is not None:
            wait_s = max(wait_s, self._sessions.take(hashlib.sha256(session.encode()).hexdigest()))
        guess = scope["path"].startswith(("/join/", "/researcher/login")) or b"=" in scope["query_string"]
        guess |= any(part.startswith(name) and part != self._researcher for part in cookies)
        return max(wait_s, self._guesses.take(address)) if guess else wait_s
