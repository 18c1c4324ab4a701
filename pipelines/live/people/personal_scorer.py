"""Scores for people whom the scorers' checkpoint does not know: their taste is here, and changes with each answer.

The actors give an image's taste features (`PamelaScorer.taste_features`); what a person makes of them is computed in
this process. So a search for somebody needs no checkpoint of theirs, and the pools' actors hold nothing about them.
"""

from collections.abc import Mapping
from typing import Any

from actors.messages import ScoreRequest, TasteFeatures
from actors.pool.accounting import TimeAccounting
from actors.pool.actor_pool import ActorPool
from actors.pool.role import Role
from actors.pool.single_flight import SingleFlightCache
from pipelines.live.people.known_taste import KnownTaste

_RECENT = 256
"""Images whose look is remembered: of the rounds that are prepared for some people at once."""


class PersonalScorer:
    """Stands before the predictor's pool; requests for anybody else pass through unchanged.

    Parameters
    ----------
    tastes
        By the names of the people.
    """

    def __init__(self, pool: ActorPool, tastes: Mapping[str, KnownTaste]) -> None:
        self._pool = pool
        self._tastes = tastes
        self._seen = SingleFlightCache[tuple[Any, ...], TasteFeatures](capacity=_RECENT)

    @property
    def role(self) -> Role:
        return self._pool.role

    @property
    def accounting(self) -> TimeAccounting:
        return self._pool.accounting

    async def call(self, method: str, *arguments: Any) -> tuple[Any, Any]:
        """As `ActorPool.call`; `score_each` for people of `tastes` is answered from what the pool sees."""
        if method == "taste_features":
            return None, await self.taste_features(*arguments)
        if method != "score_each" or not self._is_for_ours(arguments[0]):
            return await self._pool.call(method, *arguments)
        request, reference = arguments
        seen = await self.taste_features(request, reference)
        return None, [float(self._tastes[user].utilities([seen])[0][0]) for (user,) in request.audiences]

    async def taste_features(self, request: ScoreRequest, reference: Any) -> TasteFeatures:
        """What the predictor sees of an image; it is asked once where a search scores an image that is then shown."""
        question = (reference, request.base_prompt, tuple(sorted(request.metadata.items())))

        async def ask() -> TasteFeatures:
            return (await self._pool.call("taste_features", request, reference))[1]

        return await self._seen.get(question, ask)

    def _is_for_ours(self, request: ScoreRequest) -> bool:
        return all(len(audience) == 1 and audience[0] in self._tastes for audience in request.audiences)
