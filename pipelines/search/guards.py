"""Guards against reward hacking: checks that a winner is more than an image that fools the scorer.

Pure functions of recorded measurements. A guard compares a measurement with a limit and gives a `Notice` where the
limit is exceeded. `GuardSettings` says of each guard whether its notice warns or rejects. Where a measurement is
missing, the guard gives no notice.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from pipelines.search.notices import Check, Notice
from pipelines.search.rounds import Candidate, GuardVerdict
from pipelines.settings.search import Guard, GuardSettings

SATURATION, SHARPNESS = "saturation", "sharpness"
"""Of `predictor.simulation.attributes`: mean chroma, and log10 of the variance of the Laplacian."""
HELD_OUT = "held_out"
"""The held-out scorer's score."""
SUBJECT = "subject_similarity"
"""Cosine of the image's and the base prompt's embedding."""
LEAST_SUBJECT = "least_subject_similarity"
"""The least such cosine that base images with other seeds are expected to have."""

_WORD = re.compile(r"[^\W\d_]{3,}", re.UNICODE)
_STOP_WORDS = frozenset(
    _WORD.findall(
        "the and with without from into onto over under above below near between behind beside against across through "
        "for that this these those its his her their are was were has have had very some any all one two three"
    )
)


def key_words(prompt: str) -> list[str]:
    """The content words of a prompt, casefolded and without their plural ending.

    Example:

        key_words("Two cats on the sofa") == ["cat", "sofa"]
    """
    words = (match.casefold() for match in _WORD.findall(prompt))
    return list(dict.fromkeys(_stem(word) for word in words if word not in _STOP_WORDS))


def missing_words(base_prompt: str, prompt: str) -> list[str]:
    """The key words of the base prompt that a rewritten one lacks."""
    there = set(key_words(prompt))
    return [word for word in key_words(base_prompt) if word not in there]


def subject_notice(base_prompt: str, prompt: str, similarity: float, guards: GuardSettings) -> Notice | None:
    """The subject guard: a rewritten prompt keeps the base prompt's key words, or its meaning.

    Parameters
    ----------
    similarity
        Cosine of the two prompts' embeddings.
    """
    missing = missing_words(base_prompt, prompt)
    if not missing or similarity >= guards.subject_similarity:
        return None
    words = f"lacks {', '.join(missing)}, and its similarity to the base prompt is {similarity:.2f}"
    return Notice(Check.SUBJECT, similarity, guards.subject_similarity, words)


def reseed_notice(initial: float, final: float, guards: GuardSettings) -> Notice | None:
    """The reseed guard: with fresh seeds, the winner's mean score is higher than the base prompt's."""
    if final > initial:
        return None
    words = f"with {guards.reseeds} fresh seeds its mean score is {final:.3f}, the base prompt's {initial:.3f}"
    return Notice(Check.RESEED, final, initial, words)


def guard_verdict(measured: Mapping[str, float], base: Mapping[str, float], guards: GuardSettings) -> GuardVerdict:
    """The verdict of all guards that compare an image's measurements with the base image's."""
    warnings: list[Notice] = []
    rejected = None
    for level, notice in _measurement_notices(measured, base, guards):
        if level == "reject":
            rejected = rejected or notice
        elif level == "warn":
            warnings.append(notice)
    return GuardVerdict(measured=measured, warnings=tuple(warnings), rejected=rejected)


def with_notice(candidate: Candidate, level: Guard, notice: Notice) -> Candidate:
    """The candidate warned or rejected, as `level` says."""
    if level == "reject":
        return replace(candidate, rejected=candidate.rejected or notice)
    return candidate if level == "off" else replace(candidate, warnings=(*candidate.warnings, notice))


def _measurement_notices(
    measured: Mapping[str, float], base: Mapping[str, float], guards: GuardSettings
) -> Iterator[tuple[Guard, Notice]]:
    if SUBJECT in measured and measured[SUBJECT] < measured[LEAST_SUBJECT]:
        similarity, least = measured[SUBJECT], measured[LEAST_SUBJECT]
        words = f"it is {similarity:.3f} like the base prompt, less than {least:.3f}"
        yield guards.image, Notice(Check.IMAGE, similarity, least, words)
    if HELD_OUT in measured and HELD_OUT in base and base[HELD_OUT] - measured[HELD_OUT] > guards.held_out_fall:
        score, before = measured[HELD_OUT], base[HELD_OUT]
        words = f"while the score rises, {guards.held_out_scorer} falls from {before:.3f} to {score:.3f}"
        yield guards.held_out, Notice(Check.HELD_OUT, score, before - guards.held_out_fall, words)
    if SATURATION in measured and SATURATION in base:
        saturation, before = measured[SATURATION], base[SATURATION]
        if saturation - before > guards.saturation_rise:
            words = f"saturation rises from {before:.0f} to {saturation:.0f}"
            yield guards.drift, Notice(Check.DRIFT, saturation, before + guards.saturation_rise, words)
        change = measured[SHARPNESS] - base[SHARPNESS]
        if not -guards.sharpness_fall <= change <= guards.sharpness_rise:
            limit = guards.sharpness_rise if change > 0 else -guards.sharpness_fall
            words = f"sharpness is {10**change:.2g} times the base image's"
            yield guards.drift, Notice(Check.DRIFT, change, limit, words)


def _stem(word: str) -> str:
    for ending, kept in (("ies", "y"), ("ses", "s"), ("xes", "x"), ("shes", "sh"), ("ches", "ch")):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            return word[: -len(ending)] + kept
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3 else word
