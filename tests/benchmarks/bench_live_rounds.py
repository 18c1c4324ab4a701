"""How many pictures a round of steer-live has to draw: true liking of what is kept, by the settings of the rounds.

    python tests/benchmarks/bench_live_rounds.py --raters 12 --seed 7 candidates=8 candidates=6 candidates=12,screen=4

Simulated raters whom the predictor has never seen, and whom no other benchmark of steer-live reports, answer 12
questions once. For each setting they go on from there: four prompts, five rounds of choosing, by what they like with
the noise of their ratings. In this process, without Ray and without pages; nothing looks at times.
"""

import argparse
import asyncio
import contextlib
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image
from rich.console import Console

from pipelines.live.catalogue import QuestionPictures
from pipelines.live.participant import Participant
from pipelines.live.people.folder import PeopleFolder, PersonFolder
from pipelines.live.people.person import LivePerson
from pipelines.live.people.personal_scorer import PersonalScorer
from pipelines.live.prompt_run import SteeringResources
from pipelines.live.serving import LIVE_SETTINGS
from pipelines.live.steered_prompt import SteeredPrompt
from pipelines.live.studio import Studio
from pipelines.planning.plan import Plan
from pipelines.planning.prompts import numbered
from pipelines.planning.request import RunRequest, plan_run
from pipelines.settings.scorer import PERSONAL
from predictor.metrics import bootstrap_mean
from predictor.simulation.attributes import measure
from predictor.simulation.raters import Rater, sample_raters
from tests.pipelines.conftest import without_ray

QUESTIONS, ROUNDS = 12, 5
PROMPTS = ("an orange flower in a garden", "a red motorcycle", "a smiling woman", "ancient coins")

Liking = Callable[[Path], float]


def true_liking(rater: Rater, file: Path) -> float:
    with Image.open(io.BytesIO(file.read_bytes())) as image:
        return float(rater.utility(measure(image)[None])[0])


def plan_with(settings: Sequence[str], scratch: Path) -> Plan:
    overrides = [f"protocol.{setting}" for setting in settings]
    request = RunRequest(
        users=("all",),
        prompts=numbered(["a picture"]),
        preset=None,
        overrides=(*LIVE_SETTINGS, *overrides),
        options={"scorers": ("pamela", "population")},
    )
    return plan_run(Console(quiet=True), request, scratch)


def get_to_know(person: Participant, pictures: QuestionPictures, liking: Liking) -> None:
    for _ in range(QUESTIONS):
        question = person.question()
        assert question is not None
        best = max(question.pictures, key=lambda shown: liking(pictures.file(shown.seen.id)))
        person.answer(question.number, best.seen.id, None, skipped=False)


async def steered(person: Participant, resources: SteeringResources, prompt: str, liking: Liking) -> tuple[Path, int]:
    """The file of the picture that is kept, and how many were drawn to choose from."""
    run = await person.begin(resources, prompt)

    def file(key: str) -> Path:
        return run.path / "images" / key[:2] / f"{key}.png"

    for number in range(ROUNDS + 1):
        await run.steered.settled(600)
        assert run.steered.stage == "choosing", run.steered.problem
        best = max(run.steered.four, key=lambda key: liking(file(key)))
        if number == ROUNDS:
            return file(best), run.steered.images
        await run.steered.choose(len(person.person.answers), run.steered.card(best).id)
    raise AssertionError("unreachable")


async def of_setting(
    studio: Studio,
    plan: Plan,
    known: Sequence[PersonFolder],
    raters: Sequence[Rater],
    prompts: Sequence[str],
    scratch: Path,
) -> tuple[np.ndarray, np.ndarray]:
    """True liking of what is kept, and images drawn, (raters, prompts) each."""
    assert studio.resources is not None and studio.pictures is not None
    kept, drawn = np.zeros((2, len(raters), len(prompts)))
    for who, (folder, rater) in enumerate(zip(known, raters, strict=True)):
        shutil.copytree(folder.path, scratch / folder.name)
        person = LivePerson(replace(folder, path=scratch / folder.name), studio.predictor.taste)
        participant = Participant(person, studio.predictor.taste, studio.pictures)
        pools = studio.resources.pools
        tastes = {person.name: person.taste}
        resources = replace(studio.resources, plan=plan, scorer=PersonalScorer(pools.scorers[PERSONAL], tastes))
        for place, prompt in enumerate(prompts):
            rng = np.random.default_rng([who, place])
            at_a_glance = lambda file: true_liking(rater, file) + rng.normal(0, rater.noise / 100)  # noqa: B023, E731
            file, drawn[who, place] = await steered(participant, resources, prompt, at_a_glance)
            kept[who, place] = true_liking(rater, file)
        await participant.close()
        shutil.rmtree(scratch / folder.name)
    return kept, drawn


async def measure_all(settings: Sequence[str], raters: Sequence[Rater], prompts: Sequence[str], scratch: Path) -> None:
    plans = {setting: plan_with(setting.split(","), scratch / "run") for setting in settings}
    with contextlib.closing(PeopleFolder(scratch / "people")) as people:
        studio = Studio(next(iter(plans.values())), people, ())
        studio.warm_up()
        while studio.resources is None:
            assert not studio.problem, studio.problem
            await asyncio.sleep(0.1)
        known = []
        for number, rater in enumerate(raters):
            participant = await studio.welcome(f"Rater {number}")
            assert studio.pictures is not None
            rng = np.random.default_rng([number, 0x51])
            at_a_glance = lambda file: true_liking(rater, file) + rng.normal(0, rater.noise / 100)  # noqa: B023, E731
            await asyncio.to_thread(get_to_know, participant, studio.pictures, at_a_glance)
            known.append(participant.person.folder)
        first: np.ndarray | None = None
        for setting, plan in plans.items():
            kept, drawn = await of_setting(studio, plan, known, raters, prompts, scratch)
            first = kept if first is None else first
            against = bootstrap_mean((kept - first).mean(1))
            values = {
                "setting": setting,
                "true_liking": round(float(kept.mean()), 4),
                "images": round(float(drawn.mean()), 1),
                "minus_first": [round(each, 4) for each in (against.value, against.ci_low, against.ci_high)],
                "cases": kept.size,
            }
            sys.stdout.write(json.dumps({"benchmark": "live rounds", **values}) + "\n")
            sys.stdout.flush()
        await studio.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("settings", nargs="+", help="KEY=VALUE of the protocol, several with commas between")
    parser.add_argument("--raters", type=int, default=12)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--prompts", type=int, default=4)
    options = parser.parse_args()
    unprepared = patch.object(SteeredPrompt, "_prepare_rounds", lambda self: None)  # it changes when, never what
    with tempfile.TemporaryDirectory() as scratch, without_ray(), unprepared:
        raters = sample_raters(options.raters, options.seed)
        asyncio.run(measure_all(options.settings, raters, PROMPTS[: options.prompts], Path(scratch)))


if __name__ == "__main__":
    main()
