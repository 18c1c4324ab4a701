from dataclasses import replace

import pytest

from pipelines.search.guards import guard_verdict, key_words, missing_words, reseed_notice, subject_notice, with_notice
from pipelines.search.notices import Check, Notice
from pipelines.search.rounds import Candidate, GuardVerdict
from pipelines.settings.search import Guard, GuardSettings

BASE = {"held_out": 0.5, "saturation": 20.0, "sharpness": 2.0}


def guarding(name: str, guard: Guard) -> GuardSettings:
    return GuardSettings(**{name: guard})


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
    seen = {**BASE, **measured}
    assert guard_verdict(seen, BASE, GuardSettings()) == GuardVerdict(measured=seen)
    warned = guard_verdict(seen, BASE, guarding(guard, "warn"))
    assert warned.passed
    assert warned.measured == seen
    (notice,) = warned.warnings
    assert str(notice).startswith(reason)
    assert notice.check.replace("-", "_") == guard
    assert notice.limit == pytest.approx(limit)
    rejected = guard_verdict(seen, BASE, guarding(guard, "reject"))
    assert not rejected.passed
    assert rejected == GuardVerdict(measured=seen, rejected=notice)


def test_the_first_guard_that_rejects_is_the_reason_and_the_others_still_warn() -> None:
    seen = {**BASE, "held_out": 0.1, "saturation": 90.0, "sharpness": 9.0}

    both = guard_verdict(seen, BASE, GuardSettings(held_out="reject", drift="reject"))
    assert both.rejected is not None
    assert (both.rejected.check, both.warnings) == (Check.HELD_OUT, ())
    one = guard_verdict(seen, BASE, GuardSettings(held_out="warn", drift="reject"))
    assert one.rejected is not None
    assert (one.rejected.check, [warning.check for warning in one.warnings]) == (Check.DRIFT, [Check.HELD_OUT])
    none = guard_verdict(seen, BASE, GuardSettings(held_out="warn", drift="warn"))
    assert [warning.check for warning in none.warnings] == [Check.HELD_OUT, Check.DRIFT, Check.DRIFT]


def test_an_image_within_all_limits_has_nothing_said_of_it() -> None:
    everything = GuardSettings(image="reject", held_out="reject", drift="reject")
    seen = {**BASE, "held_out": 0.49, "saturation": 45.0, "sharpness": 1.0}
    assert guard_verdict(seen, BASE, everything) == GuardVerdict(measured=seen)
    assert guard_verdict({}, BASE, everything) == GuardVerdict()
    assert guard_verdict(seen, {}, everything) == GuardVerdict(measured=seen)


def test_a_candidate_is_warned_or_rejected_as_its_guard_says_and_keeps_what_was_said_before() -> None:
    first, second = (Notice(Check.SUBJECT, 0.3, 0.6, words) for words in ("lacks cat", "lacks sofa"))
    candidate = Candidate(prompt="a dog", warnings=(first,))

    assert with_notice(candidate, "off", second) == candidate
    assert with_notice(candidate, "warn", second) == replace(candidate, warnings=(first, second))
    rejected = with_notice(candidate, "reject", first)
    assert rejected == replace(candidate, rejected=first)
    assert with_notice(rejected, "reject", second) == rejected


def test_a_winner_whose_mean_with_fresh_seeds_is_no_better_gets_a_notice() -> None:
    assert reseed_notice(0.5, 0.51, GuardSettings()) is None
    notice = reseed_notice(0.5, 0.5, GuardSettings())
    assert str(notice) == "reseed: with 2 fresh seeds its mean score is 0.500, the base prompt's 0.500"
