"""One OpenAI-compatible service over HTTP: requests with a time limit, retries, and errors that say what helps.

Invariant: the key is read from the environment, goes into one header, and is in no message.
"""

import asyncio
import json
import os
import random
from typing import Any

import httpx2

_LONGEST_WAIT_S = 60
"""A service that asks for a longer pause is not waited for."""


class EndpointError(RuntimeError):
    """The service did not answer as it should; one line that says what helps."""


class Endpoint:
    """Posts JSON to a service. Used from one event loop.

    Parameters
    ----------
    base_url : str
        Up to and with "/v1".
    api_key_env : str or None
        Name of the environment variable that holds the key; None: no key is sent.
    timeout_s : float
        For one request, from its first byte to the last of its answer.
    retries : int
        How often a request is sent again that met 429 or 5xx, or that found nobody listening.
    at_once : int
        Requests at a time; the others wait, and their time does not run yet.
    first_wait_s : float
        Before the first retry; each later wait is twice as long, unless the service names its own.

    Raises
    ------
    EndpointError
        The variable is not set.
    """

    def __init__(
        self,
        base_url: str,
        api_key_env: str | None = None,
        *,
        timeout_s: float = 120,
        retries: int = 5,
        at_once: int = 8,
        first_wait_s: float = 1.0,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._api_key_env = api_key_env
        self._key = "" if api_key_env is None else os.environ.get(api_key_env, "").strip()
        if api_key_env is not None and not self._key:
            raise EndpointError(
                f"api_key_env: {api_key_env} is not set where the proposer runs; export it before Ray starts"
            )
        self._timeout_s = timeout_s
        self._retries = retries
        self._first_wait_s = first_wait_s
        self._turns = asyncio.Semaphore(at_once)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._client = httpx2.AsyncClient(headers=headers, timeout=None)

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """What the service answers to `body`, read from JSON.

        Raises
        ------
        EndpointError
            It refused, took too long, could not be reached, or answered with something else.
        """
        url = f"{self._base_url}/{path}"
        async with self._turns:
            retry = 0
            while True:
                last = retry == self._retries
                response = await self._send(url, body, last=last)
                if response is not None and not _passes(response):
                    return self._read(url, response)
                if response is not None and last:
                    said = f"{self._said(response)}, {retry + 1} times in a row"
                    raise EndpointError(f"{url}: {said}; try later or raise retries")
                await asyncio.sleep(self._wait_s(url, retry, response))
                retry += 1

    async def close(self) -> None:
        await self._client.aclose()

    async def _send(self, url: str, body: dict[str, Any], *, last: bool) -> httpx2.Response | None:
        """The answer, whatever it is; None if nobody listens and there is another try."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._client.post(url, json=body)
        except TimeoutError as error:
            raise EndpointError(
                f"{url}: no answer within {self._timeout_s:g} s; raise request_timeout_s or lower max_new_tokens"
            ) from error
        except httpx2.TransportError as error:
            if not last:
                return None
            reason = str(error) or type(error).__name__
            raise EndpointError(f"{url}: cannot be reached: {reason}; start the service or correct base_url") from error

    def _wait_s(self, url: str, retry: int, response: httpx2.Response | None) -> float:
        """As long as the service says, else twice as long each time, and not all callers at the same moment."""
        asked = "" if response is None else response.headers.get("retry-after", "")
        if response is None or not asked.isdigit():  # the other form of the header, a date, is rare
            return min(self._first_wait_s * 2**retry, _LONGEST_WAIT_S) * random.uniform(0.5, 1)
        if int(asked) > _LONGEST_WAIT_S:
            raise EndpointError(f"{url}: {self._said(response)}, and asks for a pause of {asked} s; try again after it")
        return int(asked) + random.uniform(0, self._first_wait_s)

    def _read(self, url: str, response: httpx2.Response) -> Any:
        if response.is_success:
            try:
                return response.json()
            except ValueError as error:
                raise EndpointError(f"{url}: {_no_endpoint(response)}") from error
        raise EndpointError(f"{url}: {self._refusal(response)}")

    def _refusal(self, response: httpx2.Response) -> str:
        said = self._said(response)
        if response.status_code in (401, 403) and self._api_key_env is None:
            return f"wants a key ({said}); put it into an environment variable and name that in api_key_env"
        if response.status_code in (401, 403):
            return f"refuses the key in {self._api_key_env} ({said}); check it, and that it may use the model"
        if response.status_code == 404 and "model" in said:
            return f"does not know the model ({said}); set model to one that it has"
        if response.status_code in (404, 405) or response.is_redirect:
            return _no_endpoint(response)
        return f"refuses the request ({said}); change what it names, by the proposer's settings or its extra"

    def _said(self, response: httpx2.Response) -> str:
        """Status and the service's own words, in one line."""
        try:
            answer = response.json()
        except ValueError:
            answer = {}
        message = _message(answer)
        text = " ".join((message or response.reason_phrase).split())[:300]
        return f"{response.status_code}: {text.replace(self._key, '***') if self._key else text}"


def _passes(response: httpx2.Response) -> bool:
    """Whether what is wrong may pass by waiting. A quota that is used up comes as 429 too, and does not."""
    spent = response.status_code == 429 and "insufficient_quota" in response.text
    return (response.status_code == 429 or response.status_code >= 500) and not spent


def _message(answer: Any) -> str:
    """Services write {"error": {"message": …}}, {"error": …}, {"message": …} or {"detail": …}."""
    if not isinstance(answer, dict):
        return ""
    inner = answer.get("error") or answer.get("message") or answer.get("detail") or ""
    if isinstance(inner, dict):
        inner = inner.get("message") or inner
    return inner if isinstance(inner, str) else json.dumps(inner)


def _no_endpoint(response: httpx2.Response) -> str:
    kind = response.headers.get("content-type", "nothing").split(";")[0]
    return (
        f"is no OpenAI-compatible endpoint (answered {response.status_code} with {kind}); "
        "base_url is the part before /chat/completions and mostly ends with /v1"
    )
