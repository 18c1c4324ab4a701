"""The driver with toy roles: what is recorded when things go wrong, and that order does not matter."""

import asyncio
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from actors.messages import ProposalRequest, Proposals, RefusedError, Rendering, RenderRequest, ScoreRequest
from actors.pool.render_path import RenderPath
from actors.pool.role import Role
from actors.pool.text_embeddings import TextEmbeddings
from pipelines.execution.driver import Driver
from pipelines.records.image_store import ImageStore
from pipelines.records.journal import Journal
from pipelines.records.replay import in_order, unfinished
from pipelines.search.cohort import Cohort, cohorts
from pipelines.search.history import History
from pipelines.search.rounds import Candidate
from pipelines.search.trajectory import Trajectory, fresh_seeds, image_seed, proposal_seed
from pipelines.settings.search import GuardSettings, SearchSettings
from tests.pipelines.toys import ToyProposer, ToyRenderer, ToyScorer
from tests.pools import IN_PROCESS, Pools

PROTOCOL = SearchSettings(candidates=4, iterations=2, patience=2)


@dataclass
class Watcher:
    """An observer that remembers."""

    begun_ids: list[str] = field(default_factory=list)
    renders: int = 0
    warnings: list[str] = field(default_factory=list)
    stop_after: tuple[asyncio.Task[None], int] | None = None
    """A driver that is interrupted once so many pictures are drawn."""

    def begun(self, cohort: Cohort, rounds: int) -> None:
        assert rounds >= 0
        self.begun_ids += [trajectory.id for trajectory in cohort.trajectories]

    def rendered(self, key: str) -> None:
        self.renders += 1
        if self.stop_after and self.renders == self.stop_after[1]:
            self.stop_after[0].cancel()

    def round_done(self, history: History, searching: int) -> None:
        assert history.rounds
        assert 0 <= searching <= len(history.cohort)

    def finished(self, trajectory: Trajectory, gain: float) -> None:
        assert gain >= 0

    def over(self, cohort: Cohort) -> None: ...

    def failed(self, trajectory: Trajectory, reason: str) -> None:
        assert reason

    def warned(self, warning: str) -> None:
        self.warnings.append(warning)


@dataclass
class Run:
    journal: dict[str, list[bytes]]
    """The lines of each cohort."""
    histories: Mapping[str, History]
    """By cohort."""
    failures: Mapping[str, str]
    watcher: Watcher
    renders: list[str]

    def proposed(self, cohort_id: str, number: int) -> list[Candidate]:
        """All candidates of a round."""
        return [c for proposals in self.histories[cohort_id].rounds[number].proposed for c in proposals.candidates]


def trajectories(*base_prompts: str, users: Sequence[str] = ("u1", "u2")) -> list[Trajectory]:
    return [
        Trajectory(
            user=user,
            user_ids=(user,),
            prompt_id=f"p{number}",
            base_prompt=base_prompt,
            scorer="pamela",
            run=1,
            image_seed=image_seed(0, base_prompt),
            seed=0,
        )
        for number, base_prompt in enumerate(base_prompts)
        for user in users
    ]


def drive(
    folder: Path,
    todo: Sequence[Trajectory],
    renderers: int = 2,
    scorers: int = 1,
    protocol: SearchSettings = PROTOCOL,
    feature_extractor: type | None = None,
    scoring: type[ToyScorer] = ToyScorer,
    proposing: type[ToyProposer] = ToyProposer,
    rendering: type[ToyRenderer] = ToyRenderer,
    beholds: bool = False,
    pools: Pools = IN_PROCESS,
    stop_after: int | None = None,
) -> Run:
    """Run what the journal in the folder does not have yet, or only until so many pictures are drawn."""
    folder.mkdir(exist_ok=True)
    log = folder / "renders.log"
    log.touch()
    every = list(cohorts(todo, protocol.share))
    recorded = unfinished(folder / "journal.jsonl", every, protocol)
    watcher = Watcher()
    journal = Journal(folder / "journal.jsonl")

    async def main() -> Mapping[str, str]:
        renderer = pools.make(Role(name="renderer", make=rendering, arguments={"log": str(log)}, actors=renderers))
        proposer = pools.make(Role(name="proposer", make=proposing))
        scorer = pools.make(Role(name="scorer", make=scoring, actors=scorers))
        measuring = [pools.make(Role(name="feature_extractor", make=feature_extractor))] if feature_extractor else []
        driver = Driver(
            settings=protocol,
            renderer=RenderPath(renderer),
            renderer_identity={"renderer": "toy"},
            proposer=proposer,
            scorers={"pamela": scorer, "population": scorer},
            images=ImageStore(folder),
            journal=journal,
            observer=watcher,
            preview_identity={"renderer": "toy", "preview": 1},
            feature_extractor=next(iter(measuring), None),
            embeddings=TextEmbeddings(measuring[0]) if measuring else None,
            similarity_scorer=scorer if beholds else None,
            first_rounds=recorded.first_rounds,
        )
        started = (renderer, proposer, scorer, *measuring)
        try:
            await asyncio.gather(*(pool.start() for pool in started))
            running = asyncio.create_task(driver.run(recorded.cohorts, recorded.rounds))
            watcher.stop_after = (running, stop_after) if stop_after is not None else None
            with suppress(asyncio.CancelledError):
                await running
        finally:
            for pool in started:
                pool.stop()
        return driver.failures

    try:
        with pools.used():
            failures = asyncio.run(main())
    finally:
        journal.close()
    histories = {history.cohort.id: history for history in in_order(folder / "journal.jsonl", every, protocol)}
    by_cohort: dict[str, list[bytes]] = {}
    for line in (folder / "journal.jsonl").read_bytes().splitlines():
        by_cohort.setdefault(json.loads(line)["cohort"], []).append(line)
    return Run(by_cohort, histories, failures, watcher, log.read_text().splitlines())


def test_a_candidate_that_fails_is_recorded_and_the_trajectory_goes_on(tmp_path: Path, pools: Pools) -> None:
    (trajectory,) = trajectories("a cat", users=["u1"])
    run = drive(tmp_path, [trajectory], pools=pools)
    assert [r.number for r in run.histories[trajectory.id].rounds] == [0, 1, 2]
    (failed,) = [c for c in run.proposed(trajectory.id, 1) if c.error is not None]
    assert failed.prompt == "a cat unrenderable"
    assert failed.image is None
    assert "ValueError: cannot draw that" in str(failed.error)
    assert run.failures == {}


def test_a_cohort_whose_base_prompt_fails_is_listed_and_tried_again_on_resume(tmp_path: Path) -> None:
    todo = trajectories("a cat unscorable", "a dog", users=["u1"])
    run = drive(tmp_path, todo)
    assert list(run.failures) == [todo[0].id]
    assert "no opinion" in run.failures[todo[0].id]
    assert run.histories[todo[0].id].rounds == []
    assert len(run.histories[todo[1].id].rounds) == 3
    assert list(drive(tmp_path, todo).failures) == [todo[0].id]


def test_a_round_in_which_nothing_is_proposed_is_none_and_tried_again_on_resume(tmp_path: Path) -> None:
    todo = trajectories("a mute swan", users=["u1"])
    for _ in range(2):
        run = drive(tmp_path, todo)
        assert "nothing was proposed in round 1" in run.failures[todo[0].id]
        assert "no words" in run.failures[todo[0].id]
        assert len(run.histories[todo[0].id].rounds) == 1


def test_too_few_proposals_are_asked_for_again_at_most_twice_and_counted(tmp_path: Path) -> None:
    todo = trajectories("a terse poem", users=["u1"])
    (history,) = drive(tmp_path, todo).histories.values()
    (first,) = history.rounds[1].proposed
    assert first.seeds == tuple(proposal_seed(todo[0], 1, attempt) for attempt in range(3))
    assert len(first.candidates) == 1
    assert first.refused == {"not numbered": 3, "duplicate": 5}


def test_scores_that_are_no_numbers_make_failed_candidates_and_a_round_of_them_is_none(tmp_path: Path) -> None:
    (trajectory,) = trajectories("a nan bread", users=["u1"])
    run = drive(tmp_path, [trajectory])
    assert "could be rendered and scored" in run.failures[trajectory.id]
    assert len(run.histories[trajectory.id].rounds) == 1


def test_a_render_that_several_trajectories_want_is_made_once(tmp_path: Path) -> None:
    run = drive(tmp_path, trajectories("a cat", users=["u1", "u2", "u3", "u4"]))
    drawn = [prompt for prompt in run.renders if "unrenderable" not in prompt]
    assert len(drawn) == len(set(drawn)) == run.watcher.renders
    images = {image.key for history in run.histories.values() for image in history.images}
    assert len(images) == len(drawn)


def test_records_do_not_depend_on_how_many_actors_there_are(tmp_path: Path, pools: Pools) -> None:
    todo = trajectories("a cat", "a dog", "a terse poem")
    few = drive(tmp_path / "few", todo, renderers=1, scorers=1)
    many = drive(tmp_path / "many", todo, renderers=3, scorers=2, pools=pools)
    assert few.journal == many.journal


def test_what_is_recorded_is_not_rendered_again(tmp_path: Path) -> None:
    todo = trajectories("a cat", "a dog")
    drive(tmp_path, todo[:2])
    before = len((tmp_path / "renders.log").read_text().splitlines())
    run = drive(tmp_path, todo)
    assert all("dog" in prompt for prompt in run.renders[before:])
    assert drive(tmp_path / "whole", todo).journal == run.journal


@pytest.mark.parametrize("renders", [1, 4, 7])
def test_a_driver_that_is_interrupted_goes_on_to_the_same_records(tmp_path: Path, renders: int) -> None:
    todo = trajectories("a cat", "a dog")
    cut = drive(tmp_path / "cut", todo, stop_after=renders)
    assert cut.journal != (whole := drive(tmp_path / "whole", todo)).journal
    assert drive(tmp_path / "cut", todo).journal == whole.journal


def test_trajectories_begin_in_order_and_warnings_reach_the_observer(tmp_path: Path) -> None:
    todo = trajectories("a dark cat", "a dog", "a hen")
    run = drive(tmp_path, todo)
    assert run.watcher.begun_ids == [t.id for t in todo]
    assert set(run.watcher.warnings) == {"dim"}


class OnePolicy(ToyRenderer):
    """Draws no winner of somebody's with a fresh seed."""

    def render(self, request: RenderRequest) -> Rendering:
        fresh = request.seed != image_seed(0, "a cat")
        if fresh and request.prompt != "a cat" and hashlib.sha256(request.prompt.encode()).digest()[0] % 3 == 0:
            raise RefusedError("content policy")
        return super().render(request)


def test_a_winner_that_is_refused_with_fresh_seeds_costs_nobody_their_search(tmp_path: Path) -> None:
    users = [f"u{number}" for number in range(6)]
    protocol = SearchSettings(candidates=6, iterations=2, share="pool", guards=GuardSettings(reseed="warn"))
    todo = trajectories("a cat", users=users)
    run = drive(tmp_path, todo, protocol=protocol, rendering=OnePolicy)
    assert run.failures == {}
    (history,) = run.histories.values()
    again = [each for user in users for each in history.reseeded(user)]
    refused = [each for each in again if math.isnan(each.means[0])]
    assert 0 < len(refused) < len(again)
    assert all("content policy" in str(each.final[0].error) and not each.warnings for each in refused)
    assert drive(tmp_path, todo, protocol=protocol, rendering=OnePolicy).journal == run.journal


class Prudish(ToyProposer):
    def propose(self, request: ProposalRequest) -> Proposals:
        if "evil" in request.best_prompt:
            raise RefusedError("the model will not answer")
        words = ("evil", "good", "plain", "dull")
        return Proposals(prompts=tuple(f"{request.best_prompt} {word}{request.seed % 97}" for word in words))


class Drawn(ToyScorer):
    """u0 likes what is evil; everybody else likes the base prompt best."""

    def _score(self, users: tuple[str, ...], rendering: Rendering) -> float:
        words = rendering.png.decode().split()
        return float("evil" in rendering.png.decode()) if users == ("u0",) else 1 - len(words) / 100


def test_the_last_who_searches_ends_with_what_was_found_where_no_more_is_proposed(tmp_path: Path) -> None:
    protocol = SearchSettings(candidates=4, iterations=5, patience=1, share="pool")
    todo = trajectories("a cat", users=[f"u{number}" for number in range(5)])
    run = drive(tmp_path, todo, protocol=protocol, scoring=Drawn, proposing=Prudish)
    assert run.failures == {}
    (history,) = run.histories.values()
    assert "evil" in history.images[history.best[0]].prompt
    assert [history.failure(row) for row in range(5)] == [None] * 5
    (last,) = history.rounds[2].proposed
    assert (last.users, last.candidates) == (("u0",), ())
    assert any("will not answer" in reason for reason in last.refused)
    assert drive(tmp_path, todo, protocol=protocol, scoring=Drawn, proposing=Prudish).journal == run.journal


class OneSeedRefused(ToyRenderer):
    def render(self, request: RenderRequest) -> Rendering:
        if request.seed == fresh_seeds(image_seed(0, "a cat"), 4)[3]:
            raise RefusedError("content policy")
        return super().render(request)


class Unmeasurable(ToyScorer):
    """A scorer that cannot compare images with texts, and whose numbers are NumPy's."""

    def score(self, request: ScoreRequest, rendering: Rendering) -> float:
        return cast(float, np.float32(super().score(request, rendering)))

    def similarity(self, text: str, rendering: Rendering) -> float:
        if b"word" in rendering.png:
            raise ValueError("cannot compare")
        return super().similarity(text, rendering)


@pytest.mark.parametrize(("rendering", "scoring"), [(OneSeedRefused, ToyScorer), (ToyRenderer, Unmeasurable)])
def test_what_a_guard_that_warns_cannot_measure_bars_nobody(
    tmp_path: Path, rendering: type[ToyRenderer], scoring: type[ToyScorer]
) -> None:
    guards = GuardSettings(image="warn", held_out="warn")
    protocol = SearchSettings(candidates=4, iterations=2, share="pool", guards=guards)
    run = drive(tmp_path, trajectories("a cat"), protocol=protocol, beholds=True, rendering=rendering, scoring=scoring)
    assert run.failures == {}
    (history,) = run.histories.values()
    assert all(verdict.passed for verdict in history.verdicts.values())
    assert max(history.best) > 0


def test_what_a_guard_that_rejects_cannot_measure_is_nobodys_best(tmp_path: Path) -> None:
    protocol = SearchSettings(candidates=4, iterations=2, share="pool", guards=GuardSettings(image="reject"))
    run = drive(tmp_path, trajectories("a cat"), protocol=protocol, beholds=True, scoring=Unmeasurable)
    (history,) = run.histories.values()
    assert set(history.best) == {0}
    assert any("cannot compare" in str(verdict.error) for verdict in history.verdicts.values())


def test_a_shared_proposal_that_was_refused_for_one_user_is_not_asked_for_again_for_another(tmp_path: Path) -> None:
    protocol, todo = SearchSettings(candidates=4, iterations=2, share="round"), trajectories("a cat")
    whole = drive(tmp_path / "whole", todo, protocol=protocol)
    lines = (tmp_path / "whole" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    first = [line for line in lines if json.loads(line)["cohort"] == todo[0].id]
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "journal.jsonl").write_bytes(b"".join(first))
    cut = drive(tmp_path / "cut", todo, protocol=protocol)
    assert "a cat unrenderable" in whole.renders
    assert "a cat unrenderable" not in cut.renders
    assert cut.journal == whole.journal


def test_an_image_that_was_refused_before_an_interruption_is_not_asked_for_again(tmp_path: Path) -> None:
    class Repeats(ToyProposer):
        def propose(self, request: ProposalRequest) -> Proposals:
            new = (f"a cat {request.seed % 1000 + number}" for number in range(3))
            return Proposals(prompts=("a cat unrenderable", *new))

    protocol, todo = SearchSettings(candidates=4, iterations=3, patience=3, share="pool"), trajectories("a cat")
    whole = drive(tmp_path / "whole", todo, protocol=protocol, proposing=Repeats)
    lines = (tmp_path / "whole" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "journal.jsonl").write_bytes(b"".join(lines[:2]))
    cut = drive(tmp_path / "cut", todo, protocol=protocol, proposing=Repeats)
    assert sum("unrenderable" in prompt for prompt in whole.renders) >= 1
    assert not any("unrenderable" in prompt for prompt in cut.renders)
    assert cut.journal == whole.journal
