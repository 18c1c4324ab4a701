"""Blindness against a participant who has read the source: they know all but the seed, and see their own trials."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from studies.design.making import make_pairs
from studies.design.pairs import design_pairs
from studies.design.steered_images import SteeredImages, read_steered_images
from studies.sequence import order_block
from studies.session import StudySession
from studies.store.store import Store
from studies.study import Study
from tests.studies.conftest import Build
from tests.studies.test_session import somebody, take

SUBJECTS = {f"p{n}": f"subject {n}" for n in range(12)}
SHAPE = {"others": 1, "block": 40, "practice": 0, "attention": 0}


@pytest.fixture
def runs(run_folder: Build) -> list[Path]:
    return [run_folder(generic={"hpsv3": 250}, prompts=SUBJECTS)]


def made(runs: list[Path], out: Path, **more: Any) -> Study:
    choices: Mapping[str, Any] = {"block": 40, "practice": 0, "attention": 0, "repeats": 0.0, **more}
    return make_pairs(read_steered_images(runs), runs, out, others=1, choices=choices)


def met_by_first(study: Study) -> list[tuple[str, tuple[str, str]]]:
    """What the first participant saw: the subject of each trial, and, unknown to them, the conditions of its sides."""
    session = StudySession(study, Store(study.database), approve_all=True)
    questions = take(session, somebody(session))
    assert len(questions) > 30
    shown = [tuple(study.items[item or ""].condition_for(None) for item in (q.left, q.right)) for q in questions]
    return [(q.trial.prompt_id, (left, right)) for q, (left, right) in zip(questions, shown, strict=True)]


def replayed(images: SteeredImages, seed: int, block: int) -> list[tuple[str, tuple[str, str]]]:
    """What the source code says the first participant meets in a block, if this is the seed."""
    design = design_pairs(images, seed=seed, only_own_of=None, **SHAPE)
    trials = {t.trial_id: t for t in design.trials if t.block == block}
    order = order_block(list(trials.values()), [], block=block, repeats=0.0, swapped=False, seed=f"{seed}/1/{block}")
    found = []
    for assigned in order:
        trial = trials[assigned.trial_id]
        left, right = (design.items[item or ""].condition_for(None) for item in (trial.left, trial.right))
        found.append((trial.prompt_id, (left, right)))
    return found


def guesses(study: Study, images: SteeredImages, seeds: list[int]) -> float:
    """Share of the trials whose conditions are told right from the order of subjects by trying out seeds."""
    seen = met_by_first(study)
    for seed in seeds:
        for block in study.blocks:
            told = replayed(images, seed, block)
            if [subject for subject, _ in told] == [subject for subject, _ in seen]:
                return sum(a == b for (_, a), (_, b) in zip(told, seen, strict=True)) / len(seen)
    return 0.0


def test_a_seed_that_is_known_tells_every_condition_from_the_order_of_subjects(
    runs: list[Path], tmp_path: Path
) -> None:
    images = read_steered_images(runs)

    assert guesses(made(runs, tmp_path / "known", seed=0), images, [0]) == 1
    assert guesses(made(runs, tmp_path / "tried", seed=17), images, list(range(20))) == 1


def test_the_default_seed_is_secret_and_tells_nothing(runs: list[Path], tmp_path: Path) -> None:
    images, studies = read_steered_images(runs), [made(runs, tmp_path / f"s{n}") for n in range(2)]

    assert guesses(studies[0], images, list(range(50))) == 0
    assert studies[0].settings.seed != studies[1].settings.seed
    assert min(study.settings.seed for study in studies) > 2**40
    assert met_by_first(studies[1]) != met_by_first(made(runs, tmp_path / "third"))
