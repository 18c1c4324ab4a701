import subprocess
import sys

import pytest

from actors.proposers.chat.openai_proposer import OpenAIProposer
from actors.proposers.chat.transformers_proposer import TransformersProposer
from actors.proposers.chat.vllm_proposer import VLLMProposer
from actors.proposers.lexicon import Lexicon
from pipelines.planning.roles import proposer_identity, proposer_role
from pipelines.settings.proposer import LexiconSettings, TransformersSettings
from pipelines.settings.settings import load_settings, reproducibility_key

SERVICE = ("proposer.kind=openai", "proposer.model=a-model", "proposer.base_url=http://127.0.0.1:8000/v1/")
LLAMA = ("proposer.kind=transformers", "proposer.model=meta-llama/Llama-3.2-1B-Instruct")


def refusal(*overrides: str) -> str:
    with pytest.raises(ValueError, match="setting") as error:
        load_settings("embedded", overrides)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


@pytest.mark.parametrize("recorded", [{}, {"proposer": {}}, {"proposer": {"timeout_s": 60}}])
def test_the_proposer_is_the_lexicon_unless_another_is_named(recorded) -> None:
    settings = load_settings("embedded", ["proposer.timeout_s=5"], recorded=recorded)
    assert settings.proposer == LexiconSettings(timeout_s=5)
    assert proposer_role(settings.proposer).make is Lexicon


def test_a_language_model_is_chosen_by_its_kind_and_keeps_the_presets_placement() -> None:
    settings = load_settings("embedded", [*LLAMA, "proposer.temperature=0.7", "proposer.num_gpus=0.5"])
    assert isinstance(settings.proposer, TransformersSettings)
    role = proposer_role(settings.proposer)
    assert role.make is TransformersProposer
    assert (role.num_gpus, role.timeout_s) == (0.5, 300)
    assert role.arguments["temperature"] == 0.7
    assert isinstance(role.make(**role.arguments), TransformersProposer)


def test_recorded_settings_give_the_same_proposer_again() -> None:
    settings = load_settings("embedded", LLAMA)
    assert load_settings("embedded", recorded=settings.model_dump(mode="json")) == settings


def test_the_model_decides_the_records_and_its_placement_does_not() -> None:
    plain, placed, warmer = (
        reproducibility_key(load_settings("embedded", [*LLAMA, *more]))
        for more in ([], ["proposer.actors=4"], ["proposer.temperature=2"])
    )
    assert plain == placed != warmer
    assert plain["proposer"]["model"] == "meta-llama/Llama-3.2-1B-Instruct"


def test_an_unknown_key_is_refused_with_those_of_the_chosen_kind() -> None:
    lexicon, llama = refusal("proposer.model=x"), refusal(*LLAMA, "proposer.top_k=5")
    assert lexicon.startswith("unknown setting 'proposer.model'; there are actors,")
    assert "top_p" not in lexicon
    assert llama.startswith("unknown setting 'proposer.top_k'; there are actors,")
    assert "top_p" in llama
    assert "size" in refusal("renderer.sizes=5")
    assert "protocol" in refusal("colour=5")


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["proposer.kind=transformers"], "setting proposer.model: field required"),
        (["proposer.kind=gpt"], "'gpt'"),
        (["proposer.kind=gpt"], "'lexicon', 'transformers', 'vllm', 'openai'"),
        ([*LLAMA, "proposer.top_p=1.5"], "setting proposer.top_p: input should be less than or equal to 1, got 1.5"),
        ([*LLAMA, "proposer.resources.a100=x"], "setting proposer.resources.a100: input should be a valid number"),
        (["proposer=lexicon"], "setting proposer: "),
    ],
)
def test_a_value_that_does_not_fit_is_named_by_its_key(overrides: list[str], problem: str) -> None:
    assert problem in refusal(*overrides)


def test_a_service_is_chosen_by_its_kind_and_where_it_is_does_not_decide_the_records() -> None:
    here = load_settings("embedded", [*SERVICE, "proposer.mode=samples"])
    there = load_settings(
        "embedded", [*SERVICE, "proposer.mode=samples", "proposer.base_url=https://api.example.org/v1"]
    )
    role = proposer_role(here.proposer)
    assert role.make is OpenAIProposer
    assert isinstance(role.make(**role.arguments), OpenAIProposer)
    assert (role.arguments["base_url"], role.arguments["mode"]) == ("http://127.0.0.1:8000/v1", "samples")
    assert reproducibility_key(here) == reproducibility_key(there)
    assert reproducibility_key(here) != reproducibility_key(load_settings("embedded", SERVICE))
    assert set(proposer_identity(here.proposer)) == {"instruction"}


def test_vllm_is_chosen_by_its_kind_and_how_it_spreads_does_not_decide_the_records() -> None:
    llama = ["proposer.kind=vllm", "proposer.model=meta-llama/Llama-3.1-8B-Instruct"]
    one = load_settings("embedded", llama)
    two = load_settings("embedded", [*llama, "proposer.num_gpus=2", "proposer.tensor_parallel_size=2"])
    role = proposer_role(two.proposer)
    assert role.make is VLLMProposer
    assert isinstance(role.make(**role.arguments), VLLMProposer)
    assert reproducibility_key(one) == reproducibility_key(two)
    assert "2 GPUs and num_gpus gives 1; set both" in refusal(
        *llama, "proposer.num_gpus=1", "proposer.tensor_parallel_size=2"
    )


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("proposer.base_url=https://me:pa55@example.org/v1", "must hold no user, password or query"),
        ("proposer.base_url=https://example.org/v1?key=pa55", "must hold no user, password or query"),
        ("proposer.base_url=example.org/pa55", "must be a URL such as https://api.openai.com/v1"),
        ("proposer.api_key_env=sk-pa55", "must be the name of an environment variable, such as OPENAI_API_KEY"),
        ("proposer.request_timeout_s=300", "request_timeout_s must be less than timeout_s"),
    ],
)
def test_what_may_be_a_secret_is_refused_and_not_shown(override: str, problem: str) -> None:
    message = refusal(*SERVICE, override)
    assert problem in message
    assert "pa55" not in message


def test_choosing_a_language_model_loads_neither_torch_nor_transformers() -> None:
    program = (
        "import sys; from pipelines.settings.settings import load_settings;"
        "from pipelines.planning.roles import proposer_role;"
        f"proposer_role(load_settings('embedded', {LLAMA!r}).proposer);"
        "print(sorted({'torch', 'transformers', 'vllm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
