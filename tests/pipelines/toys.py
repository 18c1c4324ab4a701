"""Roles that do as their prompts say, for tests that must drive what goes wrong and when."""

import hashlib
import io
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from actors.messages import Preview, ProposalRequest, Proposals, RefusedError, Rendering, RenderRequest, ScoreRequest


class ToyRenderer:
    """The PNG is the prompt; a prompt with "unrenderable" errs; each render leaves a line in the log."""

    def __init__(self, log: str) -> None:
        self._log = Path(log)

    def setup(self) -> None:
        """Nothing to load."""

    def render(self, request: RenderRequest) -> Rendering:
        with self._log.open("a") as log:
            log.write(f"{request.prompt}\n")
        if "unrenderable" in request.prompt:
            raise ValueError("cannot draw that")
        return Rendering(png=request.prompt.encode(), warning="dim" if "dark" in request.prompt else None)

    def preview(self, request: RenderRequest) -> Preview:
        return Preview(png=f"preview of {request.prompt}".encode(), state=request.prompt.encode())

    def finish(self, request: RenderRequest, preview: Preview) -> Rendering:
        if preview.state is None:
            return self.render(request)
        return Rendering(png=preview.state)


class ToyProposer:
    """Appends words; what it does wrong is in the base prompt."""

    def setup(self) -> None:
        """Nothing to load."""

    def propose(self, request: ProposalRequest) -> Proposals:
        if "mute" in request.base_prompt:
            raise RuntimeError("no words")
        if "terse" in request.base_prompt:
            return Proposals(prompts=(request.best_prompt, f"{request.best_prompt} x"), refused={"not numbered": 1})
        words = ["unrenderable" if n == 1 else f"word{(request.seed + n) % 1000}" for n in range(request.count)]
        return Proposals(prompts=tuple(f"{request.best_prompt} {word}" for word in words))


class ToyScorer:
    """A number from 0 to 1 that depends on image and user, nan for some; a base prompt with "unscorable" errs."""

    speechless_for: tuple[str, ...] = ("picky",)

    def setup(self) -> None:
        """Nothing to load."""

    def score(self, request: ScoreRequest, rendering: Rendering) -> float:
        return self.score_each(request, rendering)[0]

    def score_each(self, request: ScoreRequest, rendering: Rendering) -> list[float]:
        if "unscorable" in request.base_prompt or b"unpoolable" in rendering.png:
            raise ValueError("no opinion")
        base = rendering.png == request.base_prompt.encode()
        silent = "nan" in request.base_prompt.split() and not base
        return [math.nan if silent else self._score(users, rendering) for users in request.audiences]

    def _score(self, users: tuple[str, ...], rendering: Rendering) -> float:
        if set(self.speechless_for) & set(users):
            return math.nan
        digest = hashlib.sha256(repr(users).encode() + rendering.png).digest()
        return int.from_bytes(digest[:4], "big") / 2**32

    def similarity(self, text: str, rendering: Rendering) -> float:
        return float(text.encode() in rendering.png)


class MendedScorer(ToyScorer):
    """The same, once it has an opinion for everybody."""

    speechless_for = ()


class ToyTextEncoder:
    """The embedding is the prompt in capitals; each leaves a line in the log."""

    def __init__(self, log: str) -> None:
        self._log = Path(log)

    def setup(self) -> None:
        """Nothing to load."""

    def encode(self, prompt: str) -> tuple[bytes, int]:
        with self._log.open("a") as log:
            log.write(f"{prompt}\n")
        if "unutterable" in prompt:
            raise ValueError("no words for that")
        return prompt.upper().encode(), len(prompt)


class ToyPainter:
    """Draws an embedding: the PNG is the embedding and the seed."""

    def setup(self) -> None:
        """Nothing to load."""

    def render(self, request: RenderRequest, embedding: bytes) -> Rendering:
        if "forbidden" in request.prompt:
            raise RefusedError("will not draw that")
        return Rendering(png=embedding + str(request.seed).encode())


class ToyFeatureExtractor:
    """The embedding of a text is its length; each text leaves a line in the log."""

    def __init__(self, log: str) -> None:
        self._log = Path(log)

    def setup(self) -> None:
        """Nothing to load."""

    def embed(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        with self._log.open("a") as log:
            log.writelines(f"{prompt}\n" for prompt in prompts)
        return np.array([[len(prompt)] for prompt in prompts], np.float32)


class Brightness:
    """A scorer of one's own: mean brightness, 0 to 1, or how dark it is."""

    def __init__(self, darker: bool = False) -> None:
        self._sign = -1 if darker else 1

    def setup(self) -> None:
        """Nothing to load."""

    def score(self, request: ScoreRequest, rendering: Rendering) -> float:
        with Image.open(io.BytesIO(rendering.png)) as image:
            return self._sign * float(np.asarray(image.convert("L")).mean()) / 255


class NeverUp(Brightness):
    """A scorer whose weights turn out not to be there, once the others have finished a prompt."""

    def setup(self) -> None:
        deadline = time.monotonic() + 60
        journal = Path(os.environ["TOY_JOURNAL"])
        while not journal.is_file() or not journal.stat().st_size:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        raise ValueError("no licence was accepted")
