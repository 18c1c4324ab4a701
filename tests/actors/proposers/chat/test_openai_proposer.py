"""The proposer against a real HTTP server on loopback."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from actors.messages import DeniedError, ProposalRequest, Proposals, RefusedError
from actors.pool.actor_pool import ActorPool, CallRefusedError, PoolBrokenError, RoleUnavailableError
from actors.pool.role import Role
from actors.proposers.chat.conversation import answer_seeds
from actors.proposers.chat.openai_proposer import OpenAIProposer
from actors.service_client import ServiceError
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
        assert propose(service.url, request()) == [Proposals(prompts=(), refused={"empty answer": 1})]


def test_more_fields_are_sent_and_null_takes_one_out() -> None:
    with serve(lambda _asked, _number: completion(LIST)) as service:
        propose(service.url, request(), extra={"max_completion_tokens": 9, "max_tokens": None, "seed": None})
        (asked,) = service.questions
    assert asked.body["max_completion_tokens"] == 9
    assert not {"max_tokens", "seed"} & set(asked.body)


@pytest.mark.parametrize("body", [{}, [], {"choices": []}, {"choices": [{"text": "old"}]}, {"choices": ["a"]}])
def test_an_answer_of_another_kind_is_refused_at_setup(body: object) -> None:
    with (
        serve(lambda _asked, _number: Scripted(body=body)) as service,
        pytest.raises(ServiceError, match=r"holds no choices\[0\]\.message\.content") as error,
    ):
        propose(service.url)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    "choice",
    [
        {"message": {"content": None}, "finish_reason": "content_filter"},
        {"message": {"content": "1. a c"}, "finish_reason": "content_filter"},
        {"message": {"content": None, "refusal": "I cannot\nhelp with that."}, "finish_reason": "stop"},
        {"message": {"content": [{"type": "refusal", "refusal": "I cannot help with that."}]}},
    ],
)
def test_a_model_that_refuses_to_answer_is_a_refusal_in_its_own_words(choice: dict[str, Any]) -> None:
    def answer(asked: Asked, _number: int) -> Scripted:
        return completion("yes") if asked.greeting else Scripted(body={"choices": [choice]})

    with (
        serve(answer) as service,
        pytest.raises(RefusedError, match=r"refuses to answer \((content_filter|I cannot help with that.)\)"),
    ):
        propose(service.url, request())


@pytest.mark.parametrize(
    ("message", "proposals"),
    [
        ({"content": [{"type": "text", "text": "1. a cat"}]}, Proposals(prompts=("a cat",))),
        (
            {"content": [{"type": "reasoning", "text": "1. hm"}, {"type": "output_text", "text": "1. a cat"}]},
            Proposals(prompts=("a cat",)),
        ),
        ({"content": None, "reasoning_content": "1. hm\n2. so"}, Proposals(prompts=(), refused={"reasoning": 2})),
        ({"reasoning": "hm"}, Proposals(prompts=(), refused={"reasoning": 1})),
    ],
)
def test_a_message_may_come_in_parts_or_as_thought_alone(message: dict[str, Any], proposals: Proposals) -> None:
    def answer(asked: Asked, _number: int) -> Scripted:
        return completion("yes") if asked.greeting else Scripted(body={"choices": [{"message": message}]})

    with serve(answer) as service:
        assert propose(service.url, request()) == [proposals]


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        ({"code": "content_policy_violation", "message": "no blood"}, RefusedError, "no blood"),
        ({"code": "invalid_api_key", "message": "who are you"}, DeniedError, "who are you"),
        ({"message": "the engine is restarting"}, ServiceError, "the engine is restarting"),
    ],
)
def test_an_error_with_status_200_is_told_in_the_services_own_words(
    error: dict[str, str], kind: type[Exception], words: str
) -> None:
    with (
        serve(lambda asked, _n: completion("yes") if asked.greeting else Scripted(body={"error": error})) as service,
        pytest.raises(kind, match=words),
    ):
        propose(service.url, request(), retries=0)


@pytest.mark.parametrize(
    "answer", [Scripted(status=503), Scripted(status=429), Scripted(body={"error": {"code": 502}}), Scripted(body="{")]
)
def test_what_a_busy_service_answers_is_a_disturbance(answer: Scripted) -> None:
    with (
        serve(lambda asked, _number: completion("yes") if asked.greeting else answer) as service,
        pytest.raises(ServiceError),
    ):
        propose(service.url, request(), retries=0)


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
        with pytest.raises(CallRefusedError, match=r"RefusedError: .*refuses the request \(400 no dogs\)"):
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
        pytest.raises(PoolBrokenError, match=r"wants a key \(401 who\?\)") as error,
    ):
        role = Role(name="proposer", make=OpenAIProposer, arguments={"base_url": service.url, "model": "a-model"})
        in_pool(role, use)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.usefixtures("ray")
def test_a_key_that_is_withdrawn_makes_the_role_unavailable_at_once() -> None:
    async def use(pool: ActorPool) -> None:
        with pytest.raises(RoleUnavailableError, match=r"^proposer: .* since .*wants a key \(401 gone\)") as error:
            await pool.call("propose", request())
        assert len(str(error.value).splitlines()) == 1

    def answer(asked: Asked, _number: int) -> Scripted:
        return completion("yes") if asked.greeting else Scripted(status=401, body={"detail": "gone"})

    with serve(answer) as service:
        role = Role(name="proposer", make=OpenAIProposer, arguments={"base_url": service.url, "model": "a-model"})
        in_pool(role, use)


def test_in_json_the_service_is_held_to_a_schema_and_the_instruction_says_so() -> None:
    answer = completion('{"prompts": ["a cat, fog", "a cat, neon"]}')
    with serve(lambda _asked, _number: answer) as service:
        assert propose(service.url, request(), mode="json") == [Proposals(prompts=("a cat, fog", "a cat, neon"))]
        (asked,) = service.questions
    held = asked.body["response_format"]["json_schema"]
    assert asked.body["response_format"]["type"] == "json_schema"
    assert held["strict"] is True
    assert held["schema"]["properties"]["prompts"]["maxItems"] == request().count
    assert asked.body["messages"][0]["content"].endswith(f"whose list holds the {request().count} prompts.")


def test_an_answer_that_broke_off_at_the_service_is_said_in_its_words() -> None:
    broken = Scripted(body={"choices": [{"error": {"message": "upstream died"}, "message": {"content": ""}}]})
    with (
        serve(lambda asked, _number: completion("Yes.") if asked.greeting else broken) as service,
        pytest.raises(ServiceError, match=r"the answer broke off: upstream died; ask again"),
    ):
        propose(service.url, request())
