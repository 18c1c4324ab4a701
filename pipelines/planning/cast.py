"""Who takes part in a run: the role behind each thing that a driver has done."""

from collections.abc import Mapping
from dataclasses import dataclass

from actors.pool.role import Role
from pipelines.planning.plan import Plan
from pipelines.planning.renderer_roles import renderer_role, text_encoder_role
from pipelines.planning.roles import examiner_role, proposer_role, scorer_role, scorer_roles


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Who takes part. A role may stand behind several scorers."""

    renderer: Role
    text_encoder: Role | None
    """Of the renderer, where it has actors of its own."""
    proposer: Role
    scorers: Mapping[str, Role]
    """The held-out one too, where there is one."""
    predictor: Role | None
    """Whom guards ask about images, whether or not a scorer has it behind it."""
    examiner: Role | None

    @property
    def all(self) -> list[Role]:
        """Each once."""
        encoder = [self.text_encoder] if self.text_encoder else []
        examiner = [self.examiner] if self.examiner else []
        predictor = [self.predictor] if self.predictor else []
        roles = (self.renderer, *encoder, self.proposer, *self.scorers.values(), *predictor, *examiner)
        return list({role.name: role for role in roles}.values())


def cast_of(plan: Plan) -> Cast:
    settings = plan.settings
    return Cast(
        renderer=renderer_role(settings),
        text_encoder=text_encoder_role(settings),
        proposer=proposer_role(settings.proposer),
        scorers=scorer_roles(settings, plan.checkpoint),
        predictor=scorer_role(settings.scorer, plan.checkpoint) if plan.checkpoint else None,
        examiner=examiner_role(settings),
    )
