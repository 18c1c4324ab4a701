"""steer-live on the presets whose models are large, with tiny checkpoints in their places: the whole way by HTTP."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.records.run_folder import read_about
from tests.chat_checkpoint import tiny_chat_llama
from tests.flux2_checkpoints import tiny_flux2, tiny_klein
from tests.pipelines.live.command import steer_live
from tests.pipelines.live.test_visit import brightness
from tests.pipelines.live.visitor import Visitor
from tests.pipelines.predictors import CONTENTS

ON_CPU = [
    *(f"{role}.num_gpus=0" for role in ("renderer", "proposer", "scorer")),
    "proposer.kind=transformers",  # vLLM lives in an environment of its own; see tests/vllm
]
SMALL = ["renderer.width=64", "renderer.height=64", "renderer.num_inference_steps=2", "proposer.max_new_tokens=80"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "renderer", "pipeline", "more"),
    [
        ("paper", tiny_flux2, "Flux2Pipeline", ["text_encoder.num_gpus=0"]),
        ("local", tiny_klein, "Flux2KleinPipeline", []),
    ],
)
def test_somebody_gets_from_the_link_to_a_verdict_on_generated_pictures(
    preset: str, renderer: Callable[[Path], Path], pipeline: str, more: list[str], tiny_predictor: Path, tmp_path: Path
) -> None:
    prompts, people = tmp_path / "prompts.txt", tmp_path / "people"
    prompts.write_text("a cup of coffee\na pagoda above a lake\n", "utf-8")
    models = [
        f"renderer.model={renderer(tmp_path / 'renderer')}",
        f"proposer.model={tiny_chat_llama(tmp_path / 'llama')}",
    ]
    settings = [*models, *ON_CPU, *SMALL, *more, "protocol.candidates=4"]
    options = ["--preset", preset, "--predictor", tiny_predictor, "--prompts", prompts]
    cache = {"PAMELA_CACHE": str(tmp_path / "cache")}
    with steer_live(people, *options, *(each for pair in settings for each in ("--set", pair)), variables=cache) as (
        process,
        link,
    ):
        visitor = Visitor(link)
        visitor.begin("Ada")
        assert len(visitor.answer_questions(brightness, 2)) == 2
        visitor.post("/know/stop")
        visitor.post("/prompts", prompt="a cup of coffee")
        first = visitor.wait_for_pictures()
        assert len({png for _, _, png in first}) == 4
        run = visitor.path
        visitor.post(f"{run}/choose", **visitor.hidden(), chosen=first[1][1])
        visitor.path = run
        following = visitor.wait_for_pictures()
        assert following[0][1] == first[1][1]
        visitor.post(f"{run}/keep", number=visitor.hidden()["number"], picture=following[0][1])
        visitor.wait_for("Kept.", run)
        assert "95% interval" in visitor.prove(brightness)
    assert process.returncode == 0
    assert questions_are_of_what_the_proposer_says(people / "Ada")
    (folder,) = (people / "Ada" / "runs").iterdir()
    assert read_about(folder)["reproducibility_key"]["renderer"]["pipeline"] == pipeline
    assert "All images are generated" in (folder / "gallery.html").read_text("utf-8")
    rows = pq.read_table(folder / "trajectories.parquet").to_pylist()
    assert {row["stop_reason"] for row in rows if row["user"] == "Ada"} == {"chosen"}
    assert read_about(folder)["zero_shot"]["p01"]["content"] in CONTENTS
    assert_the_person_is_judged_by_what_the_population_is(people / "Ada", folder)
    kept = pq.read_table(people / "Ada" / "images.parquet").to_pylist()
    assert kept and {row["content"] for row in kept} <= {*CONTENTS}


def questions_are_of_what_the_proposer_says(person: Path) -> bool:
    lines = (person / "answers.jsonl").read_text("utf-8").splitlines()
    shown = [picture for line in lines[:2] for picture in json.loads(line)["pictures"]]
    return len(shown) == 8 and {picture["prompt"] for picture in shown} <= {"a cup of coffee", "a pagoda above a lake"}


def assert_the_person_is_judged_by_what_the_population_is(person: Path, folder: Path) -> None:
    """The population's liking as it was seen for the person, and as its own search scored the same picture."""
    lines = [json.loads(line) for line in (person / "answers.jsonl").read_text("utf-8").splitlines()]
    pictures = [picture for line in lines if line.get("run") for picture in line.get("pictures", ())]
    seen = {Path(picture["file"]).stem: picture["seen"]["population"] for picture in pictures}
    scored = {
        row["image"]: row["scores"][0]
        for row in pq.read_table(folder / "scores.parquet").to_pylist()
        if row["scorer"] == "population"
    }
    both = seen.keys() & scored.keys()
    assert both
    assert [seen[key] for key in both] == pytest.approx([scored[key] for key in both], abs=1e-6)
