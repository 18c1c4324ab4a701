"""The HTTP client of every actor whose work is done by a web service, be it chat or images.

    request -> its turn -> sent -> 2xx, and `read` accepts the answer -> value
                  ^          |
                  |          +-- `read` finds it unusable   --+
                  |          +-- 408, 409, 425, 429, 5xx    --+-- time and retries left: again, after a pause
                  |          +-- nobody listens             --+-- else: ServiceError
                  +-- pause -+
                             +-- no answer in time: ServiceError
                             +-- any other status: RefusedError, which nobody sends again

The pause is what `Retry-After` asks for, else it doubles each time. All errors are one line: address, the service's own
words, and what to change.

Invariants: the key comes from the environment of this process, goes into one header of requests below `base_url`, and
appears in no error. A call ends by its deadline, whatever the service does.
"""

import asyncio
import itertools
import json
import math
import os
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Self, TypeVar

import httpx2

from actors.messages import RefusedError

T = TypeVar("T")

_TRANSIENT = frozenset({408, 409, 425, 429})
"""Statuses below 500 that waiting may cure; the same as in the clients that services publish themselves."""
_LONGEST_PAUSE_S = 60.0
"""Longest backoff. A service that asks for more is waited for only by a call whose deadline leaves that much."""


class ServiceError(RuntimeError):
    """The service gave no usable answer; asked later, it may."""


class UnusableAnswerError(RuntimeError):
    """Raised by a `read` function for an answer that another attempt may improve, such as one without an image."""


def bearer(key: str) -> dict[str, str]:
    """The header in which OpenAI-compatible services expect a key."""
    return {"Authorization": f"Bearer {key}"}


class RateLimit:
    """Spaces requests evenly. It outlives clients and event loops, so that one limit holds over many short clients."""

    def __init__(self, requests_per_minute: float | None) -> None:
        self._interval_s = 60 / requests_per_minute if requests_per_minute else 0.0
        self._next_s = -math.inf

    def reserve(self, after_s: float) -> float:
        """Seconds to wait before sending, at least `after_s`; that moment is then taken."""
        now = time.monotonic()
        at = max(now + after_s, self._next_s)
        self._next_s = at + self._interval_s
        return at - now


class ServiceClient:
    """Sends JSON to one service. An async context manager; used from one event loop.

    Parameters
    ----------
    base_url : str
        Up to and with the version, such as https://api.openai.com/v1.
    api_key_env : str or None
        Name of the environment variable that holds the key; None: no key is sent.
    key_headers : callable
        From a key to the headers that carry it.
    timeout_s : float
        For one attempt, from its first byte to the last of its answer.
    timeout_remedy : str
        What to change where that is too short.
    retries : int or None
        Attempts after the first; None: as many as the deadline allows.
    at_once : int
        Requests at a time; the others wait, and their timeout does not run yet.
    rate : RateLimit or None
        Counts every attempt.
    first_pause_s : float
        Before the first retry; each later pause is twice as long, unless the service names its own.

    Raises
    ------
    RefusedError
        The variable is not set.

    Example:

        async with ServiceClient("https://api.openai.com/v1", "OPENAI_API_KEY") as client:
            answer = await client.post("chat/completions", {"model": "gpt-5", "messages": messages})
    """

    def __init__(
        self,
        base_url: str,
        api_key_env: str | None = None,
        *,
        key_headers: Callable[[str], Mapping[str, str]] = bearer,
        timeout_s: float = 120,
        timeout_remedy: str = "raise request_timeout_s",
        retries: int | None = 5,
        at_once: int = 8,
        rate: RateLimit | None = None,
        first_pause_s: float = 1.0,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._api_key_env = api_key_env
        self._key = _key(api_key_env)
        self._timeout_s = timeout_s
        self._timeout_remedy = timeout_remedy
        self._retries = math.inf if retries is None else retries
        self._turns = asyncio.Semaphore(at_once)
        self._rate = rate or RateLimit(None)
        self._first_pause_s = first_pause_s
        self._http = httpx2.AsyncClient(headers=key_headers(self._key) if self._key else {}, timeout=None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def post(
        self,
        path: str,
        body: Mapping[str, Any],
        read: Callable[[Any], T] = lambda answer: answer,
        *,
        deadline: float = math.inf,
    ) -> T:
        """What `read` makes of the service's JSON answer to `body`.

        Parameters
        ----------
        read : callable
            Takes the decoded JSON; raises UnusableAnswerError to have the request sent again.
        deadline : float
            On `time.monotonic`'s clock: no attempt begins, and none goes on, after it.

        Raises
        ------
        RefusedError
            The service refuses the request, or this is no address of such a service.
        ServiceError
            It took too long, could not be reached, or was busy on every attempt.
        """
        url = f"{self._base_url}/{path}"

        def accept(response: httpx2.Response) -> T:
            if response.is_success:
                return read(self._json(url, response))
            raise RefusedError(f"{url}: {self._refusal(response)}")

        return await self._attempts(url, partial(self._http.post, url, json=body), accept, deadline)

    async def download(self, url: str, read: Callable[[bytes], T], *, deadline: float = math.inf) -> T:
        """What `read` makes of a file to which an answer points. It may lie on any host, so the key is not sent.

        Raises
        ------
        ServiceError
            The file cannot be had.
        """
        address = url.partition("?")[0]  # what comes after it may sign the request

        def accept(response: httpx2.Response) -> T:
            if response.is_success:
                return read(response.content)
            raise ServiceError(f"{address}: cannot be fetched ({self._said(response)}); ask for the image again")

        async with httpx2.AsyncClient(timeout=None, follow_redirects=True) as http:
            return await self._attempts(address, partial(http.get, url), accept, deadline)

    async def check_access(self, path: str, *, timeout_s: float = 30) -> None:
        """See that somebody listens who accepts the key, by a GET that costs nothing; any other status will do.

        Raises
        ------
        RefusedError
            Nobody answers, or the key is missing or not accepted.
        """
        url = f"{self._base_url}/{path}"
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._http.get(url)
        except (TimeoutError, httpx2.TransportError) as error:
            raise RefusedError(f"{url}: {_unreachable(error)}") from error
        if response.status_code in (401, 403):
            raise RefusedError(f"{url}: {self._refusal(response)}")

    async def _attempts(
        self,
        url: str,
        send: Callable[[], Awaitable[httpx2.Response]],
        accept: Callable[[httpx2.Response], T],
        deadline: float,
    ) -> T:
        """Send until `accept`, which is given all but transient failures, returns or raises an error of its own."""
        async with self._turns:
            pause_s, problem = 0.0, "no time for a single attempt"
            for attempt in itertools.count(1):
                pause_s = self._rate.reserve(after_s=pause_s)
                if time.monotonic() + pause_s >= deadline:
                    raise ServiceError(f"{url}: {problem}; no time is left for another attempt, {self._timeout_remedy}")
                await asyncio.sleep(pause_s)
                response = await self._send(url, send, deadline)
                if isinstance(response, httpx2.TransportError):
                    problem, asked_s = _unreachable(response), None
                elif _may_pass(response):
                    problem, asked_s = self._said(response), _retry_after_s(response)
                else:
                    try:
                        return accept(response)
                    except UnusableAnswerError as error:
                        problem, asked_s = str(error), None
                if attempt > self._retries:
                    raise ServiceError(f"{url}: {problem}, {attempt} times in a row; try later or raise retries")
                if asked_s is not None and asked_s > _patience_s(deadline):
                    raise ServiceError(f"{url}: {problem}, and asks for a pause of {asked_s:g} s; try again after it")
                pause_s = self._pause_s(attempt, asked_s)
        raise AssertionError("attempts are counted without end")

    async def _send(
        self, url: str, send: Callable[[], Awaitable[httpx2.Response]], deadline: float
    ) -> httpx2.Response | httpx2.TransportError:
        limit_s = min(self._timeout_s, deadline - time.monotonic())
        try:
            async with asyncio.timeout(limit_s):
                return await send()
        except TimeoutError as error:
            raise ServiceError(f"{url}: no answer within {round(limit_s, 1):g} s; {self._timeout_remedy}") from error
        except httpx2.TransportError as error:
            return error

    def _pause_s(self, attempt: int, asked_s: float | None) -> float:
        """Not the same for all callers, so that they do not come back at the same moment."""
        if asked_s is not None:
            return asked_s * random.uniform(1, 1.25)
        return min(self._first_pause_s * 2 ** (attempt - 1), _LONGEST_PAUSE_S) * random.uniform(0.5, 1)

    def _json(self, url: str, response: httpx2.Response) -> Any:
        try:
            return response.json()
        except ValueError as error:
            raise RefusedError(f"{url}: {self._no_endpoint(response)}") from error

    def _refusal(self, response: httpx2.Response) -> str:
        said = self._said(response)
        if response.status_code in (401, 403) and self._api_key_env is None:
            return f"wants a key ({said}); put it into an environment variable and name that in api_key_env"
        if response.status_code in (401, 403):
            return f"refuses the key in {self._api_key_env} ({said}); check it, and that it may use the model"
        if response.status_code == 404 and "model" in said:
            return f"does not know the model ({said}); set model to one that it has"
        if response.status_code in (404, 405) or response.is_redirect:
            return self._no_endpoint(response)
        return f"refuses the request ({said}); change what it names: the prompt, the settings, or their extra"

    def _no_endpoint(self, response: httpx2.Response) -> str:
        kind = response.headers.get("content-type", "nothing").split(";")[0]
        return (
            f"has no such service (answered {response.status_code} with {kind}); "
            f"base_url, here {self._base_url}, is the address up to and with the version, such as /v1"
        )

    def _said(self, response: httpx2.Response) -> str:
        """Status and the service's own words, in one line, without the key should it repeat it."""
        try:
            message = _message(response.json())
        except ValueError:
            message = ""
        text = " ".join((message or response.reason_phrase).split())
        return f"{response.status_code} {text.replace(self._key, '***') if self._key else text}"[:300].strip()


def _key(api_key_env: str | None) -> str:
    key = "" if api_key_env is None else os.environ.get(api_key_env, "").strip()
    if api_key_env is not None and not key:
        raise RefusedError(f"api_key_env: {api_key_env} is not set where the actor runs; export it before Ray starts")
    return key


def _may_pass(response: httpx2.Response) -> bool:
    """Whether waiting may help. A quota that is used up comes as 429 too, and does not pass."""
    spent = response.status_code == 429 and "insufficient_quota" in response.text
    return (response.status_code in _TRANSIENT or response.status_code >= 500) and not spent


def _patience_s(deadline: float) -> float:
    return _LONGEST_PAUSE_S if deadline == math.inf else deadline - time.monotonic()


def _retry_after_s(response: httpx2.Response) -> float | None:
    """The header as seconds: services write a number, of seconds, or the date (RFC 9110, section 10.2.3)."""
    value = response.headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _unreachable(error: Exception) -> str:
    reason = f"{type(error).__name__}: {error}".rstrip(": ")
    return f"cannot be reached: {reason}; start the service or correct base_url"


def _message(answer: Any) -> str:
    """Services write {"error": {"message": …}}, {"error": …}, {"message": …} or {"detail": …}."""
    if not isinstance(answer, dict):
        return ""
    inner = answer.get("error") or answer.get("message") or answer.get("detail") or ""
    if isinstance(inner, dict):
        inner = inner.get("message") or inner
    return inner if isinstance(inner, str) else json.dumps(inner)
