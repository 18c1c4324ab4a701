"""The pictures that people are asked about, where a model draws them."""

import asyncio
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from actors.messages import ProposalRequest, Proposals, Rendering, RenderRequest, ScoreRequest, TasteFeatures
from actors.pool.actor_pool import CallRefusedError
from pipelines.live.catalogue import SIZE, CatalogueRequest, make_catalogue, proposed_requests, read_catalogue
from predictor.data.folders import FolderTakenError


class Proposer:
    """Has only so many ideas, three a call, and sometimes none that can be read."""

    def __init__(self, ideas: int) -> None:
        self.ideas = ideas
        self.calls = 0

    async def call(self, method: str, request: ProposalRequest) -> tuple[Any, Proposals]:
        assert method == "propose"
        self.calls += 1
        if self.calls % 5 == 2:
            raise CallRefusedError("no list in the reply")
        first = 3 * self.calls % self.ideas
        return None, Proposals(
            prompts=tuple(f"{request.base_prompt}, {n % self.ideas}" for n in range(first, first + 3))
        )


def asked(ideas: int, prompts: Sequence[str]) -> tuple[list[CatalogueRequest], int]:
    proposer: Any = Proposer(ideas)
    return asyncio.run(proposed_requests(prompts, proposer, 0)), proposer.calls


def test_a_proposer_is_asked_until_there_are_enough_pictures() -> None:
    wanted, _ = asked(1000, ["a cat", "a dog"])

    assert len(wanted) == len({each.request.prompt for each in wanted}) == SIZE
    assert len({each.request.seed for each in wanted}) == 2
    assert {each.subject for each in wanted} == {"a cat", "a dog"}


def test_a_proposer_that_has_no_new_ideas_is_not_asked_for_ever() -> None:
    wanted, calls = asked(7, ["a cat"])

    assert len(wanted) == 8
    assert calls < 20


class Renderer:
    """Refuses a prompt."""

    async def render(self, request: RenderRequest) -> tuple[Any, Rendering]:
        if "dog" in request.prompt:
            raise CallRefusedError("not allowed")
        encoded = io.BytesIO()
        Image.new("RGB", (8, 8), (len(request.prompt), 0, 0)).save(encoded, "PNG")
        return request.prompt, Rendering(png=encoded.getvalue())


class Scorer:
    def __init__(self) -> None:
        self.asked: list[ScoreRequest] = []

    async def taste_features(self, request: ScoreRequest, reference: str) -> TasteFeatures:
        self.asked.append(request)
        return TasteFeatures(id=f"seen{len(reference)}", population=0.5, generic=0.0, values=(0.0,))


class Describer:
    """Takes every picture for what its prompt says."""

    def __init__(self) -> None:
        self.described: list[str] = []

    async def call(self, method: str, known: dict[str, str], reference: str) -> tuple[Any, dict[str, str]]:
        assert (method, known) == ("describe", {})
        self.described.append(reference)
        return None, {"content": reference}


def made(folder: Path, prompts: Sequence[str]) -> None:
    path: Any = Renderer()
    scorer: Any = Scorer()
    wanted = [CatalogueRequest(request=RenderRequest(prompt=text, seed=1), subject=text) for text in prompts]
    asyncio.run(make_catalogue(folder, wanted, path, scorer, None, lambda done, total: None))


def test_a_picture_that_is_refused_is_left_out(tmp_path: Path) -> None:
    made(tmp_path / "made", ["a cat", "a dog", "a tall cat"])

    pictures = read_catalogue(tmp_path / "made")

    assert pictures is not None
    assert pictures.subjects == ("a cat", "a tall cat")


def test_where_all_are_refused_the_reason_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none of the 2 pictures to ask about could be made: not allowed"):
        made(tmp_path / "made", ["a dog", "two dogs"])


def test_what_another_process_made_meanwhile_is_taken(tmp_path: Path) -> None:
    made(tmp_path / "made", ["a cat"])
    made(tmp_path / "made", ["a cat"])

    pictures = read_catalogue(tmp_path / "made")
    assert pictures is not None
    assert pictures.subjects == ("a cat",)


def test_a_folder_in_the_way_of_a_catalogue_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "notes.txt").write_text("mine")
    with pytest.raises(FolderTakenError, match="is there already"):
        made(tmp_path / "made", ["a cat"])


def test_all_pictures_of_a_subject_have_the_metadata_of_the_one_as_written(tmp_path: Path) -> None:
    path: Any = Renderer()
    scorer: Any = Scorer()
    describer: Any = Describer()
    wanted = [
        CatalogueRequest(request=RenderRequest(prompt=text, seed=1), subject=subject)
        for subject in ("a cat", "a tree")
        for text in (subject, f"{subject} in warm light", f"{subject} at night")
    ]

    asyncio.run(make_catalogue(tmp_path / "made", wanted, path, scorer, describer, lambda done, total: None))

    assert sorted(describer.described) == ["a cat", "a tree"]
    assert {(each.base_prompt, each.metadata["content"]) for each in scorer.asked} == {
        ("a cat", "a cat"),
        ("a tree", "a tree"),
    }
