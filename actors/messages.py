"""What crosses process boundaries: requests to the three roles, and their answers.

Every message is frozen and made of plain values, so that it pickles the same everywhere and an
actor can be killed and replaced without losing anything: no role remembers a user or a trajectory.
"""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderRequest:
    """One image to draw.

    Example:

        RenderRequest(prompt="a cup of coffee, golden hour", seed=1712)
    """

    prompt: str
    seed: int
    """The image seed; one per prompt of the user, the same for all its candidates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """One drawn image, losslessly encoded, as it is kept on disk and as the scorer sees it."""

    png: bytes
    warning: str | None = None
    """What the renderer could not honour, in one line for the person who reads the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A cheap look at an image that may be finished later; it is scored as a rendering is."""

    png: bytes
    state: bytes | None = None
    """Where the drawing stopped; None: to finish it is to begin again."""
    warning: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalRequest:
    """Ask for variations of the best prompt so far (paper, section 5: T variations, t = 1 as context).

    Example:

        ProposalRequest(base_prompt="a cat", best_prompt="a cat, soft light", best_score=0.61, count=20, seed=7)
    """

    base_prompt: str
    """What the person typed; its semantic content is never changed."""
    best_prompt: str
    best_score: float | None
    """None: the proposals are for people whose scores differ."""
    count: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposals:
    """Prompt variations in the order they were proposed, and what was refused while reading them."""

    prompts: tuple[str, ...]
    refused: Mapping[str, int] = field(default_factory=dict)
    """Reason -> count, for lines of the reply that were no proposal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRequest:
    """How much people like an image that was made for `base_prompt`.

    The scorer sees what the person asked for, never the rewritten prompt: a proposal can only win
    by its image, not by talking the reward model into a higher score.

    Example:

        ScoreRequest(users=("u07",), base_prompt="a cat")
    """

    users: tuple[str, ...]
    """One id: that person. Several: their mean. None: nobody in particular."""
    base_prompt: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What else is known of the image asked for, such as content or style."""


class RefusedError(ValueError):
    """A service will not do what is asked, and would say so again: nothing is gained by asking twice."""


class Renderer(Protocol):
    """Draws images. Construction is cheap; `setup` loads weights, in the actor's process."""

    @property
    def skipped(self) -> Sequence[str]:
        """What of its inputs it cannot use, a line each."""
        ...

    def identity(self) -> Mapping[str, Any]:
        """Everything beside prompt and seed that decides the pixels; JSON values only."""
        ...

    def preview_identity(self) -> Mapping[str, Any] | None:
        """`identity`, and what decides the pixels of a preview; None: it has none, and is never asked for any."""
        ...

    @property
    def preview_cost(self) -> float:
        """Of a preview, as a part of a whole render's."""
        ...

    @property
    def finish_cost(self) -> float:
        """Of finishing a preview, beyond that."""
        ...

    def setup(self) -> None: ...

    def render(self, request: RenderRequest) -> Rendering: ...

    def preview(self, request: RenderRequest) -> Preview: ...

    def finish(self, request: RenderRequest, preview: Preview) -> Rendering:
        """The same image, to the last bit, as `render` draws."""
        ...


class Proposer(Protocol):
    """Rewrites prompts. Methods may be coroutines: then an actor works on several requests at a time."""

    def setup(self) -> Awaitable[None] | None: ...

    def propose(self, request: ProposalRequest) -> Proposals | Awaitable[Proposals]: ...


class Scorer(Protocol):
    """Scores one image; higher is better. One that knows users has `score_each` too: one look for many of them."""

    def setup(self) -> None: ...

    def score(self, request: ScoreRequest, rendering: Rendering) -> float: ...
