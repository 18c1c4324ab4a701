"""What the pages speak of, small and made in seconds: a finished run, a checkpoint, a new person's ratings, votes."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.search.cohort import Cohort
from pipelines.search.notices import Check, Notice
from pipelines.search.rounds import Candidate
from pipelines.search.trajectory import Trajectory
from pipelines.settings.search import SearchSettings
from predictor.data.dataset import read_dataset
from predictor.fitting import fit
from predictor.simulation.dataset import simulate
from predictor.simulation.raters import write_truth
from tests.histories import pooled_history, write_records
from tests.predictor.conftest import BRIEF, write_images
from tests.studies.conftest import picture, rater

GREYS = {"u01": 60, "u02": 130, "u03": 210}
PROMPTS = {"p1": "a pagoda above a lake", "p2": "a cup of coffee"}

LACKS_KEY_WORDS = Notice(check=Check.SUBJECT, measured=0.1, limit=0.6, words="lacks the key words of the base prompt")


@pytest.fixture(scope="session")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a reader of the pages works. Not to be changed."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "prompts.txt").write_text("\n".join(PROMPTS.values()) + "\n", "utf-8")
    write_run(folder / "runs" / "first")
    write_checkpoint(folder)
    for number in range(1, 5):
        picture(40 * number, folder / "images" / f"{number}.png")
    rows = [f"images/{number}.png,{2 * number - 1}" for number in range(1, 5)]
    (folder / "ada.csv").write_text("\n".join(["image,rating", *rows]) + "\n", "utf-8")
    four = " ".join(f"images/{number}.png" for number in range(1, 5))
    (folder / "choices.csv").write_text(f"shown,chosen,worst\n{four},images/3.png,images/1.png\n", "utf-8")
    (folder / "likes.csv").write_text("image,liked\nimages/2.png,1\nimages/4.png,0\n", "utf-8")
    (folder / "votes.csv").write_text(votes(), "utf-8")
    return folder


@pytest.fixture
def workplace(things: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it that may be changed, as the current folder."""
    folder = Path(shutil.copytree(things, tmp_path / "work"))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PAMELA_CACHE", str(things / "cache"))
    return folder


def write_run(folder: Path) -> None:
    """A run folder in the real layout: three people who like one grey each, two prompts, one iteration."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}\n", "utf-8")
    histories = []
    for prompt_id, prompt in PROMPTS.items():
        trajectories = [
            Trajectory(
                user=user,
                user_ids=(user,),
                prompt_id=prompt_id,
                base_prompt=prompt,
                scorer="pamela",
                run=1,
                image_seed=1,
                seed=0,
            )
            for user in GREYS
        ]
        proposed: list[Any] = []
        for place, (user, grey) in enumerate(GREYS.items()):
            keys = [f"{prompt_id}-{grey + 12}", f"{prompt_id}-{grey + 6}", f"{prompt_id}-{grey}"]
            found = [
                (Candidate(prompt=f"{prompt}, {key}", image=key), np.where(np.arange(len(GREYS)) == place, score, 0.15))
                for key, score in zip(keys, (0.2, 0.3, 0.9), strict=True)
            ]
            rejected = Candidate(prompt="a dog", rejected=LACKS_KEY_WORDS)
            proposed.append(([user], [*found, (rejected, [])]))
        base = Candidate(prompt=prompt, image=f"{prompt_id}-100")
        cohort = Cohort(f"{prompt_id}/pamela/1", tuple(trajectories))
        histories.append(pooled_history(cohort, [(list(GREYS), [(base, [0.1] * len(GREYS))])], proposed))
        for image in histories[-1].images:
            picture(int(image.key.rpartition("-")[2]), folder / "images" / image.key[:2] / f"{image.key}.png")
    write_records(histories, SearchSettings(iterations=1, share="pool"), folder)
    write_truth([rater(user, grey) for user, grey in GREYS.items()], folder / "truth.parquet")


def write_checkpoint(folder: Path) -> None:
    """Three epochs on 20 little images; it knows u01 to u04."""
    rated = folder / "my_dataset"
    rated.mkdir()
    write_images(rated, 20)
    simulate(rated, raters=4, ratings_per_image=4, seed=0)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PAMELA_CACHE", str(folder / "cache"))
        fit(read_dataset(rated), BRIEF, seed=1).save_pretrained(folder / "checkpoint")


def votes() -> str:
    """Four people who mostly like `own` better, under column names of somebody else's."""
    lines = ["participant,prompt_id,model_x,model_y,winner"]
    for person in range(4):
        for prompt in range(5):
            lines.append(f"ann{person},p{prompt},own,initial,{'right' if person == prompt else 'left'}")
            lines.append(f"ann{person},p{prompt},initial,other,{'right' if prompt % 2 else 'left'}")
    return "\n".join(lines) + "\n"
