import pytest

from pipelines.search.guards import apply_guards, key_words, missing_words, reseed_notice, subject_notice
from pipelines.search.notices import Check, Notice
from pipelines.search.trajectory import Candidate
from pipelines.settings.search import Guard, GuardSettings

BASE = Candidate(prompt="a cat", image="b", score=0.5, measured={"held_out": 0.5, "saturation": 20.0, "sharpness": 2.0})


def seen(**measured: float) -> Candidate:
    return Candidate(prompt="a cat, vivid", image="i", score=0.9, measured={**BASE.measured, **measured})


def guarding(name: str, guard: Guard) -> GuardSettings:
    return GuardSettings(**{name: guard})  # pyright: ignore[reportArgumentType]


def test_key_words_are_folded_and_without_plural_and_small_words() -> None:
    assert key_words("Two cats on the Sofa, with cherries and a glass") == ["cat", "sofa", "cherry", "glass"]
    assert missing_words("a cat on a sofa", "A CAT asleep, soft light") == ["sofa"]


def test_a_prompt_with_every_key_word_keeps_its_subject_whatever_it_means() -> None:
    assert subject_notice("a cat on a sofa", "cats, sofas and a thousand other things", -1.0, GuardSettings()) is None


def test_a_prompt_that_says_the_same_in_other_words_keeps_its_subject() -> None:
    assert subject_notice("a cat", "a tabby kitten", 0.8, GuardSettings()) is None
    words = "lacks cat, and its similarity to the base prompt is 0.30"
    notice = subject_notice("a cat", "a dog", 0.3, GuardSettings())
    assert notice == Notice(Check.SUBJECT, 0.3, 0.6, words)
    assert str(notice) == f"subject: {words}"


@pytest.mark.parametrize(
    "measured, guard, limit, reason",
    [
        ({"held_out": 0.4}, "held_out", 0.45, "held-out: while the score rises, population falls from 0.500 to 0.400"),
        ({"saturation": 60.0}, "drift", 56.0, "drift: saturation rises from 20 to 60"),
        ({"sharpness": -1.0}, "drift", -2.8, "drift: sharpness is 0.001 times the base image's"),
        ({"sharpness": 4.0}, "drift", 1.5, "drift: sharpness is 1e+02 times the base image's"),
        ({"subject_similarity": 0.1, "least_subject_similarity": 0.2}, "image", 0.2, "image: it is 0.100 like"),
    ],
)
def test_each_guard_is_off_or_warns_or_rejects(
    measured: dict[str, float], guard: str, limit: float, reason: str
) -> None:
    candidate = seen(**measured)
    assert apply_guards(candidate, BASE, GuardSettings()) == candidate
    warned = apply_guards(candidate, BASE, guarding(guard, "warn"))
    assert warned.eligible
    (notice,) = warned.warnings
    assert str(notice).startswith(reason)
    assert notice.check.replace("-", "_") == guard
    assert notice.limit == pytest.approx(limit)
    rejected = apply_guards(candidate, BASE, guarding(guard, "reject"))
    assert not rejected.eligible
    assert rejected.rejected == notice


def test_a_candidate_within_all_limits_is_left_alone() -> None:
    everything = GuardSettings(image="reject", held_out="reject", drift="reject")
    candidate = seen(held_out=0.49, saturation=45.0, sharpness=1.0)
    assert apply_guards(candidate, BASE, everything) == candidate
    unmeasured = Candidate(prompt="a cat, vivid", image="i", score=0.9)
    assert apply_guards(unmeasured, BASE, everything) == unmeasured


def test_a_winner_whose_mean_with_fresh_seeds_is_no_better_gets_a_notice() -> None:
    assert reseed_notice(0.5, 0.51, GuardSettings()) is None
    notice = reseed_notice(0.5, 0.5, GuardSettings())
    assert str(notice) == "reseed: with 2 fresh seeds its mean score is 0.500, the base prompt's 0.500"
