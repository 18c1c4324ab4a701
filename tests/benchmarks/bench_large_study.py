"""A study that has become large: what its pages cost, and what the researcher's curiosity costs those who vote.

    python tests/benchmarks/bench_large_study.py [--people 500] [--each 100] [--seconds 20]

Two studies are filled, one of pairs and one of ratings, with `people` × `each` answers of participants who are still at
it. On a server of its own (`steer-study serve`) are measured: the researcher's page, the consent page of somebody new,
an image; and the votes of a crowd, alternately in peace and while the researcher's page is reloaded all the time. The
baselines are of the same run: a static file beside the pages, the peaceful votes beside the disturbed ones.
"""

import argparse
import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import numpy as np
from PIL import Image

from studies.design.making import settle
from studies.design.pairs import design_pairs
from studies.design.rating import ImageToRate, design_rating
from studies.design.steered_images import Picture, PromptImages, SteeredImages
from studies.store.database import open_for_writing
from studies.store.store import Store
from studies.study import Item, Study, Trial, write_study
from tests.benchmarks.bench_study_server import crowd, summary, wait_for

TOKEN = "a-token-of-the-researcher"
CROWD = 40
THINK_S = 2.0
ROUNDS = 3


def pair_study(folder: Path, people: int, each: int) -> Study:
    """Images steered for every participant: nobody's trials are anybody else's."""
    users = [f"u{n:03d}" for n in range(people)]
    file = Path("unread.png")
    prompts = tuple(
        PromptImages(
            prompt_id=f"p{n}",
            prompt=f"prompt {n}",
            initial=Picture(key=f"{n}-initial", file=file, condition="initial"),
            generic=(),
            steered={u: Picture(key=f"{n}-{u}", file=file, condition="steered", user=u) for u in users},
        )
        for n in range(-(-(each + 40) // 3))
    )
    settings = settle("pairs", {"block": 40, "practice": 0, "attention": 0, "notice": "Grey."}, sources=[])
    design = design_pairs(SteeredImages(prompts=prompts, spare={}), others=1, block=40, practice=0, seed=settings.seed)
    return written(folder, settings, design.trials, design.items)


def rating_study(folder: Path, people: int, each: int) -> Study:
    """Every image is to be rated by 21 people, 20 of whom have done so."""
    images = [
        ImageToRate(image_id=f"i{n:05d}", file=Path("unread.png"), prompt="", metadata={})
        for n in range(people * each // 20)
    ]
    choices = {"block": 40, "practice": 0, "attention": 0, "ratings_per_image": 30, "images_each": each + 40}
    settings = settle("rating", choices, sources=[])
    design = design_rating(images, practice=0, seed=settings.seed)
    return written(folder, settings, design.trials, design.items)


def written(folder: Path, settings: Any, trials: list[Trial], items: dict[str, Item]) -> Study:
    study = Study(folder, settings, {trial.trial_id: trial for trial in trials}, items)
    (folder / "assets").mkdir(parents=True)
    Image.fromarray(np.full((256, 256, 3), 128, np.uint8)).save(folder / "grey.png")
    for item in items:
        os.link(folder / "grey.png", study.asset(item))
    write_study(study)
    return study


def fill(study: Study, people: int, each: int) -> None:
    """Everybody has consented, told nothing of themselves, and given the first `each` answers."""
    Store(study.database).close()
    rng = Random(0)
    pairs = study.settings.kind == "pairs"
    order = list(study.trials.values())
    own: dict[str | None, list[Trial]] = {}
    for trial in order:
        own.setdefault(trial.user, []).append(trial)
    with closing(open_for_writing(study.database)) as db:
        db.execute("BEGIN")
        for number in range(people):
            name, user = f"p-{number:012x}", f"u{number:03d}" if pairs else None
            trials = own[user] if pairs else [order[(number * each + k) % len(order)] for k in range(each)]
            db.execute(
                "INSERT INTO participants (participant, user, source, token_hash, invited_at, consented_at, about) "
                "VALUES (?, ?, 'invitation', ?, ?, ?, '{}')",
                (name, user, secrets.token_hex(32), now(), now()),
            )
            db.executemany(
                "INSERT INTO assignments (participant, position, trial_id, block, swapped, repeat, assigned_at) "
                "VALUES (?, ?, ?, ?, 0, 0, ?)",
                [(name, k, t.trial_id, t.block if pairs else 1 + k // 40, now()) for k, t in enumerate(trials)],
            )
            for k, trial in enumerate(trials[:each]):
                took = int(rng.lognormvariate(8, 0.4))
                if pairs:
                    winner = rng.choice(("left", "right"))
                    said: tuple[Any, ...] = (name, k, trial.trial_id, trial.left, trial.right, winner, took, now())
                    db.execute(
                        "INSERT INTO votes (participant, position, trial_id, left, right, winner, response_ms, "
                        "answered_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                        said,
                    )
                else:
                    said = (name, k, trial.trial_id, trial.image, 100 * rng.random(), took, now())
                    db.execute("INSERT INTO ratings VALUES (?, ?, ?, ?, ?, ?, ?)", said)
        db.execute("COMMIT")


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000+00:00", time.gmtime())


def timed(ask: Callable[[], httpx2.Response], times: int) -> tuple[list[float], int]:
    """Seconds of each call, after pauses in which nothing stays fresh, and the bytes of the last answer."""
    took, size = [], 0
    for _ in range(times):
        started = time.perf_counter()
        answer = ask()
        took.append(time.perf_counter() - started)
        assert answer.status_code == 200, answer.text[:300]
        size = len(answer.content)
        time.sleep(5 * took[-1])
    return took, size


def pages(study: Study, address: str, times: int, server: int) -> dict[str, Any]:
    """One after the other, on a server that has nothing else to do; with the CPU time that it needs for each."""
    store = Store(study.database)
    (_, token) = store.invite([study.users[0] if study.users else None])[0]
    store.close()
    item = next(iter(study.items))
    with (
        httpx2.Client(base_url=address, timeout=120, follow_redirects=True) as participant,
        httpx2.Client(base_url=address, timeout=120, follow_redirects=True) as researcher,
    ):
        participant.get(f"/join/{token}")
        researcher.post("/researcher/login", data={"token": TOKEN}, follow_redirects=False)
        asked = {
            "researcher": lambda: researcher.get("/researcher"),
            "consent": lambda: participant.get("/"),
            "image": lambda: participant.get(f"/assets/{item}.png"),
            "static_file": lambda: participant.get("/static/icon.svg"),
        }
        found = {}
        for name, ask in asked.items():
            before = cpu_s(server)
            took, size = timed(ask, times)
            used_ms = round(1000 * (cpu_s(server) - before) / times, 1)
            found[name] = {
                **summary(took),
                "cpu_ms": used_ms,
                "first_ms": round(1000 * took[0], 1),
                "kilobytes": round(size / 1000, 1),
            }
            time.sleep(1.5)
        return found


async def reloading(address: str, until: float, took: list[float]) -> None:
    async with httpx2.AsyncClient(base_url=address, timeout=120, follow_redirects=True) as client:
        await client.post("/researcher/login", data={"token": TOKEN})
        while time.monotonic() < until:
            started = time.perf_counter()
            await client.get("/researcher")
            took.append(time.perf_counter() - started)


async def voting(links: list[str], address: str, seconds: float, *, disturbed: bool) -> dict[str, Any]:
    reloads: list[float] = []
    curious = reloading(address, time.monotonic() + seconds, reloads) if disturbed else asyncio.sleep(0)
    (votes, files), _ = await asyncio.gather(crowd(links, seconds, THINK_S), curious)
    return {"vote": votes, "static_file": files, "reload": reloads}


def votes(study: Study, address: str, seconds: float) -> dict[str, Any]:
    """A crowd's votes in peace and disturbed, in turns, so that other work of the machine falls on both."""
    store = Store(study.database)
    users = (study.users * CROWD)[: 2 * ROUNDS * CROWD] if study.users else [None] * 2 * ROUNDS * CROWD
    links = [f"{address}/join/{token}" for _, token in store.invite(users)]
    store.close()
    names = ("vote", "static_file", "reload")
    found: dict[bool, dict[str, list[float]]] = {flag: {name: [] for name in names} for flag in (False, True)}
    for number in range(2 * ROUNDS):
        disturbed = bool(number % 2)
        part = links[number * CROWD : (number + 1) * CROWD]
        for name, took in asyncio.run(voting(part, address, seconds, disturbed=disturbed)).items():
            found[disturbed][name] += took
    peace, noise = ({name: summary(took) for name, took in found[flag].items() if took} for flag in (False, True))
    ratio = round(noise["vote"]["p95_ms"] / peace["vote"]["p95_ms"], 2) if "vote" in noise else None
    return {"peace": peace, "reloaded": noise, "p95_reloaded_over_peace": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--each", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each of the rounds of votes; 0: none")
    parser.add_argument("--times", type=int, default=20, help="how often each page is asked for")
    parser.add_argument("--port", type=int, default=8139)
    asked = parser.parse_args()
    for make in (pair_study, rating_study):
        with tempfile.TemporaryDirectory() as folder:
            study = make(Path(folder) / "study", asked.people, asked.each)
            fill(study, asked.people, asked.each)
            address = f"http://127.0.0.1:{asked.port}"
            script = str(Path(sys.executable).parent / "steer-study")
            command = [script, "serve", str(study.folder), "--approve-all", "--token", TOKEN, "--behind-proxy"]
            server = subprocess.Popen([*command, "--port", str(asked.port)], stdout=subprocess.DEVNULL)
            try:
                wait_for(address)
                before = resident_mb(server.pid)
                found = pages(study, address, asked.times, server.pid)
                found["server_mb"] = {"before": before, "after": resident_mb(server.pid)}
                if make is pair_study and asked.seconds:
                    found["votes"] = votes(study, address, asked.seconds)
            finally:
                server.terminate()
                server.wait()
        answers = {"people": asked.people, "answers": asked.people * asked.each, "cores": os.cpu_count()}
        print(json.dumps({"benchmark": make.__name__, **answers, "load": os.getloadavg()[0], **found}), flush=True)  # noqa: T201


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) // 1000
    raise RuntimeError(f"process {pid} is gone")


if __name__ == "__main__":
    main()
