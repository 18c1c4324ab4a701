"""The embedded preset's own predictor: made once on this machine, kept in the cache, checked against a known truth.

The darkroom develops its photographs in over a thousand ways, simulated raters rate the images, and the PAMELA model is
trained on the ratings. Only the raters are simulated, so that their true taste is known and a run can be judged by it.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv

from actors.messages import ProposalRequest, RenderRequest
from actors.proposers.lexicon import Lexicon
from actors.renderers.darkroom.darkroom import Darkroom
from pipelines.search.trajectory import derive_seed
from predictor.checkpoint import is_whole
from predictor.data.folders import new_folder, remove_unfinished, waiting_for_lock
from predictor.encoders.cache import cache_folder
from predictor.encoders.efficientnet import EfficientNetLite0
from predictor.encoders.minilm import MiniLM
from predictor.progress import Progress
from predictor.threads import one_blas_thread, thread_map

VERSION = 10
"""Raise it whenever the same photographs and recipe would give another checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedRecipe:
    """The size of the simulated dataset, and of the training."""

    raters: int = 12
    images: int = 1400
    ratings_per_image: int = 8
    epochs: int = 30
    seed: int = 0


def embedded_checkpoint(
    darkroom: Darkroom,
    recipe: EmbeddedRecipe = EmbeddedRecipe(),
    *,
    progress: Progress = lambda what, done, total: None,
    announce: Callable[[str], None] = lambda line: None,
) -> Path:
    """The folder of the checkpoint for a darkroom's photographs, made if the cache does not hold it.

    Beside the checkpoint's own files it holds `truth.parquet`, the taste of its raters.
    """
    if (existing := existing_checkpoint(darkroom, recipe)) is not None:
        return existing
    folder = _place(darkroom, recipe)
    folder.parent.mkdir(parents=True, exist_ok=True)
    waiting = f"Another process is making the checkpoint {folder}: waiting for it"
    with waiting_for_lock(folder.parent, f".{folder.name}.lock", on_wait=lambda: announce(waiting)):
        if existing_checkpoint(darkroom, recipe) is None:  # nobody has made it meanwhile
            remove_unfinished(folder)
            announce(f"No checkpoint for these photographs yet: making one in {folder} (once, a minute or two)")
            _make(darkroom, recipe, folder, progress)
    return folder


def _make(darkroom: Darkroom, recipe: EmbeddedRecipe, folder: Path, progress: Progress) -> None:
    """Develop prints, have them rated, train on the ratings; the checkpoint is there whole, or not at all."""
    from predictor.data.dataset import read_dataset
    from predictor.fitting import fit
    from predictor.simulation.dataset import simulate
    from predictor.transformer.training import RECIPES

    prefix = f".{folder.name}.prints-"
    with new_folder(folder) as made, tempfile.TemporaryDirectory(prefix=prefix, dir=folder.parent) as scratch:
        dataset = Path(scratch) / "dataset"
        _develop(darkroom, recipe, dataset, progress)
        simulate(
            dataset,
            raters=recipe.raters,
            ratings_per_image=recipe.ratings_per_image,
            seed=recipe.seed,
            on_image=lambda done, total: progress("raters look at prints", done, total),
        )
        training = replace(RECIPES["small"], epochs=recipe.epochs)
        predictor = fit(read_dataset(dataset, seed=recipe.seed), training, seed=recipe.seed, progress=progress)
        predictor.save_pretrained(made)
        shutil.copy(dataset / "truth.parquet", made / "truth.parquet")


def existing_checkpoint(darkroom: Darkroom, recipe: EmbeddedRecipe = EmbeddedRecipe()) -> Path | None:
    """The checkpoint for a darkroom's photographs, if the cache holds it."""
    folder = _place(darkroom, recipe)
    return folder if is_whole(folder) else None


def _place(darkroom: Darkroom, recipe: EmbeddedRecipe) -> Path:
    """The checkpoint's folder; its name hashes all that decides the checkpoint."""
    encoders = [EfficientNetLite0.fingerprint, MiniLM.fingerprint]
    content = json.dumps([VERSION, asdict(recipe), darkroom.identity(), encoders], sort_keys=True)
    return cache_folder() / "embedded" / hashlib.sha256(content.encode()).hexdigest()[:16]


def _develop(darkroom: Darkroom, recipe: EmbeddedRecipe, dataset: Path, progress: Progress) -> None:
    """Develop each photograph once plainly, then by proposals and variations of proposals, as a search does.

    Plain developments of one photograph differ only in their grain. More than one would put the same image into
    training and test.
    """
    (dataset / "images").mkdir(parents=True)
    darkroom.setup()
    subjects = [photograph.caption for photograph in darkroom.library.photographs]

    def develop(number: int) -> dict[str, str]:
        request, subject = print_request(number, subjects, recipe)
        file = f"images/{number:04d}.png"
        (dataset / file).write_bytes(darkroom.render(request).png)
        return {"image_id": f"{number:04d}", "file": file, "prompt": subject}

    rows = []
    with one_blas_thread:  # entered and left here, as its users inside, the encoder of prompts, are on other threads
        for row in thread_map(develop, range(recipe.images)):
            rows.append(row)
            progress("developing prints", len(rows), recipe.images)
    pa_csv.write_csv(pa.Table.from_pylist(rows), dataset / "images.csv")


def print_request(number: int, subjects: Sequence[str], recipe: EmbeddedRecipe) -> tuple[RenderRequest, str]:
    """What the print of a number in the simulated dataset is developed by, and its subject.

    Parameters
    ----------
    subjects
        The captions of the photographs.
    """
    subject = subjects[number % len(subjects)]
    seed = derive_seed("embedded", recipe.seed, number)
    lexicon, prompt = Lexicon(), subject
    for depth in range(0 if number < len(subjects) else 1 + number % 3):
        request = ProposalRequest(base_prompt=subject, best_prompt=prompt, best_score=0.0, count=1, seed=seed + depth)
        prompt = lexicon.propose(request).prompts[0]
    return RenderRequest(prompt=prompt, seed=seed), subject
