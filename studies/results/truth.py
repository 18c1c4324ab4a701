"""Run folders judged by raters whose taste is known: the proof before people are asked."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from predictor.data.image_files import read_image
from predictor.data.tables import read_table
from predictor.simulation.attributes import measure
from predictor.simulation.raters import read_truth
from predictor.simulation.verdict import Steered, Verdict, judge
from studies.design.steered_images import ENDED, image_file


def judge_runs(folders: Sequence[Path], truth: Path) -> Verdict:
    """What the raters of `truth` (a truth.parquet) think of the images of one or several runs.

    Raises
    ------
    ValueError
        A folder holds no finished run, an image is missing or does not read, `truth` is no such file, or fewer than two
        users of the runs are in it.
    """
    if not truth.is_file():
        raise ValueError(f"{truth}: no such file; it lies in the checkpoint that simulated raters were learnt from")
    cases: list[Steered] = []
    attributes: dict[str, NDArray[np.float64]] = {}
    for number, folder in enumerate(folders):
        for row in _finished(folder):
            images = {part: f"{number}/{row[f'{part}_image']}" for part in ("initial", "final")}
            for part, key in images.items():
                if key not in attributes:
                    attributes[key] = _measure(folder, row[f"{part}_image"])
            prompt_id = f"{number}/{row['prompt_id']}"
            cases.append(Steered(user=row["user"], prompt_id=prompt_id, run=row["run"], **images))
    verdict = judge(cases, attributes, read_truth(truth))
    if verdict is None:
        raise ValueError(f"{truth}: knows fewer than two of the users that these runs steered for; nothing to compare")
    return verdict


def common_truth(folders: Sequence[Path]) -> Path:
    """The truth.parquet that all the runs share.

    Raises
    ------
    ValueError
        A run has none, or the runs were steered for different people.
    """
    truths = [folder / "truth.parquet" for folder in folders]
    for folder, truth in zip(folders, truths, strict=True):
        if not (folder / "run.json").is_file():
            raise ValueError(f"{folder}: not a run folder, run.json is missing; name a folder that steer-batch wrote")
        if not truth.is_file():
            raise ValueError(f"{truth}: no such file; only runs for simulated raters have a known truth")
        if truth.read_bytes() != truths[0].read_bytes():
            raise ValueError(f"{folder} and {folders[0]}: steered for different people; judge them one by one")
    return truths[0]


def _finished(folder: Path) -> list[dict]:
    needed = ["user", "prompt_id", "run", "scorer", "initial_image", "final_image", "stop_reason"]
    rows = read_table(folder / "trajectories.parquet", required=needed).to_pylist()
    done = [r for r in rows if r["scorer"] == "pamela" and r["stop_reason"] in ENDED]
    if not done:
        raise ValueError(f"{folder}: holds no finished trajectory of scorer pamela; finish the run first")
    return done


def _measure(folder: Path, key: str) -> NDArray[np.float64]:
    return measure(read_image(image_file(folder, key)))
