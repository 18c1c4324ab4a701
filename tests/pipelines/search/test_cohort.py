from collections.abc import Sequence
from dataclasses import replace

from pipelines.search.cohort import cohorts, next_round, pool_for, resolve_pooled
from pipelines.search.guards import HELD_OUT, SATURATION, SHARPNESS, apply_guards, subject_notice, with_notice
from pipelines.search.notices import Check, Notice
from pipelines.search.state_machine import Propose, RenderBase, Reseed, ScorePool
from pipelines.search.trajectory import Candidate, Iteration, Trajectory
from pipelines.settings.search import GuardSettings, SearchSettings

POOL = SearchSettings(candidates=2, iterations=3, patience=1, share="pool")


def member(user: str, prompt_id: str = "p1", run: int = 1) -> Trajectory:
    return Trajectory(
        user=user,
        members=(user,),
        prompt_id=prompt_id,
        base_prompt="a cat",
        scorer="pamela",
        run=run,
        image_seed=0,
        seed=0,
    )


def rendered(number: int, *scores: float, images: Sequence[str] | None = None) -> Iteration:
    keys = images or [f"i{number}{place}" for place in range(len(scores))]
    candidates = (Candidate(prompt=f"a cat {key}", image=key, score=s) for key, s in zip(keys, scores, strict=True))
    return Iteration(number=number, candidates=tuple(candidates))


A, B, C = member("a"), member("b"), member("c")


def test_a_pools_cohort_is_all_users_of_a_prompt_and_run_and_else_everybody_is_alone() -> None:
    todo = [member(user, prompt, run) for prompt in ("p1", "p2") for run in (1, 2) for user in ("a", "b")]
    assert [len(cohort) for cohort in cohorts(todo, "pool")] == [2, 2, 2, 2]
    assert list(cohorts(todo, "base")) == list(cohorts(todo, "round")) == [(trajectory,) for trajectory in todo]
    assert [trajectory for cohort in cohorts(todo, "pool") for trajectory in cohort] == todo


def test_whoever_has_stopped_scores_the_pool_while_another_goes_on() -> None:
    histories = {A.id: [rendered(0, 0.5), rendered(1, 0.4)], B.id: [rendered(0, 0.5), rendered(1, 0.6)]}
    steps = next_round([A, B], histories, POOL)
    assert steps[A.id] == ScorePool(2)
    assert isinstance(steps[B.id], Propose)


def test_a_new_best_from_the_pool_makes_whoever_had_stopped_search_again() -> None:
    theirs = Candidate(prompt="a cat, warm", image="i", score=0.7, origin=("b", 0))
    scored_only = Iteration(number=2, candidates=(), pooled=(theirs,))
    histories = {
        A.id: [rendered(0, 0.5), rendered(1, 0.4), scored_only],
        B.id: [rendered(0, 0.5), rendered(1, 0.6), rendered(2, 0.1)],
    }
    steps = next_round([A, B], histories, POOL)
    step = steps[A.id]
    assert isinstance(step, Propose)
    assert step.context == theirs
    assert steps[B.id] == ScorePool(3)


def test_a_cohort_is_done_when_nobody_goes_on_and_winners_are_reseeded_last() -> None:
    scored_only = Iteration(number=2, candidates=())
    histories = {
        A.id: [rendered(0, 0.5), rendered(1, 0.4), scored_only],
        B.id: [rendered(0, 0.5), rendered(1, 0.6), rendered(2, 0.1)],
    }
    assert next_round([A, B], histories, POOL) == {}
    guarded = SearchSettings(
        candidates=2, iterations=3, patience=1, share="pool", guards=type(POOL.guards)(reseed="warn")
    )
    assert {name: type(step) for name, step in next_round([A, B], histories, guarded).items()} == {B.id: Reseed}


def test_whoever_failed_before_catches_up_alone() -> None:
    histories = {A.id: [], B.id: [rendered(0, 0.5), rendered(1, 0.6)], C.id: [rendered(0, 0.5), rendered(1, 0.4)]}
    assert next_round([A, B, C], histories, POOL) == {A.id: RenderBase()}


def test_whoever_catches_up_scores_the_pool_to_the_last_round_of_the_others_even_where_it_has_stopped() -> None:
    theirs = [rendered(0, 0.5), rendered(1, 0.6), rendered(2, 0.7), rendered(3, 0.8)]
    histories = {A.id: [rendered(0, 0.5), rendered(1, 0.4)], B.id: theirs}
    assert next_round([A, B], histories, POOL) == {A.id: ScorePool(2)}
    histories[A.id] += [Iteration(number=number, candidates=()) for number in (2, 3)]
    assert next_round([A, B], histories, POOL) == {}


def test_everybody_gets_each_image_of_the_others_once_and_none_of_their_own() -> None:
    rounds = {
        "a": rendered(1, 0.1, 0.2, images=["x", "y"]),
        "b": rendered(1, 0.3, 0.4, images=["y", "z"]),
        "c": Iteration(number=1, candidates=(Candidate(prompt="lost", error="e"), Candidate(prompt="z", image="z"))),
    }
    assert [(c.image, c.origin) for c in pool_for(A, rounds["a"], rounds)] == [("z", ("b", 1))]
    assert [(c.image, c.origin) for c in pool_for(C, rounds["c"], rounds)] == [("x", ("a", 0)), ("y", ("a", 1))]


def test_an_image_from_the_pool_keeps_the_subject_guards_warning_about_its_prompt() -> None:
    guards = GuardSettings(subject="warn")
    lost = subject_notice("a cat", "a dog", 0.3, guards)
    assert lost is not None
    warned = with_notice(Candidate(prompt="a dog", image="x", score=0.9), "warn", lost)
    rounds = {"a": rendered(1), "b": Iteration(number=1, candidates=(warned,))}
    assert [c.warnings for c in pool_for(A, rounds["a"], rounds)] == [(lost,)]


def test_an_image_from_the_pool_drops_the_warnings_about_it_as_somebody_elses_best() -> None:
    guards = GuardSettings(drift="warn", held_out="warn")
    base = Candidate(prompt="a cat", measured={HELD_OUT: 0.8, SATURATION: 10, SHARPNESS: 0})
    theirs = Candidate(
        prompt="a cat, garish", image="x", score=0.9, warnings=(Notice(Check.SUBJECT, 0.3, 0.6, "lacks tabby"),)
    )
    guarded = apply_guards(replace(theirs, measured={HELD_OUT: 0.2, SATURATION: 90, SHARPNESS: 0}), base, guards)
    assert len(guarded.warnings) == 3
    rounds = {"a": rendered(1), "b": Iteration(number=1, candidates=(guarded,))}
    assert [c.warnings for c in pool_for(A, rounds["a"], rounds)] == [theirs.warnings]


def test_what_a_line_says_of_others_images_gets_their_prompts_back() -> None:
    rounds = {"b": rendered(1, 0.3, 0.4)}
    (found,) = resolve_pooled([Candidate(prompt="", score=0.9, origin=("b", 1))], rounds)
    assert found == Candidate(prompt="a cat i11", image="i11", score=0.9, origin=("b", 1))
