"""What stands before every request: headers of every answer, same-origin posts, a limit on how fast one may ask."""

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BODY = 16 * 1024
"""Bytes of a request's body; the largest form (a researcher's review of 100 images) has 4 KiB."""

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "X-Robots-Tag": "noindex, nofollow",
}


class SecurityHeaders:
    """Puts the same headers on every answer; pages are never cached, so that nobody finds another's by going back."""

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
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self.app(scope, receive, with_headers)


class SameOrigin:
    """Refuses posts that another site's page makes in a participant's name."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == "http"
            and scope["method"] not in ("GET", "HEAD")
            and not _same_origin(Headers(scope=scope))
        ):
            await PlainTextResponse("This request came from another site.", 403)(scope, receive, send)
            return
        await self.app(scope, receive, send)


def _same_origin(headers: Headers) -> bool:
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or origin.split("://", 1)[-1] == headers.get("host", "")


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class RateLimit:
    """A token bucket for each participant's session, and for each address that has none.

    Who asks faster is answered 429 with the seconds to wait. A lab behind one address shares a bucket only until its
    people have joined.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        per_second: float = 40.0,
        burst: float = 200.0,
        cookies: tuple[str, ...] = (),
        most_buckets: int = 20_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.app = app
        self._per_second, self._burst = per_second, burst
        self._cookies = cookies
        self._most = most_buckets
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            wait_s = self._take(self._who(scope))
            if wait_s > 0:
                answer = PlainTextResponse(
                    "Too many requests; please wait a moment.", 429, {"Retry-After": str(math.ceil(wait_s))}
                )
                await answer(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _who(self, scope: Scope) -> str:
        """The address, and the session where one is sent."""
        cookie = Headers(scope=scope).get("cookie", "")
        session = (
            next((part for part in cookie.split("; ") if part.startswith(self._cookies)), "") if self._cookies else ""
        )
        address = scope["client"][0] if scope.get("client") else ""
        return hashlib.sha256(f"{address}\n{session}".encode()).hexdigest()

    def _take(self, who: str) -> float:
        now = self._clock()
        bucket = self._buckets.pop(who, None) or _Bucket(self._burst, now)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.filled_at) * self._per_second)
        bucket.filled_at = now
        self._buckets[who] = bucket
        while len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        if bucket.tokens < 1:
            return (1 - bucket.tokens) / self._per_second
        bucket.tokens -= 1
        return 0.0
