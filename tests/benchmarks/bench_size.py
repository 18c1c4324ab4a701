"""Training and evaluation on a million ratings of 300,000 images whose features are cached.

    python tests/benchmarks/bench_size.py [--ratings 1000000] [--images 300000] [--users 5000] [--folder FOLDER]

Three made-up datasets of 70, 25 and 5% of that size, each with a rating scale of its own, are trained on together by
`steer-predictor train`, and the largest is evaluated by `steer-predictor evaluate`, on seen and on unseen people. The
vectors are put into the feature cache, so that no image is decoded. The baseline of the same run is a product of two
matrices: how fast this machine computes. One JSON line a stage; memory is the peak of the command's resident set, of
which pages of files count as well.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from predictor.data.profiles import describe_image, describe_person
from predictor.encoders.cache import FeatureCache, file_content, text_content
from predictor.encoders.efficientnet import EfficientNetLite0
from predictor.encoders.minilm import MiniLM

DATASETS = {
    "photographs": (0.7, 1.0, 5.0, 0.1),
    "paintings": (0.25, 0.0, 100.0, -0.05),
    "generated": (0.05, 1.0, 7.0, 0.0),
}
"""Share of everything, lowest and highest rating, and by how much everybody rates higher, on the scale from 0 to 1."""

LATENT, PROMPTS, STYLES = 16, 2000, 12
LIMITS = {"train": (30 * 60, 8.0), "evaluate": (5 * 60, 8.0)}
"""Seconds and GB."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ratings", type=int, default=1_000_000)
    parser.add_argument("--images", type=int, default=300_000)
    parser.add_argument("--users", type=int, default=5_000)
    parser.add_argument("--folder", type=Path, default=None, help="keep everything there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        return measured(folder, given.ratings, given.images, given.users)


def measured(folder: Path, ratings: int, images: int, users: int) -> int:
    """Make the datasets where they are not there yet, and run the commands; how many of them miss a limit."""
    _tell({"stage": "a matrix product of 2e11 operations", "seconds": round(_matrix_product(), 1)})
    began = time.perf_counter()
    folders = []
    for number, (name, (share, low, high, offset)) in enumerate(DATASETS.items()):
        folders.append(folder / name)
        if not (folder / name / "dataset.yaml").is_file():
            sizes = (round(share * size) for size in (ratings, images, users))
            make(folder / name, folder / "cache", *sizes, scale=(low, high), offset=offset, seed=number)
    _tell({"stage": "make", "seconds": round(time.perf_counter() - began)})
    checkpoint = folder / "checkpoint"
    stages = {
        "train": ["train", *map(str, folders), "--out", str(checkpoint)],
        "evaluate, seen people": ["evaluate", str(checkpoint), str(folders[0]), "--split", "test_seen"],
        "evaluate, unseen people": ["evaluate", str(checkpoint), str(folders[0]), "--split", "test_unseen"],
    }
    missed = 0
    for stage, arguments in stages.items():
        seconds, cpu_s, peak_gb = _run(arguments, folder / "cache")
        most_s, most_gb = LIMITS[stage.partition(",")[0]]
        missed += seconds > most_s or peak_gb > most_gb
        _tell({"stage": stage, "seconds": round(seconds), "cpu_s": round(cpu_s), "peak_gb": round(peak_gb, 2)})
    metrics = json.loads((checkpoint / "metrics.json").read_text("utf-8"))
    of = {"personal": metrics["user"], "generic head": metrics["baselines"]["generic_head"]["user"]}
    of |= {name: own["user"] for name, own in metrics["datasets"].items()}
    _tell({"stage": "SROCC, seen people", **{name: round(own["srocc"]["value"], 3) for name, own in of.items()}})
    return missed


def make(
    folder: Path,
    cache: Path,
    ratings: int,
    images: int,
    users: int,
    *,
    scale: tuple[float, float],
    offset: float,
    seed: int,
) -> None:
    """A dataset folder, whose images' and texts' vectors are in the cache."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(images, LATENT)).astype(np.float32)
    prompt, style = rng.integers(0, PROMPTS, images), rng.integers(0, STYLES, images)
    files = [f"{number // 1000:03d}/{number:06d}.png" for number in range(images)]
    kept, entries = FeatureCache(EfficientNetLite0.fingerprint, cache), _kept_images(folder, files, latent)
    while some := list(islice(entries, 4096)):
        kept.put(some)
    table = {
        "image_id": [f"{number:06d}" for number in range(images)],
        "file": files,
        "prompt": [f"a picture of subject {number}" for number in prompt.tolist()],
        "style": [f"style {number}" for number in style.tolist()],
    }
    pq.write_table(pa.table(table), folder / "images.parquet")
    age = rng.integers(18, 80, users)
    people = pa.table({"user_id": [f"u{number:05d}" for number in range(users)], "age": age})
    pq.write_table(people, folder / "users.parquet")
    texts = {*table["prompt"], *filter(None, map(describe_person, people.to_pylist()))}
    texts |= {described for name in set(table["style"]) if (described := describe_image({"style": name}))}
    FeatureCache(MiniLM.fingerprint, cache).put(
        (text_content(text), np.random.default_rng(list(text.encode())).normal(size=384).astype(np.float32))
        for text in sorted(texts)
    )
    user = np.repeat(np.arange(users), -(-ratings // users))[:ratings]
    image = np.concatenate(
        [rng.choice(images, len(own), replace=False) for own in np.split(user, np.flatnonzero(np.diff(user)) + 1)]
    )
    low, high = scale
    rating = low + (high - low) * _liked(rng, latent, user, image, users, offset)
    rated = {
        "user_id": people["user_id"].take(pa.array(user)),
        "image_id": pa.array(table["image_id"]).take(pa.array(image)),
        "rating": rating,
    }
    pq.write_table(pa.table(rated), folder / "ratings.parquet")
    (folder / "dataset.yaml").write_text(f"name: {folder.name}\nrating_min: {low}\nrating_max: {high}\n", "utf-8")


def _kept_images(
    folder: Path, files: list[str], latent: NDArray[np.float32]
) -> Iterator[tuple[bytes, NDArray[np.float32]]]:
    """Write the files, which hold nothing but their names; and the vectors that they would be encoded to."""
    rng = np.random.default_rng(7)  # the encoder is the same for all datasets
    width = EfficientNetLite0().dimensions
    mixed = rng.normal(size=(LATENT, width)).astype(np.float32)
    for number, file in enumerate(files):
        path, data = folder / file, f"{folder.name}/{file}".encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        noise = np.random.default_rng([1, number]).normal(size=width).astype(np.float32)
        yield file_content(data), latent[number] @ mixed + noise


def _liked(
    rng: np.random.Generator,
    latent: NDArray[np.float32],
    user: NDArray[np.int64],
    image: NDArray[np.int64],
    users: int,
    offset: float,
) -> NDArray[np.float64]:
    """How each rated image is liked, 0 to 1: by all, by this person beyond it, at the person's level, and noise."""
    own, level = rng.normal(0, 0.04, (users, LATENT)), rng.normal(0, 0.06, users)
    generic = 0.5 + 0.12 * np.tanh(latent[:, 0]) - 0.03 * latent[:, 1] ** 2
    beyond = np.einsum("rl,rl->r", latent[image], own[user])
    return np.clip(offset + generic[image] + beyond + level[user] + rng.normal(0, 0.08, len(user)), 0, 1)


def _run(arguments: list[str], cache: Path) -> tuple[float, float, float]:
    """Seconds, seconds of CPU and peak memory in GB of one command."""
    began = time.perf_counter()
    environment = {**os.environ, "PAMELA_CACHE": str(cache)}
    command = [str(Path(sys.executable).with_name("steer-predictor")), *arguments]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"steer-predictor {' '.join(arguments)}: ended with status {process.returncode}")
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20


def _matrix_product() -> float:
    """Seconds of CPU for a product in double precision, on one core."""
    a = np.random.default_rng(0).normal(size=(4642, 4642))
    began = time.process_time()
    a @ a
    return time.process_time() - began


def _tell(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
