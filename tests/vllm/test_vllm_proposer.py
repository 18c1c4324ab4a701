"""The proposer on vLLM itself, as an actor on a real Ray: `make test-vllm`. Skipped where vLLM is not installed."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import pytest

from actors.messages import ProposalRequest, Proposals
from actors.pool.actor_pool import ActorPool, CallFailedError, PoolBrokenError
from actors.pool.cluster import connect, disconnect
from actors.pool.role import Role
from actors.proposers.chat.vllm_proposer import VLLMProposer
from tests.chat_checkpoint import LOOKS, tiny_chat_llama

T = TypeVar("T")

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed; make test-vllm installs it apart"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_llama(tmp_path_factory.mktemp("llama"), subject="a cat")


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    connect("local")
    yield
    disconnect()


def role(folder: Path, **options: Any) -> Role:
    arguments = {"model": str(folder), "max_new_tokens": 60}
    arguments |= {"dtype": "float32", "max_model_len": 256, "enforce_eager": True, **options}
    return Role(name="proposer", make=VLLMProposer, arguments=arguments, in_flight=10, timeout_s=200)


def request(seed: int = 0, prompt: str = "a cat") -> ProposalRequest:
    return ProposalRequest(base_prompt=prompt, best_prompt=prompt, best_score=0.5, count=3, seed=seed)


def in_pool(pool_role: Role, use: Callable[[ActorPool], Awaitable[T]]) -> T:
    async def main() -> T:
        pool = ActorPool(pool_role)
        try:
            await pool.start()
            return await use(pool)
        finally:
            pool.stop()

    return asyncio.run(main())


def engines() -> set[int]:
    """Processes of vLLM: they name themselves so."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue  # it has just ended
        if command.startswith(b"VLLM::") and state != "Z":
            found.add(int(process.name))
    return found


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition():
        time.sleep(0.1)
    return condition()


def test_ten_requests_at_once_become_proposals_the_seed_decides_and_no_process_is_left(folder: Path) -> None:
    before = engines()

    async def use(pool: ActorPool) -> tuple[list[Proposals], list[Proposals]]:
        assert engines() - before
        asked = [request(seed) for seed in range(10)]
        answers = await asyncio.gather(*(pool.call("propose", one) for one in asked))
        again = [await pool.call("propose", one) for one in asked[:3]]
        return [proposals for _, proposals in answers], [proposals for _, proposals in again]

    at_once, alone = in_pool(role(folder), use)

    prompts = [prompt for proposals in at_once for prompt in proposals.prompts]
    assert len(prompts) >= 20
    assert sum(prompt in {f"a cat, {look}" for look in LOOKS} for prompt in prompts) >= 15
    assert len({proposals.prompts for proposals in at_once}) > 5
    assert alone == at_once[:3]  # in float32; in bfloat16 the load may tell
    assert wait_until(lambda: engines() == before)


def test_samples_are_as_many_answers_as_prompts_are_wanted(folder: Path) -> None:
    async def use(pool: ActorPool) -> list[str]:
        _, answers = await pool.call("answers", request())
        _, proposals = await pool.call("propose", request())
        assert len(proposals.prompts) <= 3
        return [answer.text for answer in answers]

    texts = in_pool(role(folder, mode="samples"), use)
    assert len(texts) == 3
    assert len(set(texts)) > 1


def test_an_engine_that_was_killed_is_replaced_and_an_actor_that_was_killed_leaves_none(folder: Path) -> None:
    before = engines()

    async def use(pool: ActorPool) -> None:
        for engine in engines() - before:
            os.kill(engine, signal.SIGKILL)
        _, proposals = await pool.call("propose", request())
        assert proposals.prompts
        assert pool.replaced == 0
        assert (replaced := engines() - before)

        (slot,) = pool._replicas
        assert slot.actor is not None
        import ray

        ray.kill(slot.actor.handle)
        assert wait_until(lambda: not replaced & engines())

    in_pool(role(folder), use)
    assert wait_until(lambda: engines() == before)


def test_a_question_that_is_too_long_fails_alone_in_one_line(folder: Path, tmp_path: Path) -> None:
    heeding = shutil.copytree(folder, tmp_path / "heeding")
    (heeding / "chat_template.jinja").write_text("{{ messages[0].content }}<|turn|>assistant\n", "utf-8")
    (heeding / "instruction.txt").write_text("{requested_number} like {descriptions}", "utf-8")

    async def use(pool: ActorPool) -> None:
        with pytest.raises(CallFailedError) as error:
            await pool.call("propose", request(prompt="a cat " * 400))
        assert len(str(error.value).splitlines()) == 1
        assert "256" in str(error.value)
        _, answers = await pool.call("answers", request())
        assert answers

    in_pool(role(heeding, instruction=str(heeding / "instruction.txt")), use)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"model": "/no/such/model"}, "model '/no/such/model' cannot be loaded: "),
        ({"max_model_len": 100_000}, "vLLM's engine does not start for model "),
    ],
)
def test_an_engine_that_cannot_start_says_why_in_one_line_and_leaves_none(
    folder: Path, options: dict[str, Any], problem: str
) -> None:
    before = engines()

    async def use(_pool: ActorPool) -> None: ...

    with pytest.raises(PoolBrokenError) as error:
        in_pool(role(folder, **options), use)
    assert problem in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert wait_until(lambda: engines() == before)
