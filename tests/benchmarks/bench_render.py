"""Milliseconds a darkroom render on one core, PNG included: `python tests/benchmarks/bench_render.py`.

The baseline of the same run is the same image only resized and encoded: what any renderer would pay.
"""

import io
import os
import random
import statistics
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"

from PIL import Image

from actors.messages import ProposalRequest, RenderRequest
from actors.proposers.lexicon import Lexicon
from actors.renderers.darkroom.darkroom import Darkroom

COUNT = 200


def milliseconds(work: Callable[[int], object]) -> tuple[float, float]:
    """Median and 95th percentile over COUNT calls, after ten to warm up."""
    times = []
    for number in [*range(10), *range(COUNT)]:
        began = time.perf_counter()
        work(number)
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times[10:]), statistics.quantiles(times[10:], n=20)[-1]


def main() -> None:
    darkroom = Darkroom()
    darkroom.setup()
    captions = [photograph.caption for photograph in darkroom.library.photographs]
    chance = random.Random(0)
    prompts = []
    for number in range(COUNT):
        base = chance.choice(captions)
        request = ProposalRequest(base_prompt=base, best_prompt=base, best_score=0.0, count=1, seed=number)
        prompts.append(Lexicon().propose(request).prompts[0])
    photograph = darkroom.library.photographs[0].image

    def baseline(number: int) -> None:
        photograph.resize((256, 256), Image.Resampling.BICUBIC).save(io.BytesIO(), "PNG", compress_level=1)

    def render(number: int) -> None:
        darkroom.render(RenderRequest(prompt=prompts[number], seed=number))

    print("| 256 x 256, one core | median ms | p95 ms |\n|---|---|---|")  # noqa: T201
    for label, work in (("resize and encode only", baseline), ("darkroom render", render)):
        median, high = milliseconds(work)
        print(f"| {label} | {median:.1f} | {high:.1f} |")  # noqa: T201


if __name__ == "__main__":
    main()
