"""How certain the gains of a run are: how well each person is known, and how far each gain may be off.

No encoder is loaded. The features of images are those that scorers have left in this machine's cache; where they ran on
other machines, a gain has no error, and the results say of how many that is so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from pipelines.planning.plan import Plan
from pipelines.records.outcomes import Outcome
from pipelines.records.run_folder import RunFolder
from pipelines.settings.scorer import PERSONAL
from predictor.threads import thread_map

if TYPE_CHECKING:
    from predictor.people.certainty import Certainty
    from predictor.taste.hierarchical import ImageFeatures
    from predictor.taste.posterior import Posterior


_MOST_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CertaintyOfRun:
    """Nothing is in it where nothing was steered by a predictor's tastes."""

    people: "Mapping[str, Certainty]"
    gain_errors: Mapping[str, float]
    """Trajectory id -> standard deviation of its gain, as far as the person's taste is not known."""
    not_kept: int = 0
    """Gains without an error."""

    def lines(self) -> list[str]:
        """How well people are known, those first who are known least; a line for all who are known equally well.

        Example:

            taste of u01, u07 and 10 more: ±0.04 (before any answer: ±0.16); 2,521 to 2,739 more ratings would halve it
        """
        alike: dict[str, list[str]] = {}
        for user in sorted(self.people, key=lambda user: (-self.people[user].error, user)):
            alike.setdefault(f"{self.people[user].error:.2f}", []).append(user)
        return [self._line(users) for users in alike.values()]

    def _line(self, users: Sequence[str]) -> str:
        halve = sorted(self.people[user].answers_to_halve for user in users)
        ratings = f"{halve[0]:,}" if halve[0] == halve[-1] else f"{halve[0]:,} to {halve[-1]:,}"
        more = len(users) - _MOST_NAMED
        named = ", ".join(users) if more < 1 else f"{', '.join(users[:_MOST_NAMED])} and {more} more"
        return f"taste of {named}: {self.people[users[0]].words(ratings)}"


def below_its_uncertainty(outcome: Outcome, gain_errors: Mapping[str, float]) -> bool:
    """Whether there is a gain that is less than its error."""
    error = gain_errors.get(outcome.trajectory.id)
    return error is not None and outcome.gain is not None and 0 < outcome.gain < error


def certainty_of(
    plan: Plan, folder: RunFolder, outcomes: Sequence[Outcome], others: "Mapping[str, Posterior] | None" = None
) -> CertaintyOfRun:
    """The certainty of what was steered for people, finished and with images on the disk.

    Parameters
    ----------
    others
        Tastes of people whom the checkpoint does not know.
    """
    if plan.checkpoint is None or not plan.checkpoint.is_dir() or PERSONAL not in plan.settings.scorers:
        return CertaintyOfRun(people={}, gain_errors={})
    from predictor.people.certainty import Tastes

    tastes = Tastes.read(plan.checkpoint, others)
    described = folder.about.get("zero_shot", {})

    def features(shown: tuple[str, str]) -> "ImageFeatures | None":
        key, prompt_id = shown
        prompt = prompts[prompt_id]
        with Image.open(folder.images.path(key)) as image:
            known = {**described.get(prompt_id, {}), **prompt.metadata}
            kept = tastes.kept.of(image, prompt.text, dict(sorted(known.items())))  # as scorers order them
        return None if kept is None else tastes.taste.features(kept)

    prompts = {prompt.id: prompt for prompt in plan.prompts}
    steered = [o for o in outcomes if o.trajectory.scorer == PERSONAL]
    wanted = list(
        dict.fromkeys((best.image, o.trajectory.prompt_id) for o in steered for best in (o.bests[0], o.bests[-1]))
    )
    found = dict(zip(wanted, thread_map(features, wanted), strict=True))
    errors = {}
    for o in steered:
        initial, final = (found[best.image, o.trajectory.prompt_id] for best in (o.bests[0], o.bests[-1]))
        if initial is not None and final is not None:
            errors[o.trajectory.id] = tastes.gain_error(o.trajectory.user_ids, initial, final)
    people = dict.fromkeys(user for audience in plan.audiences for user in audience.user_ids)
    return CertaintyOfRun(
        people={user: tastes.certainty(user) for user in people},
        gain_errors=errors,
        not_kept=len(steered) - len(errors),
    )
