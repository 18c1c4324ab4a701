"""The HTTP client against a real server on loopback: retries, pauses, time limits, and what its errors say."""

import asyncio
import email.utils
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from actors.messages import DeniedError, DisturbedError, RefusedError
from actors.service_client import RateLimit, ServiceClient, ServiceError, UnusableAnswerError
from tests.actors.proposers.chat.service import Asked, Scripted, completion, serve

KEY = "sk-a-secret-of-this-test"
LIST = "1. a cat, fog\n2. a cat, neon\n3. a cat, low angle"


def post(url: str, **options: Any) -> Any:
    short: dict[str, Any] = {"first_pause_s": 0.01}

    async def main() -> Any:
        async with ServiceClient(url, **short | options) as client:
            return await client.post("chat/completions", {"messages": [{"content": ""}]})

    return asyncio.run(main())


def failure(attempt: Callable[[], object]) -> RefusedError | DisturbedError:
    with pytest.raises((DisturbedError, RefusedError)) as error:
        attempt()
    assert len(str(error.value).splitlines()) == 1
    assert KEY not in str(error.value)
    return error.value


def refusal(attempt: Callable[[], object]) -> str:
    return str(failure(attempt))


def failed(scripted: Scripted, **options: Any) -> RefusedError | DisturbedError:
    with serve(lambda _asked, _number: scripted) as service:
        return failure(lambda: post(service.url, **options))


def refused(scripted: Scripted, **options: Any) -> str:
    return str(failed(scripted, **options))


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 503, 529])
def test_what_may_pass_soon_is_tried_again(status: int) -> None:
    with serve(lambda _asked, number: Scripted(status=status) if number < 2 else completion(LIST)) as service:
        assert post(service.url)["choices"][0]["message"]["content"] == LIST
        assert len(service.asked) == 3


def test_a_pause_that_the_service_asks_for_is_kept() -> None:
    busy = Scripted(status=429, headers={"retry-after": "1"})
    with serve(lambda _asked, number: completion(LIST) if number else busy) as service:
        began = time.monotonic()
        post(service.url)
        assert 1 <= time.monotonic() - began < 3


def test_retries_end_and_a_pause_too_long_is_left_to_who_called() -> None:
    busy = Scripted(status=503, body={"error": {"message": "over\nloaded"}})
    assert "503 over loaded, 3 times in a row; try later" in refused(busy, retries=2)
    asking = failed(Scripted(status=429, headers={"retry-after": "3600"}))
    assert isinstance(asking, ServiceError)
    assert "asks for a pause of 3600 s" in str(asking)
    assert asking.retry_after_s == 3600


def test_the_pause_that_google_asks_for_in_its_answer_is_known() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "23.5s"}]
    busy = failed(Scripted(status=429, body={"error": {"code": 429, "message": "slow down", "details": details}}))
    assert isinstance(busy, ServiceError)
    assert busy.retry_after_s == 23.5


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, {"message": "You exceeded your quota", "code": "insufficient_quota"}),
        (400, {"message": "Billing hard limit has been reached", "code": "billing_hard_limit_reached"}),
        (402, {"message": "Insufficient credits"}),
        (400, {"message": "Your account has run out: not enough credits for this request"}),
        (403, {"message": "Enable billing to use this model: billing is disabled for the account"}),
        (403, {"message": "Monthly quota exceeded"}),
        (200, {"message": "Insufficient credits", "code": 402}),
    ],
)
def test_a_quota_or_credit_that_is_used_up_stops_whoever_asks_and_is_not_tried_again(status: int, error: dict) -> None:
    with serve(lambda _asked, _number: Scripted(status=status, body={"error": error})) as service:
        spent = failure(lambda: post(service.url))
        assert len(service.asked) == 1
    assert type(spent) is DeniedError
    assert f"quota or credit is used up ({status} {error['message']}); top it up" in str(spent)


def test_a_quota_that_is_renewed_at_a_time_that_the_service_says_is_waited_for() -> None:
    error = {"message": "You exceeded your quota", "code": "insufficient_quota"}
    spent = failed(Scripted(status=429, body={"error": error}, headers={"retry-after": "3600"}))
    assert type(spent) is ServiceError
    assert spent.retry_after_s == 3600


@pytest.mark.parametrize("code", [429, 503])
def test_a_failure_that_a_gateway_wraps_into_a_success_is_tried_again_as_if_it_had_its_own_status(code: int) -> None:
    busy = Scripted(body={"error": {"message": "upstream is busy", "code": code}})
    with serve(lambda _asked, number: completion(LIST) if number else busy) as service:
        assert post(service.url)["choices"][0]["message"]["content"] == LIST


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (
            400,
            {
                "message": "Your request was rejected",
                "type": "image_generation_user_error",
                "code": "moderation_blocked",
            },
        ),
        (
            400,
            {"message": "filtered", "code": "content_filter", "innererror": {"code": "ResponsibleAIPolicyViolation"}},
        ),
        (403, {"message": "your input was flagged", "metadata": {"flagged_input": "a cat", "reasons": ["violence"]}}),
        (429, {"message": "no", "code": "content_policy_violation"}),
        (403, {"message": "your prompt was rejected by our safety system"}),
        (400, {"message": "cannot draw a credit card, the balance of colours is prohibited"}),
        (422, {"message": "prompt too long"}),
        (413, {"message": "too large"}),
    ],
)
def test_what_depends_on_the_request_is_a_refusal_whatever_the_status(status: int, error: dict) -> None:
    with serve(lambda _asked, _number: Scripted(status=status, body={"error": error})) as service:
        assert isinstance(failure(lambda: post(service.url)), RefusedError)
        assert len(service.asked) == 1


@pytest.mark.parametrize(
    "scripted",
    [
        Scripted(status=401, body={"error": {"message": "who?"}}),
        Scripted(status=403, body={"error": {"message": "not you", "status": "PERMISSION_DENIED"}}),
        Scripted(status=400, body={"error": {"message": "not valid", "details": [{"reason": "API_KEY_INVALID"}]}}),
    ],
)
def test_a_key_that_is_not_accepted_is_told_from_what_is_asked(scripted: Scripted) -> None:
    assert isinstance(failed(scripted), DeniedError)


@pytest.mark.parametrize(
    "scripted",
    [
        Scripted(status=404, body="<html>", headers={"content-type": "text/html"}),
        Scripted(body='{"data": [', headers={"content-type": "application/json"}),
        Scripted(status=307, headers={"location": "/login"}),
        Scripted(status=418, body={"error": "teapot"}),
    ],
)
def test_what_another_server_would_answer_is_the_moments(scripted: Scripted) -> None:
    assert type(failed(scripted)) is ServiceError


@pytest.mark.parametrize(
    ("scripted", "problem"),
    [
        (
            Scripted(status=401, body={"error": {"message": f"Incorrect API key provided: {KEY}."}}),
            "refuses the key in A_KEY (401 Incorrect API key provided: ***.); check it",
        ),
        (
            Scripted(status=404, body={"error": {"message": "The model `a-model` does not exist."}}),
            "does not know the model (404 The model `a-model` does not exist.); set model to one that it has",
        ),
        (
            Scripted(status=400, body={"error": {"message": "max_tokens is too large"}}),
            "refuses the request (400 max_tokens is too large); change what it names",
        ),
        (
            Scripted(status=404, body="<html>", headers={"content-type": "text/html; charset=utf-8"}),
            "has no such service (answered 404 with text/html); base_url, here http://127.0.0.1:",
        ),
        (
            Scripted(body="<html>", headers={"content-type": "text/html"}),
            "has no such service (answered 200 with text/html)",
        ),
        (Scripted(body='{"choices": [{"mess'), "chat/completions: the answer is empty or cut off; ask again"),
        (Scripted(body=""), "chat/completions: the answer is empty or cut off; ask again"),
        (Scripted(status=302, headers={"location": "/login"}), "(answered 302 with application/json)"),
    ],
)
def test_a_refusal_says_what_helps_and_never_the_key(
    monkeypatch: pytest.MonkeyPatch, scripted: Scripted, problem: str
) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    assert problem in refused(scripted, api_key_env="A_KEY")


def test_a_service_that_wants_a_key_is_told_apart_from_one_that_refuses_it() -> None:
    assert "wants a key (401 Unauthorized); put it into an environment variable" in refused(Scripted(status=401))


def test_a_key_that_is_not_set_is_refused_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("A_KEY", raising=False)
    assert refusal(lambda: post("http://127.0.0.1:9/v1", api_key_env="A_KEY")).startswith("api_key_env: A_KEY is not")


def test_a_service_that_is_slow_is_given_up_after_the_seconds_that_were_set() -> None:
    began = time.monotonic()
    assert "no answer within 0.2 s; raise request_timeout_s" in refused(Scripted(delay_s=1), timeout_s=0.2)
    assert time.monotonic() - began < 3


def test_nobody_listening_is_said_with_the_address() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        assert f"{url}/chat/completions: cannot be reached: ConnectError" in refusal(lambda: post(url, retries=1))


def test_a_pause_may_be_asked_for_as_a_fraction_or_as_a_date() -> None:
    for pause in ("0.3", email.utils.formatdate(time.time() + 2, usegmt=True)):
        busy = Scripted(status=503, headers={"retry-after": pause})
        with serve(lambda _asked, number, busy=busy: completion(LIST) if number else busy) as service:
            began = time.monotonic()
            post(service.url)
            assert 0.3 <= time.monotonic() - began < 3.5


def ask(url: str, *, seconds: float, read: Callable[[Any], Any] = lambda answer: answer, retries: int = 2) -> Any:
    async def main() -> Any:
        async with ServiceClient(url, retries=retries, first_pause_s=0.01) as client:
            return await client.post(
                "images", {"messages": [{"content": ""}]}, read, deadline=time.monotonic() + seconds
            )

    return asyncio.run(main())


@pytest.mark.parametrize("retries", [0, 2])
def test_an_answer_without_what_was_asked_for_is_asked_for_once_more_and_then_a_refusal(retries: int) -> None:
    def read(answer: dict[str, int]) -> int:
        if answer["number"] < 1:
            raise UnusableAnswerError("number too small")
        return answer["number"]

    with serve(lambda _asked, number: Scripted(body={"number": number})) as service:
        assert ask(service.url, seconds=60, read=read, retries=retries) == 1
    with serve(lambda _asked, _number: Scripted(body={"number": 0})) as service:
        error = failure(lambda: ask(service.url, seconds=60, read=read, retries=retries))
        assert len(service.asked) == 2
    assert isinstance(error, RefusedError)
    assert "number too small, 2 times" in str(error)


def test_a_deadline_ends_attempts_and_pauses() -> None:
    began = time.monotonic()
    with serve(lambda _asked, _number: Scripted(delay_s=1)) as service:
        assert "no answer within 0.2 s" in refusal(lambda: ask(service.url, seconds=0.2))
    with serve(lambda _asked, _number: Scripted(status=429, headers={"retry-after": "30"})) as service:
        assert "asks for a pause of 30 s" in refusal(lambda: ask(service.url, seconds=5))
    assert time.monotonic() - began < 4


def test_a_download_sends_no_key_and_its_error_holds_no_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", KEY)

    async def download(url: str) -> bytes:
        async with ServiceClient(url, "A_KEY") as client:
            return await client.download(f"{url}/a.png?signature=secret", lambda content: content)

    def answer(asked: Asked, _number: int) -> Scripted:
        return Scripted(status=403, body="no") if "authorization" not in asked.headers else Scripted()

    with serve(answer, files=True) as service:
        said = refusal(lambda: asyncio.run(download(service.url)))
    assert "/v1/a.png: cannot be fetched (403 Forbidden)" in said
    assert "secret" not in said


def test_a_rate_holds_over_clients() -> None:
    rate = RateLimit(600)

    async def main(url: str) -> None:
        async with ServiceClient(url, rate=rate) as client:
            await client.post("images", {"messages": [{"content": ""}]})

    with serve(lambda _asked, _number: completion(LIST)) as service:
        began = time.monotonic()
        for _ in range(4):
            asyncio.run(main(service.url))
        assert time.monotonic() - began >= 0.3
