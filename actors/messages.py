"""What crosses process boundaries: the requests to renderer, proposer and scorer, their answers, and their interfaces.

Every message is a frozen dataclass of plain values, so that it pickles alike everywhere. It holds all that its call
needs: no actor remembers a user or a trajectory, and any of them can be killed and replaced without loss.
"""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderRequest:
    """One image to render.

    Example:

        RenderRequest(prompt="a cup of coffee, golden hour", seed=1712)
    """

    prompt: str
    seed: int
    """Of the initial noise; each prompt of the user has one, which all its candidates share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """One rendered image, encoded without loss: the bytes that are kept on disk and that scorers decode.

    Example:

        Rendering(png=b"...", warning='the safety checker blanked the image of "a cat"')
    """

    png: bytes
    warning: str | None = None
    """What the renderer could not honour, in one line for the person who reads the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A cheap approximation of an image, scored as a rendering is; the renderer may go on from it to the whole image.

    Example:

        Preview(png=b"...", state=b"latents after step 10, as safetensors")
    """

    png: bytes
    state: bytes | None = None
    """What the renderer needs to finish the image from here; None: finishing means rendering from the beginning."""
    warning: str | None = None
    """As a rendering's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalRequest:
    """Ask for variations of the best prompt so far (paper, section 5: T variations, t = 1 as context).

    Example:

        ProposalRequest(base_prompt="a cat", best_prompt="a cat, soft light", best_score=0.61, count=20, seed=7)
    """

    base_prompt: str
    """What the person typed; proposals keep its meaning."""
    best_prompt: str
    best_score: float | None
    """Shown to the language model; None where the proposals are for several people, whose scores differ."""
    count: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposals:
    """Prompt variations in the order in which they were proposed, and what of the model's reply was rejected.

    Example:

        Proposals(prompts=("a cat, fog", "a cat, neon"), refused={"not numbered": 1})
    """

    prompts: tuple[str, ...]
    refused: Mapping[str, int] = field(default_factory=dict)
    """Reason -> number of lines of the reply that were no proposal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRequest:
    """Ask how much people like an image that was made for `base_prompt`.

    The scorer sees what the person typed, never the rewritten prompt: so a proposal can win only by its image, and not
    by words that the reward model likes.

    Example:

        ScoreRequest(audiences=(("u07",), ("u02", "u09")), base_prompt="a cat", metadata={"style": "photograph"})
    """

    audiences: tuple[tuple[str, ...], ...]
    """Whose scores are wanted, each of one id: that person; several: their mean; or none: the population's mean."""
    base_prompt: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Attributes of the image, such as content or style, in the categories of the predictor's training data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TasteFeatures:
    """The taste features of an image: enough to score it for any person whose taste the caller knows.

    Example:

        TasteFeatures(id="9f2c…", population=0.52, generic=0.03, values=(0.1, -0.4))
    """

    id: str
    """The same for the same image, prompt and metadata."""
    population: float
    """The score for nobody in particular; somebody's own is this plus what their taste makes of `values`."""
    generic: float
    values: tuple[float, ...]
    """What a taste weighs (`predictor.taste.hierarchical.ImageFeatures`)."""


class RefusedError(ValueError):
    """Depends on what was asked: the request cannot be fulfilled and never will be, so that nobody asks again."""


class DisturbedError(RuntimeError):
    """Depends on the moment: asked again later, the same call may be answered. The pool asks, this side need not.

    Example:

        raise DisturbedError("503 overloaded", retry_after_s=30)
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        """The pause that a service asks for; None where it names none."""


class DeniedError(DisturbedError):
    """Nobody is answered, whatever is asked, until a person has mended something, such as the key of a service."""


class BrokenError(DisturbedError):
    """What the actor works with broke down during the call, perhaps because of it; the next call finds it mended."""


class Renderer(Protocol):
    """Renders images. The constructor is cheap; `setup` loads weights, in the actor's process.

    Example:

        renderer = Darkroom(size=256)
        renderer.setup()
        rendering = renderer.render(RenderRequest(prompt="a cat", seed=1))
    """

    @property
    def skipped(self) -> Sequence[str]:
        """Inputs that it cannot use, such as broken photographs, a line each."""
        ...

    def identity(self) -> Mapping[str, Any]:
        """Everything beside prompt and seed that decides the pixels, as JSON values; part of every image's key."""
        ...

    def preview_identity(self) -> Mapping[str, Any] | None:
        """The same for previews; None where the renderer has none, so that `preview` is never called."""
        ...

    @property
    def preview_cost(self) -> float:
        """Cost of a preview, as a fraction of `render`'s."""
        ...

    @property
    def finish_cost(self) -> float:
        """Cost of `finish` after a preview, as a fraction of `render`'s."""
        ...

    def setup(self) -> None:
        """Load weights; ValueError where they can never be loaded, with what to change."""
        ...

    def render(self, request: RenderRequest) -> Rendering: ...

    def preview(self, request: RenderRequest) -> Preview: ...

    def finish(self, request: RenderRequest, preview: Preview) -> Rendering:
        """The image of `render`, bit for bit, from where its preview ended."""
        ...


class Proposer(Protocol):
    """Rewrites prompts. If the methods are coroutines, one actor works on several requests at a time.

    Example:

        proposer = Lexicon()
        proposer.setup()
        proposals = proposer.propose(request)
    """

    def setup(self) -> Awaitable[None] | None: ...

    def propose(self, request: ProposalRequest) -> Proposals | Awaitable[Proposals]: ...


class Scorer(Protocol):
    """Scores one image; higher is better.

    A scorer that knows users also has `score_each(request, rendering)`: the image is encoded once, and the scores come
    in the order of the request's audiences. `score` is that of the first audience.

    Example:

        scorer = LaionScorer()
        scorer.setup()
        score = scorer.score(ScoreRequest(audiences=((),), base_prompt="a cat"), rendering)
    """

    def setup(self) -> None: ...

    def score(self, request: ScoreRequest, rendering: Rendering) -> float: ...
