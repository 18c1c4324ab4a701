"""The HTTP client of every actor whose work is done by a web service, be it chat or images.

Here it is decided whether an answer depends on what was asked, or on the moment:

    request -> its turn -> sent -> 2xx, and `read` accepts it             -> value
                                   2xx, and `read` finds nothing in it    -> once more, then RefusedError
                                   content policy; 400, 413, 414, 422, 451 -> RefusedError
                                   401, 403, a key that is not valid       -> DeniedError
                                   402, billing, a quota or credit that is used up, without a Retry-After
                                                                          -> DeniedError
                                   408, 409, 425, 429, 5xx, no connection -> again, then ServiceError
                                   no answer in time, half an answer, 404,
                                   what only another server would answer  -> ServiceError

The service's own words decide before its status does, because services put content policy under 403 and a used-up
credit under 400. A status within the error of a 2xx answer counts as the answer's own, as gateways write it. This
client bridges moments: it sends a request a few times at most, with short pauses. For long waits the actor is not
needed, so a ServiceError tells the pool the pause that the service asks for (`Retry-After`). All errors are one line:
address, the service's own words, and what to change.

Invariants: the key comes from the environment of this process, goes into one header of requests below `base_url`, and
appears in no error. A call ends by its deadline, whatever the service does.
"""

import asyncio
import itertools
import json
import math
import os
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from email.utils import parsedate_to_datetime
from functools import cache, partial
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx2
from httpx2.websockets import AsyncWebSocketSession

from actors.backoff import backoff_s
from actors.messages import DeniedError, DisturbedError, RefusedError

T = TypeVar("T")

_TRANSIENT = frozenset({408, 409, 425, 429})
"""Statuses below 500 that waiting may cure; the same as in the clients that services publish themselves."""
_OF_THE_REQUEST = frozenset({400, 413, 414, 422, 451})
"""Statuses that depend on what the request says."""
_OF_THE_MOMENT = (TimeoutError, httpx2.ReadError, httpx2.WriteError, httpx2.RemoteProtocolError)
"""What becomes of a request where somebody listens. That nobody does is, at the start, the fault of the address."""
_CONTENT_POLICY = (
    *("content_policy", "content_filter", "moderation", "responsibleaipolicy", "safety_system", "prohibited_content"),
    "flagged_input",
)
_SPENT = (
    *("insufficient_quota", "billing_hard_limit", "billing_not_active", "insufficient_credit", "insufficient_balance"),
    *("quotaexceeded", "quota_exceeded", "exceeded_current_quota"),
)
_SPENT_WORDS = re.compile(
    r"\b(?:insufficient|not enough|no|out of|used up|exhausted|exceeded|depleted|negative)\b.{0,24}"
    r"\b(?:credits?|balance|funds|quota)\b|\b(?:credits?|balance|funds|quota)\b.{0,24}"
    r"\b(?:insufficient|too low|used up|exhausted|exceeded|depleted|ran out)\b"
    r"|\bbilling\b.{0,40}\b(?:limit|details|account|inactive|not active|disabled|enable|required)\b"
    r"|\bpayment required\b",
    re.IGNORECASE,
)
"""The same in words, which count where no code says why and the answer is no plain 429: that one passes."""
_POLICY_WORDS = re.compile(r"safety system|content policy|moderation|flagged|prohibited|nsfw", re.IGNORECASE)
_DENIED = ("invalid_api_key", "api_key_invalid", "account_deactivated")
"""Parts of the codes under which services say why; see `_codes`."""
SEEDS = 2**31
"""Services differ in the largest seed that they accept; all accept 31 bits."""
_LONGEST_PAUSE_S = 5.0
"""Longest pause here. For a service that asks for more, the pool waits."""
_UNUSABLE = 2
"""So many answers without what was asked for are a refusal."""


class ServiceError(DisturbedError):
    """The service gave no answer; asked later, it may."""


class UnusableAnswerError(RuntimeError):
    """Raised by a `read` function for an answer without what was asked for, such as one without an image."""


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
    retries : int
        Attempts after the first.
    at_once : int
        Requests at a time; the others wait, and their timeout does not run yet.
    rate : RateLimit or None
        Counts every attempt.
    first_pause_s : float
        Before the first retry; each later pause is twice as long, or as long as the service asks for.
    headers : mapping or None
        Of every request, beside those that carry the key.
    wraps_errors : bool
        Whether an `error` within a 2xx answer is a failure of the service; False: it is left to what reads the answer.

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
        retries: int = 2,
        at_once: int = 8,
        rate: RateLimit | None = None,
        first_pause_s: float = 1.0,
        headers: Mapping[str, str] | None = None,
        wraps_errors: bool = True,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._api_key_env = api_key_env
        self._key = _key(api_key_env)
        self._timeout_s = timeout_s
        self._timeout_remedy = timeout_remedy
        self._retries = retries
        self._turns = asyncio.Semaphore(at_once)
        self._rate = rate or RateLimit(None)
        self._first_pause_s = first_pause_s
        self._wraps_errors = wraps_errors
        of_key = key_headers(self._key) if self._key else {}
        self._http = httpx2.AsyncClient(headers={**(headers or {}), **of_key}, timeout=None, verify=_ssl_context())

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
            Takes the decoded JSON; raises UnusableAnswerError to have the request sent once more.
        deadline : float
            On `time.monotonic`'s clock: no attempt begins, and none goes on, after it.

        Raises
        ------
        RefusedError
            The service refuses the request, or answers without what was asked for.
        DeniedError
            It does not accept the key.
        ServiceError
            It took too long, could not be reached, was busy on every attempt, or is no service of this kind.
        """
        url = f"{self._base_url}/{path}"
        return await self._attempts(
            url, partial(self._http.post, url, json=body), partial(self._read, url, read), deadline
        )

    async def get(
        self, path: str, read: Callable[[Any], T] = lambda answer: answer, *, deadline: float = math.inf
    ) -> T:
        """As `post`, without a body; `path` may be a whole address, where it is one of this service.

        Raises
        ------
        ServiceError
            It is another service's, which the key must not reach.
        """
        url = path if "://" in path else f"{self._base_url}/{path}"
        if _origin(url) != _origin(self._base_url):
            raise ServiceError(f"{self._base_url}: the answer points to another service, {_origin(url)}; ask again")
        return await self._attempts(url, partial(self._http.get, url), partial(self._read, url, read), deadline)

    async def tell(self, path: str, body: Mapping[str, Any], *, deadline: float = math.inf) -> None:
        """As `post`, where the answer has no content to be read."""
        url = f"{self._base_url}/{path}"

        def accept(response: httpx2.Response) -> None:
            if not response.is_success:
                raise self._error(url, response)

        await self._attempts(url, partial(self._http.post, url, json=body), accept, deadline)

    def socket(self, path: str, *, most_bytes: int) -> "AbstractAsyncContextManager[AsyncWebSocketSession]":
        """A websocket below the service's address, whose messages have at most so many bytes."""
        url = f"{self._base_url}/{path}".replace("http", "ws", 1)
        return self._http.websocket(url, max_message_size_bytes=most_bytes)

    def _read(self, url: str, read: Callable[[Any], T], response: httpx2.Response) -> T:
        """What `read` makes of a JSON answer, or of the bytes of one that is an image."""
        if not response.is_success:
            raise self._error(url, response)
        if response.headers.get("content-type", "").startswith("image/"):
            return read(response.content)
        answer = self._json(url, response)
        if self._wraps_errors and _holds_error(answer):
            raise self._error(url, response)
        return read(answer)

    async def download(self, url: str, read: Callable[[bytes], T], *, deadline: float = math.inf) -> T:
        """What `read` makes of a file to which an answer points. It may lie on any host, so the key is not sent.

        Raises
        ------
        ServiceError
            The file cannot be had.
        RefusedError
            It is not what was asked for.
        """
        address = url.partition("?")[0]  # what comes after it may sign the request

        def accept(response: httpx2.Response) -> T:
            if response.is_success:
                return read(response.content)
            raise ServiceError(f"{address}: cannot be fetched ({self._said(response)}); ask for the image again")

        async with httpx2.AsyncClient(timeout=None, verify=_ssl_context(), follow_redirects=True) as http:
            return await self._attempts(address, partial(http.get, url), accept, deadline)

    async def check_access(self, path: str, *, timeout_s: float = 30) -> None:
        """See that somebody listens who accepts the key, by a GET that costs nothing; any other status will do.

        Raises
        ------
        RefusedError
            Nobody listens, or the key is missing or not accepted.
        ServiceError
            Somebody listens, and hangs up or says nothing.
        """
        url = f"{self._base_url}/{path}"
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._http.get(url)
        except (TimeoutError, httpx2.RequestError) as error:
            kind = ServiceError if isinstance(error, _OF_THE_MOMENT) else RefusedError
            raise kind(f"{url}: {_unreachable(error)}") from error
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
            pause_s, problem, asked_s, unusable = 0.0, "no time for a single attempt", None, 0
            for attempt in itertools.count(1):
                pause_s = self._rate.reserve(after_s=pause_s)
                if time.monotonic() + pause_s >= deadline:
                    said = f"{url}: {problem}; no time is left for another attempt, {self._timeout_remedy}"
                    raise ServiceError(said, retry_after_s=asked_s)
                await asyncio.sleep(pause_s)
                limit_s = min(self._timeout_s, deadline - time.monotonic())
                try:
                    response = await self._send(send, limit_s)
                except TimeoutError as error:
                    before = f"{problem}, then " if attempt > 1 else ""
                    said = f"{url}: {before}no answer within {round(limit_s, 1):g} s; {self._timeout_remedy}"
                    raise ServiceError(said) from error
                asked_s = None
                if isinstance(response, httpx2.RequestError):
                    problem = _unreachable(response)
                elif _may_pass(response):
                    problem, asked_s = self._said(response), _retry_after_s(response)
                else:
                    try:
                        return accept(response)
                    except UnusableAnswerError as error:
                        problem, unusable = str(error), unusable + 1
                        if unusable == _UNUSABLE:
                            raise RefusedError(f"{url}: {problem}, {unusable} times; change the prompt") from error
                        if attempt > self._retries:  # one more all the same
                            continue
                if asked_s is not None and asked_s > min(_LONGEST_PAUSE_S, deadline - time.monotonic()):
                    said = f"{url}: {problem}, and asks for a pause of {asked_s:g} s; try again after it"
                    raise ServiceError(said, retry_after_s=asked_s)
                if attempt > self._retries:
                    often = f", {attempt} times in a row" if attempt > 1 else ""
                    said = f"{url}: {problem}{often}; try later"
                    raise ServiceError(said, retry_after_s=asked_s)
                pause_s = backoff_s(attempt, first_s=self._first_pause_s, longest_s=_LONGEST_PAUSE_S, asked_s=asked_s)
        raise AssertionError("attempts are counted without end")

    async def _send(
        self, send: Callable[[], Awaitable[httpx2.Response]], limit_s: float
    ) -> httpx2.Response | httpx2.RequestError:
        """The answer, or why there is none: no connection, or one that ends within the answer."""
        try:
            async with asyncio.timeout(limit_s):
                return await send()
        except httpx2.RequestError as error:
            return error

    def _json(self, url: str, response: httpx2.Response) -> Any:
        try:
            return response.json()
        except ValueError as error:
            is_json = "json" in response.headers.get("content-type", "")
            said = "the answer is empty or cut off; ask again" if is_json else self._no_endpoint(response)
            raise ServiceError(f"{url}: {said}") from error

    def _error(self, url: str, response: httpx2.Response) -> RefusedError | DisturbedError:
        """What an answer of another status than 2xx means."""
        status, codes = _status(response), _codes(response)
        said = f"{url}: {self._refusal(response)}"
        if _is_of_policy(response):
            return RefusedError(f"{url}: refuses the request ({self._said(response)}); change the prompt")
        if _is_spent(response):
            said = f"{url}: quota or credit is used up ({self._said(response)}); top it up, or wait until it is renewed"
            renewed_s = _retry_after_s(response)
            return DeniedError(said) if renewed_s is None else ServiceError(said, retry_after_s=renewed_s)
        if status in (401, 403) or _any(_DENIED, codes):
            return DeniedError(said)
        return RefusedError(said) if status in _OF_THE_REQUEST else ServiceError(said)

    def _refusal(self, response: httpx2.Response) -> str:
        said = self._said(response)
        status = _status(response)
        denied = status in (401, 403) or _any(_DENIED, _codes(response))
        if denied and self._api_key_env is None:
            return f"wants a key ({said}); put it into an environment variable and name that in api_key_env"
        if denied:
            return f"refuses the key in {self._api_key_env} ({said}); check it, and that it may use the model"
        if status == 404 and "model" in said:
            return f"does not know the model ({said}); set model to one that it has"
        if status in (404, 405) or response.is_redirect:
            return self._no_endpoint(response)
        if status not in _OF_THE_REQUEST:
            return f"does not answer ({self._said(response)}); try later"
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


@cache
def _ssl_context() -> ssl.SSLContext:
    """The certificates take a tenth of a second to read: once a process, not once a client."""
    return httpx2.create_ssl_context()


def _key(api_key_env: str | None) -> str:
    key = "" if api_key_env is None else os.environ.get(api_key_env, "").strip()
    if api_key_env is not None and not key:
        raise RefusedError(f"api_key_env: {api_key_env} is not set where the actor runs; export it before Ray starts")
    return key


def _origin(url: str) -> str:
    """Scheme, host and port."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _may_pass(response: httpx2.Response) -> bool:
    """Whether a short pause may help. A quota that is used up comes as 429 too, and is longer in coming back."""
    busy = _status(response) in _TRANSIENT or _status(response) >= 500
    return busy and not _is_spent(response) and not _is_of_policy(response)


def _status(response: httpx2.Response) -> int:
    """The answer's status; of a 2xx that holds an error, the status within that, if there is one."""
    if not response.is_success:
        return response.status_code
    try:
        answer = response.json()
    except ValueError:
        return response.status_code
    error = answer.get("error") if _holds_error(answer) else None
    inner = (str(error.get("code")), str(error.get("status"))) if isinstance(error, dict) else ()
    return next((int(code) for code in inner if re.fullmatch("[45][0-9]{2}", code)), response.status_code)


def _holds_error(answer: Any) -> bool:
    """Some gateways tell of failures with status 200."""
    return isinstance(answer, dict) and bool(answer.get("error"))


def _is_of_policy(response: httpx2.Response) -> bool:
    """Whether the service refuses what was asked for; a 403 without a code may say so in words."""
    if _status(response) >= 500:
        return False
    in_words = _status(response) == 403 and _POLICY_WORDS.search(_words(response)) is not None
    return in_words or _any(_CONTENT_POLICY, _codes(response))


def _is_spent(response: httpx2.Response) -> bool:
    status = _status(response)
    if status == 402 or _any(_SPENT, _codes(response)):
        return True
    return status < 500 and status != 429 and _SPENT_WORDS.search(_words(response)) is not None


def _words(response: httpx2.Response) -> str:
    """The service's own words, of an answer that tells of a failure."""
    try:
        answer = response.json()
    except ValueError:
        return ""
    return _message(answer) if _holds_error(answer) or not response.is_success else ""


def _any(parts: Sequence[str], codes: str) -> bool:
    return any(part in codes for part in parts)


def _codes(response: httpx2.Response) -> str:
    """What a service's JSON error says under the keys where services put codes, in lower case."""
    return " ".join(f"{key}={value}" for key, value in _fields(response) if key in _CODE_KEYS).lower()


_CODE_KEYS = frozenset({"code", "type", "status", "reason", "flagged_input"})


def _fields(response: httpx2.Response) -> list[tuple[str, Any]]:
    """All keys and values of a JSON answer, at any depth; none of another answer."""
    try:
        return list(_pairs(response.json()))
    except ValueError:
        return []


def _pairs(answer: Any) -> Iterator[tuple[str, Any]]:
    match answer:
        case dict():
            for key, value in answer.items():
                yield key, value
                yield from _pairs(value)
        case list():
            for value in answer:
                yield from _pairs(value)


def _retry_after_s(response: httpx2.Response) -> float | None:
    """The header as seconds: services write a number, of seconds, or the date (RFC 9110, section 10.2.3).

    Google's write a `retryDelay` such as "23s" into the body.
    """
    value = response.headers.get("retry-after") or _retry_delay(response)
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _retry_delay(response: httpx2.Response) -> str:
    return next((str(value).removesuffix("s") for key, value in _fields(response) if key == "retryDelay"), "")


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
