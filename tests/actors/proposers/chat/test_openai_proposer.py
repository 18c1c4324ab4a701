"""The proposer against a real HTTP server on loopback."""

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from actors.messages import ProposalRequest, Proposals
from actors.pool.actor_pool import ActorPool, CallFailedError, PoolBrokenError
from actors.pool.role import Role
from actors.proposers.chat.conversation import answer_seeds
from actors.proposers.chat.endpoint import Endpoint, EndpointError
from actors.proposers.chat.openai_proposer import OpenAIProposer
from tests.actors.proposers.chat.service import Asked, Scripted, completion, serve

T = TypeVar("T")
KEY = "sk-a-secret-of-this-test"
LIST = "1. a cat, fog\n2. a cat, neon\n3. a cat, low angle"


def request(count: int = 3, seed: int = 2**62 + 5) -> ProposalRequest:
    return ProposalRequest(base_prompt="a cat", best_prompt="a cat", best_score=0.5, count=count, seed=seed)


def propose(url: str, *requests: ProposalRequest, **options: Any) -> list[Proposals]:
    async def main() -> list[Proposals]:
        proposer = OpenAIProposer(url, "a-model", **options)
        await proposer.setup()
        try:
            return await asyncio.gather(*map(proposer.propose, requests))
        finally:
            await proposer.close()

    return asyncio.run(main())


def post(url: str, **options: Any) -> Any:
    async def main() -> Any:
        endpoint = Endpoint(url, **{"first_wait_s": 0.01, **options})
        try:
            return await endpoint.post("chat/completions", {"messages": [{"content": ""}]})
        finally:
            await endpoint.close()

    return asyncio.run(main())


def refusal(attempt: Callable[[], object]) -> str:
    with pytest.raises(EndpointError) as error:
        attempt()
    assert len(str(error.value).splitlines()) == 1
    assert KEY not in str(error.value)
    return str(error.value)


def refused(scripted: Scripted, **options: Any) -> str:
    with serve(lambda _asked, _number: scripted) as service:
        return refusal(lambda: post(service.url, **options))


def test_a_numbered_list_is_asked_for_once_with_the_requests_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    with serve(lambda _asked, _number: completion(LIST)) as service:
        (proposals,) = propose(service.url, request(), api_key_env="A_KEY", temperature=0.7, max_new_tokens=99)
        (asked,) = service.questions

    assert proposals == Proposals(prompts=("a cat, fog", "a cat, neon", "a cat, low angle"))
    assert (asked.path, asked.headers["authorization"]) == ("/v1/chat/completions", f"Bearer {KEY}")
    (message,) = asked.body.pop("messages")
    assert message["role"] == "user"
    assert "0.50: a cat" in message["content"]
    assert "3 new" in message["content"]
    assert asked.body == {"model": "a-model", "temperature": 0.7, "top_p": 0.95, "max_tokens": 99, "seed": 5}


def test_samples_are_requests_of_one_prompt_each_with_seeds_of_their_own_in_order() -> None:
    def answer(asked: Asked, number: int) -> Scripted:
        said = completion(f"1. a cat, {asked.body['seed']}")
        return Scripted(body=said.body, delay_s=0.05 * (number % 2))

    with serve(answer) as service:
        (proposals,) = propose(service.url, request(6), mode="samples")
        questions = service.questions

    assert proposals.prompts == tuple(f"a cat, {seed % 2**31}" for seed in answer_seeds(request(6), "samples"))
    assert len(set(proposals.prompts)) == 6
    assert all("1 new" in asked.body["messages"][0]["content"] for asked in questions)


def test_requests_overlap_up_to_the_limit() -> None:
    def answer(asked: Asked, _number: int) -> Scripted:
        return Scripted(body=completion(LIST).body, delay_s=0.0 if asked.greeting else 0.1)

    with serve(answer) as service:
        propose(service.url, *[request(seed=seed) for seed in range(6)], at_once=3)
        assert service.most_at_once == 3


def test_a_list_that_was_cut_off_loses_its_last_prompt_and_no_content_holds_none() -> None:
    with serve(lambda _asked, _number: completion("1. a cat, fog\n2. a cat in", "length")) as service:
        assert propose(service.url, request()) == [Proposals(prompts=("a cat, fog",), refused={"unfinished": 1})]
    with serve(lambda _asked, _number: completion(None)) as service:
        assert propose(service.url, request()) == [Proposals(prompts=())]


def test_more_fields_are_sent_and_null_takes_one_out() -> None:
    with serve(lambda _asked, _number: completion(LIST)) as service:
        propose(service.url, request(), extra={"max_completion_tokens": 9, "max_tokens": None, "seed": None})
        (asked,) = service.questions
    assert asked.body["max_completion_tokens"] == 9
    assert not {"max_tokens", "seed"} & set(asked.body)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again(status: int) -> None:
    with serve(lambda _asked, number: Scripted(status=status) if number < 2 else completion(LIST)) as service:
        assert post(service.url)["choices"][0]["message"]["content"] == LIST
        assert len(service.asked) == 3


def test_a_pause_that_the_service_asks_for_is_kept() -> None:
    busy = Scripted(status=429, headers={"retry-after": "1"})
    with serve(lambda _asked, number: completion(LIST) if number else busy) as service:
        began = time.monotonic()
        post(service.url)
        assert 1 <= time.monotonic() - began < 3


def test_retries_end_and_a_pause_too_long_is_not_kept() -> None:
    busy = Scripted(status=503, body={"error": {"message": "over\nloaded"}})
    assert "503: over loaded, 3 times in a row; try later" in refused(busy, retries=2)
    assert "asks for a pause of 3600 s" in refused(Scripted(status=429, headers={"retry-after": "3600"}))


def test_a_quota_that_is_spent_is_not_tried_again() -> None:
    spent = Scripted(status=429, body={"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}})
    with serve(lambda _asked, _number: spent) as service:
        assert "You exceeded your quota" in refusal(lambda: post(service.url))
        assert len(service.asked) == 1


@pytest.mark.parametrize(
    ("scripted", "problem"),
    [
        (
            Scripted(status=401, body={"error": {"message": f"Incorrect API key provided: {KEY}."}}),
            "refuses the key in A_KEY (401: Incorrect API key provided: ***.); check it",
        ),
        (
            Scripted(status=404, body={"error": {"message": "The model `a-model` does not exist."}}),
            "does not know the model (404: The model `a-model` does not exist.); set model to one that it has",
        ),
        (
            Scripted(status=400, body={"error": {"message": "max_tokens is too large"}}),
            "refuses the request (400: max_tokens is too large); change what it names",
        ),
        (
            Scripted(status=404, body="<html>", headers={"content-type": "text/html; charset=utf-8"}),
            "is no OpenAI-compatible endpoint (answered 404 with text/html); base_url is the part before",
        ),
        (
            Scripted(body="<html>", headers={"content-type": "text/html"}),
            "is no OpenAI-compatible endpoint (answered 200 with text/html)",
        ),
        (Scripted(status=302, headers={"location": "/login"}), "(answered 302 with application/json)"),
    ],
)
def test_a_refusal_says_what_helps_and_never_the_key(
    monkeypatch: pytest.MonkeyPatch, scripted: Scripted, problem: str
) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    assert problem in refused(scripted, api_key_env="A_KEY")


def test_a_service_that_wants_a_key_is_told_apart_from_one_that_refuses_it() -> None:
    assert "wants a key (401: Unauthorized); put it into an environment variable" in refused(Scripted(status=401))


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
        assert f"{url}/chat/completions: cannot be reached: " in refusal(lambda: post(url, retries=1))


@pytest.mark.parametrize("body", [{}, [], {"choices": []}, {"choices": [{"text": "old"}]}, {"choices": ["a"]}])
def test_an_answer_of_another_kind_is_refused_at_setup(body: object) -> None:
    with serve(lambda _asked, _number: Scripted(body=body)) as service:
        assert "holds no choices[0].message.content" in refusal(lambda: propose(service.url))


def in_pool(role: Role, use: Callable[[ActorPool], Awaitable[T]]) -> T:
    async def main() -> T:
        pool = ActorPool(role)
        try:
            await pool.start()
            return await use(pool)
        finally:
            pool.stop()

    return asyncio.run(main())


@pytest.mark.usefixtures("ray")
def test_one_actor_serves_several_requests_at_a_time_and_an_error_arrives_in_one_line() -> None:
    def answer(asked: Asked, _number: int) -> Scripted:
        if "a dog" in asked.body["messages"][0]["content"]:
            return Scripted(status=400, body={"error": {"message": "no dogs"}})
        return Scripted(body=completion(LIST).body, delay_s=0.0 if asked.greeting else 0.3)

    async def use(pool: ActorPool) -> list[Proposals]:
        dog = ProposalRequest(base_prompt="a dog", best_prompt="a dog", best_score=0.5, count=3, seed=1)
        with pytest.raises(CallFailedError, match=r"EndpointError: .*refuses the request \(400: no dogs\)"):
            await pool.call("propose", dog)
        answers = await asyncio.gather(*(pool.call("propose", request(seed=seed)) for seed in range(4)))
        return [proposals for _, proposals in answers]

    with serve(answer) as service:
        arguments = {"base_url": service.url, "model": "a-model"}
        proposals = in_pool(Role(name="proposer", make=OpenAIProposer, arguments=arguments, in_flight=4), use)
        assert [len(one.prompts) for one in proposals] == [3] * 4
        assert service.most_at_once == 4


@pytest.mark.usefixtures("ray")
def test_a_pool_whose_service_refuses_the_key_does_not_come_up() -> None:
    async def use(_pool: ActorPool) -> None: ...

    with (
        serve(lambda _asked, _number: Scripted(status=401, body=json.loads('{"detail": "who?"}'))) as service,
        pytest.raises(PoolBrokenError, match=r"wants a key \(401: who\?\)") as error,
    ):
        role = Role(name="proposer", make=OpenAIProposer, arguments={"base_url": service.url, "model": "a-model"})
        in_pool(role, use)
    assert len(str(error.value).splitlines()) == 1
