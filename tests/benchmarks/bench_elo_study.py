"""Ten million votes in a study folder, from `steer-study elo` to its report: time, CPU and peak memory.

    python tests/benchmarks/bench_elo_study.py [votes]

Everybody gives 100 votes, on pairs of four conditions and 50 prompts. As baseline SQLite alone counts the rows of
`votes.sqlite`, in the same run.
"""

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import combinations
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from PIL import Image

from studies.design.making import settle
from studies.store.database import open_for_writing
from studies.store.store import Store
from studies.study import Item, Study, Trial, write_study

CONDITIONS = ("initial", "hpsv3", "laion", "q-align")
PROMPTS, EACH = 50, 100
NOW = "2026-11-28T12:00:00+00:00"


def made(folder: Path) -> Study:
    """A study whose trials are for anybody."""
    items = {
        item_id(prompt, name): Item(
            item_id=item_id(prompt, name), prompt_id=f"p{prompt}", image=f"{prompt}-{name}", condition=name, user=None,
            metadata={},
        )
        for prompt in range(PROMPTS) for name in CONDITIONS
    }  # fmt: skip
    trials = [
        Trial(
            trial_id=f"t{prompt}-{left}-{right}", block=1 + prompt // 10, prompt_id=f"p{prompt}", prompt="a pagoda",
            left=item_id(prompt, left), right=item_id(prompt, right),
        )
        for prompt in range(PROMPTS) for left, right in combinations(CONDITIONS, 2)
    ]  # fmt: skip
    settings = settle("pairs", {"practice": 0, "attention": 0, "notice": "Grey."}, sources=[])
    study = Study(folder, settings, {trial.trial_id: trial for trial in trials}, items)
    (folder / "assets").mkdir(parents=True)
    for item in items:
        Image.new("RGB", (8, 8), "grey").save(study.asset(item))
    write_study(study)
    return study


def item_id(prompt: int, condition: str) -> str:
    return f"{1000 * prompt + CONDITIONS.index(condition):032x}"


def fill(study: Study, votes: int) -> None:
    """Votes by one taste, which the store takes as those of finished participants."""
    Store(study.database).close()
    trials, rng = list(study.trials.values()), np.random.default_rng(0)
    liking: dict[str, float] = dict(zip(CONDITIONS, (0.0, 0.2, 0.4, 0.1), strict=True))
    sides = np.array([[liking[study.items[item].condition] for item in trial.items] for trial in trials])
    chance = 1 / (1 + np.exp(sides[:, 1] - sides[:, 0]))

    def rows(first: int, last: int) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
        for number in range(first, last):
            order = rng.permutation(len(trials))[:EACH]
            won = rng.random(EACH) < chance[order]
            for position, (at, left) in enumerate(zip(order, won, strict=True)):
                trial = trials[at]
                name = f"p-{number:012x}"
                yield (
                    (name, position, trial.trial_id, trial.block, 0, 0, NOW),
                    (name, position, trial.trial_id, trial.left, trial.right, "left" if left else "right", 3000, NOW),
                )

    with closing(open_for_writing(study.database)) as db:
        db.execute("PRAGMA synchronous = OFF")
        for first in range(0, votes // EACH, 1000):
            last = min(first + 1000, votes // EACH)
            db.execute("BEGIN")
            db.executemany(
                "INSERT INTO participants (participant, source, token_hash, invited_at, consented_at, about) "
                "VALUES (?, 'invitation', ?, ?, ?, '{}')",
                [(f"p-{n:012x}", f"{n:064x}", NOW, NOW) for n in range(first, last)],
            )
            both = list(rows(first, last))
            db.executemany(
                "INSERT INTO assignments (participant, position, trial_id, block, swapped, repeat, assigned_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                [assigned for assigned, _ in both],
            )
            db.executemany(
                "INSERT INTO votes (participant, position, trial_id, left, right, winner, response_ms, answered_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [vote for _, vote in both],
            )
            db.execute("COMMIT")


def main() -> None:
    votes = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    with tempfile.TemporaryDirectory() as name:
        study = made(Path(name) / "study")
        fill(study, votes)
        began = time.perf_counter()
        with closing(sqlite3.connect(study.database)) as db:
            counted = db.execute(
                "SELECT sum(v.winner = 'left'), count(DISTINCT p.user) FROM participants p "
                "JOIN votes v USING (participant) JOIN assignments a USING (participant, position)"
            ).fetchone()
        baseline = time.perf_counter() - began
        code = (
            "import time; from pathlib import Path; from studies.cli.main import app; began = time.perf_counter();"
            "app(standalone_mode=False); status = Path('/proc/self/status').read_text();"
            "peak = status.partition('VmHWM:')[2].split()[0];"
            "print(time.perf_counter() - began, time.process_time(), int(peak) / 1024)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, "elo", str(study.folder), "--out", str(Path(name) / "report")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            sys.exit(done.stderr)
        wall, cpu, peak = map(float, done.stdout.split()[-3:])
        size = study.database.stat().st_size / 2**20
        print(f"{votes:,} votes, votes.sqlite {size:.0f} MB; {counted[0]:,} won on the left")  # noqa: T201
        print("| | wall | CPU | peak memory |\n|---|---:|---:|---:|")  # noqa: T201
        print(f"| steer-study elo | {wall:.1f} s | {cpu:.1f} s | {peak:.0f} MB |")  # noqa: T201
        print(f"| SQLite reads the same rows | {baseline:.1f} s | | |")  # noqa: T201


if __name__ == "__main__":
    main()
