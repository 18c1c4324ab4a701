"""100 participants at once: how long a vote takes from the click to the confirmation, every vote fsynced.

    python tests/benchmarks/bench_study_server.py [--participants 100] [--seconds 30] [--think 2.0]

The server runs in a process of its own (`steer-study serve`), the participants in this one, on the same machine. Each
answers, waits for the confirmation and the next trial, thinks for an exponential time, and answers again. As a baseline
the same connections ask for a static file, which shows what the machine and the client cost without any study.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import httpx2
import numpy as np
from PIL import Image

from studies.design.making import make_pairs
from studies.design.steered_images import Picture, PromptImages, SteeredImages
from studies.simulation.participants import Page
from studies.store.store import Store
from studies.study import Study


def a_study(folder: Path) -> Study:
    """Two generic scorers and an initial image for forty prompts: 120 trials for anybody, in three blocks."""
    rng = np.random.default_rng(0)
    offers = []
    for number in range(40):
        pictures = []
        for condition in ("initial", "a", "b"):
            file = folder / "source" / f"{number}-{condition}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (256, 256, 3), np.uint8)).save(file)
            pictures.append(Picture(key=file.stem, file=file, condition=condition))
        offers.append(
            PromptImages(
                prompt_id=f"p{number}",
                prompt=f"prompt {number}",
                initial=pictures[0],
                generic=tuple(pictures[1:]),
                steered={},
            )
        )
    choices = {"blocks_each": 3, "block": 40, "practice": 0}
    return make_pairs(SteeredImages(prompts=tuple(offers), spare={}), [], folder / "study", others=0, choices=choices)


async def participant(
    link: str, until: float, think_s: float, seed: int, votes: list[float], files: list[float]
) -> None:
    rng = Random(seed)
    base = link.split("/join/")[0]
    own = {"X-Forwarded-For": f"10.0.{seed // 250}.{seed % 250 + 1}"}  # everybody is at home, not in one lab
    async with httpx2.AsyncClient(follow_redirects=True, timeout=60, headers=own) as client:
        await asyncio.sleep(rng.random() * think_s)
        page = Page((await client.get(link)).text)
        while time.monotonic() < until and page.action is not None:
            said: dict[str, str] = {"agreed": "yes"} if page.action == "/consent" else {}
            is_vote = page.action == "/answer"
            if is_vote:
                await asyncio.gather(*(client.get(base + image) for image in page.images))
                await asyncio.sleep(rng.expovariate(1 / think_s))
                said = {**page.fields, "winner": rng.choice(("left", "right")), "response_ms": "1000"}
                started = time.perf_counter()
                await client.get(f"{base}/static/icon.svg")
                files.append(time.perf_counter() - started)
            started = time.perf_counter()
            answer = await client.post(base + page.action, data=said, follow_redirects=False)
            if is_vote:
                votes.append(time.perf_counter() - started)
            assert answer.status_code == 303, answer.text
            following = await client.get(f"{base}/")
            assert following.status_code == 200, following.text
            page = Page(following.text)


async def crowd(links: list[str], seconds: float, think_s: float) -> tuple[list[float], list[float]]:
    votes: list[float] = []
    files: list[float] = []
    until = time.monotonic() + seconds
    await asyncio.gather(*(participant(link, until, think_s, n, votes, files) for n, link in enumerate(links)))
    return votes, files


def summary(times: list[float]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(np.array(times) * 1000, (50, 95, 99))
    return {"n": len(times), "p50_ms": round(p50, 1), "p95_ms": round(p95, 1), "p99_ms": round(p99, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description="100 participants at once.")
    parser.add_argument("--participants", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--think", type=float, default=2.0, help="mean seconds between two answers of one person")
    parser.add_argument("--port", type=int, default=8137)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        study = a_study(Path(folder))
        store = Store(study.database)
        address = f"http://127.0.0.1:{asked.port}"
        links = [f"{address}/join/{token}" for _, token in store.invite([None] * asked.participants)]
        store.close()
        command = [
            str(Path(sys.executable).parent / "steer-study"),
            "serve",
            str(study.folder),
            "--approve-all",
            "--behind-proxy",
        ]
        server = subprocess.Popen([*command, "--port", str(asked.port)], stdout=subprocess.DEVNULL)
        try:
            wait_for(address)
            votes, files = asyncio.run(crowd(links, asked.seconds, asked.think))
        finally:
            server.terminate()
            server.wait()
    result = {
        "participants": asked.participants,
        "think_s": asked.think,
        "votes_per_s": round(len(votes) / asked.seconds, 1),
        "vote": summary(votes),
        "static_file": summary(files),
    }
    print(json.dumps(result, indent=2))  # noqa: T201


def wait_for(address: str) -> None:
    for _ in range(200):
        try:
            httpx2.get(address)
            return
        except httpx2.TransportError:
            time.sleep(0.1)
    raise RuntimeError("the server did not start")


if __name__ == "__main__":
    main()
