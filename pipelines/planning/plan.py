"""Plans: what a run will do, with its most renders, disk and GPU hours, decided before anything is written.

What can be refused is refused while a run is planned, as a ValueError of one line.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from actors.messages import Renderer
from actors.scorers.registry import scale_of
from pipelines.planning.costs import cost_lines
from pipelines.planning.licences import licence_lines
from pipelines.planning.memory import memory_lines
from pipelines.planning.preflight import shortage
from pipelines.planning.prompts import Prompt
from pipelines.planning.roles import proposer_identity
from pipelines.planning.users import NOBODY, Audience
from pipelines.search.cohort import Cohort, cohorts
from pipelines.search.screening import LEAST_SCORED
from pipelines.search.trajectory import Trajectory, image_seed
from pipelines.settings.renderer import DarkroomSettings
from pipelines.settings.scorer import PERSONAL
from pipelines.settings.search import SearchSettings
from pipelines.settings.settings import Settings, reproducibility_key
from predictor.encoders.registry import IMAGE_ENCODERS


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will do. `checkpoint` is None where none is needed, or the embedded preset has still to make it."""

    settings: Settings
    checkpoint: Path | None
    checkpoint_fingerprint: str | None
    renderer: Renderer
    people: Mapping[str, str]
    """User -> demographics in a sentence."""
    audiences: tuple[Audience, ...]
    prompts: tuple[Prompt, ...]

    @property
    def protocol(self) -> SearchSettings:
        return self.settings.protocol

    @cached_property
    def trajectories(self) -> list[Trajectory]:
        """Prompt by prompt, scorer by scorer, run by run, user by user, so that prompts are complete early."""
        settings = self.settings
        return [
            Trajectory(
                user=audience.name,
                user_ids=audience.user_ids,
                prompt_id=prompt.id,
                base_prompt=prompt.text,
                scorer=scorer,
                run=run,
                image_seed=image_seed(settings.seed, prompt.text),
                seed=settings.seed,
                metadata=prompt.metadata,
            )
            for prompt in self.prompts
            for scorer in settings.scorers
            for run in range(1, settings.runs + 1)
            for audience in (self.audiences if scorer == PERSONAL else (NOBODY,))
        ]

    @property
    def cohorts(self) -> list[Cohort]:
        """The trajectories, cohort by cohort."""
        return list(cohorts(self.trajectories, self.protocol.share))

    @property
    def most_renders(self) -> int:
        """The most renders: every trajectory uses all its iterations, images are shared only where they have to be, and
        previews are switched off."""
        protocol, guards = self.protocol, self.protocol.guards
        reseeded = protocol.iterations if guards.reseed == "reject" else min(1, protocol.iterations)
        again = guards.reseeds if guards.reseed != "off" and reseeded else 0
        bases = max(again, guards.image_seeds if self._may_compare else 0)  # the guards share their first seeds
        fresh = bases * len(self.prompts) + again * reseeded * len(self.trajectories)
        return self._renders(protocol.iterations, self._most_later) + fresh

    @property
    def render_hours(self) -> float:
        """Hours that the most renders take one renderer, by the estimate in its settings."""
        return self.most_renders * self.settings.renderer.seconds_per_call / 3600

    @property
    def least_renders(self) -> int:
        """The least renders: every trajectory stops as early as it may, with the base prompt as its winner."""
        protocol = self.protocol
        rounds = min(protocol.patience, protocol.iterations)
        return self._renders(rounds, max(0, rounds - 1) * min(protocol.previews or self._screened, self._screened))

    @cached_property
    def image_encoder(self) -> str | None:
        """The name of the predictor's image encoder, where there is a predictor."""
        if self.checkpoint is None:
            return None
        return json.loads((self.checkpoint / "config.json").read_text("utf-8"))["image_encoder"]

    @property
    def _may_compare(self) -> bool:
        """Whether the image guard may render base images: a predictor that is not there yet may have SigLIP."""
        wanted = self.protocol.guards.image != "off" and self.settings.wants_predictor
        return wanted and self.image_encoder not in IMAGE_ENCODERS

    @property
    def _most_later(self) -> int:
        """Most renders of a trajectory after its first round: all proposals, until there are scores to screen by."""
        renders = 0
        for _ in range(1, self.protocol.iterations):
            screened = 1 + self.protocol.candidates + renders >= LEAST_SCORED
            renders += self._screened if screened else self.protocol.candidates
        return renders

    @property
    def _screened(self) -> int:
        """How many proposals of a later round are rendered at most."""
        return min(self.protocol.screen or self.protocol.candidates, self.protocol.candidates)

    def _renders(self, rounds: int, later: int) -> int:
        """Renders of base images, of first rounds, and of `later` ones in all further rounds of each trajectory."""
        protocol, prompts, trajectories = self.protocol, len(self.prompts), len(self.trajectories)
        if not rounds:
            return prompts
        first = prompts * self.settings.runs if protocol.shares_first_round else trajectories
        return prompts + first * protocol.candidates + trajectories * later

    @property
    def image_bytes(self) -> int:
        """About the size of an image on the disk: PNG hardly compresses photographs."""
        return self.settings.renderer.width * self.settings.renderer.height * 2

    def reproducibility_key(self) -> dict[str, Any]:
        """All that decides the records, as plain values. A run can be resumed only with the same."""
        return {
            "settings": reproducibility_key(self.settings),
            "renderer": dict(self.renderer.identity()),
            "proposer": proposer_identity(self.settings.proposer),
            "predictor": self.checkpoint_fingerprint,
            "users": {audience.name: list(audience.user_ids) for audience in self.audiences},
            "prompts": {prompt.id: prompt.text for prompt in self.prompts},
            "metadata": {prompt.id: dict(prompt.metadata) for prompt in self.prompts if prompt.metadata},
        }

    def describe(self, there: Mapping[str, float] | None) -> str:
        """The plan in lines, for --dry-run. `there` are the GPUs and custom resources of the machines."""
        trajectories = len(self.trajectories)
        renderer = self.settings.renderer
        protocol = self.settings.protocol
        lines = [
            f"users         {len(self.audiences)}: {_some([audience.name for audience in self.audiences])}",
            f"prompts       {len(self.prompts)}: {_some([prompt.id for prompt in self.prompts])}",
            f"trajectories  {trajectories} ({self.settings.runs} run(s))",
            f"protocol      {protocol.name}, share {protocol.share}{_so_many('screen', protocol.screen)}"
            f"{_so_many('previews', protocol.previews)}",
            f"most renders  {self.most_renders:,} at {renderer.width} x {renderer.height} pixels",
            f"disk          at most about {self.most_renders * self.image_bytes / 1e9:.2f} GB",
            f"machines      {shortage(self.settings, there)}",
            *memory_lines(self.renderer, self.settings),
            *cost_lines(self.settings, self.render_hours),
        ]
        models = (getattr(role, "model", "") for role in (renderer, self.settings.proposer))
        lines += [f"licence       {line}" for line in licence_lines(models)]
        lines += [
            f"scorer        {name}: {scale_of(name).of}, {scale_of(name).values}" for name in self.settings.scorers
        ]
        if not self.settings.wants_predictor:
            return "\n".join(lines)
        if self.checkpoint is None and not isinstance(renderer, DarkroomSettings):
            lines.append("predictor     missing: name one by --predictor; the users are as many as the paper's here")
        elif self.checkpoint is None:
            lines.append("predictor     to be made first, once: a minute or two")
        else:
            lines.append(f"predictor     {self.checkpoint}")
        return "\n".join(lines)


def check_disk(plan: Plan, out: Path) -> None:
    """Refuse a run that the disk cannot hold.

    Raises
    ------
    ValueError
        The free space is less than the run may need; the message gives both.
    """
    there = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    least = plan.least_renders * plan.image_bytes
    if free < least:
        raise ValueError(
            f"--out {out}: no disk space: at least {least / 1e6:,.0f} MB wanted for {plan.least_renders:,} images, "
            f"{free / 1e6:,.0f} MB free; name a folder on another disk, or lower --candidates or --iterations"
        )


def _so_many(what: str, number: int | None) -> str:
    return "" if number is None else f", {what} {number}"


def _some(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f", … {len(names) - most} more" if len(names) > most else "")
