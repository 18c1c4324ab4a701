"""The catalogue: pictures to ask a new person about, with what the predictor sees of each, made once and kept.

    catalogue.parquet   a row a picture: its place in the starter set, what was seen of it, measured attributes
    ID.png              the pictures

For the embedded preset these are prints of the kind that its predictor was trained on, those of the starter set among
them. Any other renderer draws the suggested prompts, and what the proposer makes of them.
"""

import asyncio
import hashlib
import io
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from actors.messages import ProposalRequest, RenderRequest, ScoreRequest, TasteFeatures
from actors.pool.actor_pool import ActorPool, CallRefusedError
from actors.pool.render_path import RenderPath
from actors.pool.single_flight import SingleFlightCache
from actors.renderers.darkroom.darkroom import Darkroom
from pipelines.execution.proposing import MAX_PROPOSAL_ATTEMPTS
from pipelines.live.people.known_taste import features_of
from pipelines.live.people.personal_scorer import PersonalScorer
from pipelines.planning.embedded_predictor import EmbeddedRecipe, print_request
from pipelines.search.state_machine import admit
from pipelines.search.trajectory import derive_seed, image_seed
from predictor.data.folders import FolderTakenError, new_folder
from predictor.encoders.cache import cache_folder
from predictor.simulation.attributes import measure
from predictor.taste.hierarchical import ImageFeatures

logger = logging.getLogger(__name__)

VERSION = 3
"""Raise it whenever the same settings would give another catalogue."""
SIZE = 200
"""Pictures beside those of the starter set: more than anybody is asked about, and made in under a minute."""
_CALL = 20
"""Proposals that a proposer is asked for at once, as in the paper's rounds."""

_SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "subject": pa.string(),
        "metadata": pa.map_(pa.string(), pa.string()),
        "starter": pa.int64(),
        "population": pa.float64(),
        "generic": pa.float64(),
        "values": pa.list_(pa.float64()),
        "attributes": pa.list_(pa.float64()),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueRequest:
    """One picture that is to be made."""

    request: RenderRequest
    subject: str
    """The prompt before it was rewritten."""
    starter: int | None = None
    """Its place in the predictor's starter set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionPictures:
    """The catalogue, loaded."""

    folder: Path
    seen: tuple[TasteFeatures, ...]
    subjects: tuple[str, ...]
    metadata: tuple[Mapping[str, str], ...]
    """What was found of each subject's picture as written."""
    starter: tuple[int, ...]
    """Rows of the starter set, in its order."""
    features: ImageFeatures
    attributes: NDArray[np.float64]
    """(N, A), of `predictor.simulation.attributes`."""

    @property
    def ids(self) -> list[str]:
        return [image.id for image in self.seen]

    def file(self, image_id: str) -> Path:
        return self.folder / f"{image_id}.png"


def embedded_requests(darkroom: Darkroom, starter: pa.Table) -> list[CatalogueRequest]:
    """Prints as the embedded predictor was trained on; the starter set's first, as far as it is of such prints."""
    recipe = EmbeddedRecipe()
    subjects = [photograph.caption for photograph in darkroom.library.photographs]
    made: dict[int, CatalogueRequest] = {}
    for row in starter.to_pylist():
        if row["list"] == 0 and row["image_id"].isdecimal():
            request, subject = print_request(int(row["image_id"]), subjects, recipe)
            if subject == row["prompt"]:
                made[int(row["image_id"])] = CatalogueRequest(request=request, subject=subject, starter=row["place"])
    for number in range(len(subjects), len(subjects) + SIZE):
        request, subject = print_request(number, subjects, recipe)
        made.setdefault(number, CatalogueRequest(request=request, subject=subject))
    return list(made.values())


async def proposed_requests(prompts: Sequence[str], proposer: ActorPool, seed: int) -> list[CatalogueRequest]:
    """The prompts, and variations of them, as a first round of steering would draw them.

    Raises
    ------
    RoleUnavailableError, PoolBrokenError
        See `ActorPool.call`.
    """
    each = max(1, SIZE // len(prompts) - 1)
    varied = await asyncio.gather(*(_variations(prompt, proposer, seed, each) for prompt in prompts))
    return [
        CatalogueRequest(request=RenderRequest(prompt=text, seed=image_seed(seed, prompt)), subject=prompt)
        for prompt, variations in zip(prompts, varied, strict=True)
        for text in (prompt, *variations)
    ]


async def _variations(prompt: str, proposer: ActorPool, seed: int, wanted: int) -> list[str]:
    """So many variations of a prompt, by calls of the size of a round; fewer where nothing new comes any more."""
    found: list[str] = []
    in_vain = 0
    for number in count():
        if len(found) == wanted or in_vain == MAX_PROPOSAL_ATTEMPTS:
            break
        request = ProposalRequest(
            base_prompt=prompt,
            best_prompt=prompt,
            best_score=None,
            count=min(_CALL, wanted - len(found)),
            seed=derive_seed("question pictures", seed, prompt, number),
        )
        try:
            _, proposals = await proposer.call("propose", request)
        except CallRefusedError as error:
            logger.warning("%r: no proposals for questions: %s", prompt, error)
            in_vain += 1
            continue
        new, _ = admit(proposals.prompts, [prompt, *found], wanted - len(found))
        in_vain = 0 if new else in_vain + 1
        found += new
    return found


def catalogue_place(predictor: str | None, identity: Mapping[str, Any], prompts: Sequence[str]) -> Path:
    """The folder of a catalogue in the cache; its name hashes all that decides it."""
    content = json.dumps([VERSION, SIZE, predictor, dict(identity), list(prompts)], sort_keys=True)
    return cache_folder() / "questions" / hashlib.sha256(content.encode()).hexdigest()[:16]


def read_catalogue(folder: Path) -> QuestionPictures | None:
    """The catalogue in a folder; None where it has not been made."""
    file = folder / "catalogue.parquet"
    if not file.is_file():
        return None
    rows = pq.ParquetFile(file).read().to_pylist()  # read_table imports pandas
    seen = tuple(
        TasteFeatures(id=row["id"], population=row["population"], generic=row["generic"], values=tuple(row["values"]))
        for row in rows
    )
    starter = sorted((row["starter"], place) for place, row in enumerate(rows) if row["starter"] is not None)
    return QuestionPictures(
        folder=folder,
        seen=seen,
        subjects=tuple(row["subject"] for row in rows),
        metadata=tuple(dict(row["metadata"]) for row in rows),
        starter=tuple(place for _, place in starter),
        features=features_of(seen, len(seen[0].values)),
        attributes=np.array([row["attributes"] for row in rows]),
    )


async def make_catalogue(
    folder: Path,
    wanted: Sequence[CatalogueRequest],
    path: RenderPath,
    scorer: PersonalScorer,
    describer: ActorPool | None,
    progress: Callable[[int, int], None],
) -> None:
    """Render the pictures on the pools, and keep them with what is seen of them.

    Where another process has meanwhile kept the same pictures, those are left as they are.

    Parameters
    ----------
    describer
        The predictor, where it can classify an image's metadata zero-shot: those of a subject's picture as written
        count for all its pictures, as in a search.

    Raises
    ------
    ValueError
        All of them were refused.
    FolderTakenError
        There is something else at `folder`.
    RoleUnavailableError, PoolBrokenError
        See `ActorPool.call`.
    """
    done = 0
    refused: list[str] = []
    descriptions = SingleFlightCache[str, Mapping[str, str]](capacity=None)
    as_written = {each.subject: replace(each.request, prompt=each.subject) for each in reversed(wanted)}

    async def description(subject: str) -> Mapping[str, str]:
        if describer is None:
            return {}
        reference, _ = await path.render(as_written[subject])
        _, found = await describer.call("describe", {}, reference)
        return found

    async def one(each: CatalogueRequest) -> tuple[dict[str, object], bytes] | None:
        nonlocal done
        try:
            reference, rendering = await path.render(each.request)
            metadata = await descriptions.get(each.subject, lambda: description(each.subject))
            question = ScoreRequest(audiences=(), base_prompt=each.subject, metadata=metadata)
            seen = await scorer.taste_features(question, reference)
        except CallRefusedError as error:
            logger.warning("%r: no picture for questions: %s", each.request.prompt, error)
            refused.append(str(error))
            return None
        finally:
            done += 1
            progress(done, len(wanted))
        attributes = await asyncio.to_thread(_measured, rendering.png)
        about = {
            "id": seen.id,
            "metadata": dict(metadata),
            "population": seen.population,
            "generic": seen.generic,
            "values": list(seen.values),
        }
        return {**about, "subject": each.subject, "starter": each.starter, "attributes": attributes}, rendering.png

    made = [each for each in await asyncio.gather(*(one(each) for each in wanted)) if each is not None]
    if not made:
        raise ValueError(f"none of the {len(wanted)} pictures to ask about could be made: {refused[0]}")
    distinct = {str(row["id"]): (row, png) for row, png in reversed(made)}

    def write() -> None:
        with new_folder(folder) as temporary:
            for name, (_, png) in distinct.items():
                (temporary / f"{name}.png").write_bytes(png)
            rows = [row for row, _ in reversed(distinct.values())]
            pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), temporary / "catalogue.parquet")

    try:
        await asyncio.to_thread(write)
    except FolderTakenError:
        if read_catalogue(folder) is None:
            raise
        logger.info("%s: another process made the same pictures meanwhile", folder)


def _measured(png: bytes) -> list[float]:
    with Image.open(io.BytesIO(png)) as image:
        return measure(image).tolist()
