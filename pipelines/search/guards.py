"""What stops a winner that only fools the scorer: guards on the subject, a held-out score, and the picture's drift.

Pure functions of what was measured. A guard that is on notices something or nothing; whether that warns or rejects is
for the `GuardSettings` of the protocol to say. What a guard has not been given a measurement for, it cannot notice.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from pipelines.search.trajectory import Candidate
from pipelines.settings.search import Guard, GuardSettings

SATURATION, SHARPNESS = "saturation", "sharpness"
"""Of `predictor.simulation.attributes`: mean chroma, and log10 of the variance of the Laplacian."""
HELD_OUT = "held_out"
"""The held-out scorer's score."""
SUBJECT = "subject_similarity"
"""Cosine of the image and the base prompt; `LEAST_SUBJECT` is what base images with other seeds keep."""
LEAST_SUBJECT = "least_subject_similarity"

_OF_THE_PROMPT = "subject: "

_WORD = re.compile(r"[^\W\d_]{3,}", re.UNICODE)
_NO_SUBJECT = frozenset(
    _WORD.findall(
        "the and with without from into onto over under above below near between behind beside against across through "
        "for that this these those its his her their are was were has have had very some any all one two three"
    )
)


def key_words(prompt: str) -> list[str]:
    """The words of a prompt that name what is to be seen, folded and without their plural ending.

    Example:

        key_words("Two cats on the sofa") == ["cat", "sofa"]
    """
    words = (match.casefold() for match in _WORD.findall(prompt))
    return list(dict.fromkeys(_stem(word) for word in words if word not in _NO_SUBJECT))


def missing_words(base_prompt: str, prompt: str) -> list[str]:
    """The key words of the base prompt that a rewritten one lacks."""
    there = set(key_words(prompt))
    return [word for word in key_words(base_prompt) if word not in there]


def lost_subject(base_prompt: str, prompt: str, similarity: float, guards: GuardSettings) -> str | None:
    """What the subject guard notices: key words that are gone, from a prompt that means something else as well."""
    missing = missing_words(base_prompt, prompt)
    if not missing or similarity >= guards.subject_similarity:
        return None
    return f"{_OF_THE_PROMPT}lacks {', '.join(missing)}, and its similarity to the base prompt is {similarity:.2f}"


def of_the_prompt(candidate: Candidate) -> tuple[str, ...]:
    """The candidate's warnings that hold for whoever looks at it: those of the subject guard, which knows no score."""
    return tuple(warning for warning in candidate.warnings if warning.startswith(_OF_THE_PROMPT))


def examined(candidate: Candidate, base: Candidate, guards: GuardSettings) -> Candidate:
    """The candidate with what the guards notice in its measurements, beside those of the base prompt's image."""
    for guard, notice in _notices(candidate.measured, base.measured, guards):
        candidate = noticed(candidate, guard, notice)
    return candidate


def noticed(candidate: Candidate, guard: Guard, notice: str) -> Candidate:
    """The candidate after a guard has noticed something, which it may have said before."""
    if guard == "reject":
        return replace(candidate, rejected=candidate.rejected or notice)
    if guard == "off" or notice in candidate.warnings:
        return candidate
    return replace(candidate, warnings=(*candidate.warnings, notice))


def luck(initial: float, final: float, guards: GuardSettings) -> str | None:
    """What the reseed guard notices: with fresh seeds the winner's mean is no better than the base prompt's."""
    if final > initial:
        return None
    return f"reseed: with {guards.reseeds} fresh seeds its mean score is {final:.3f}, the base prompt's {initial:.3f}"


def _notices(
    measured: Mapping[str, float], base: Mapping[str, float], guards: GuardSettings
) -> Iterator[tuple[Guard, str]]:
    if SUBJECT in measured and measured[SUBJECT] < measured[LEAST_SUBJECT]:
        what = f"it is {measured[SUBJECT]:.3f} like the base prompt, less than {measured[LEAST_SUBJECT]:.3f}"
        yield guards.image, f"image: {what}"
    if HELD_OUT in measured and HELD_OUT in base and base[HELD_OUT] - measured[HELD_OUT] > guards.held_out_fall:
        what = f"{guards.held_out_scorer} falls from {base[HELD_OUT]:.3f} to {measured[HELD_OUT]:.3f}"
        yield guards.held_out, f"held-out: while the score rises, {what}"
    if SATURATION in measured and SATURATION in base:
        if measured[SATURATION] - base[SATURATION] > guards.saturation_rise:
            yield guards.drift, f"drift: saturation rises from {base[SATURATION]:.0f} to {measured[SATURATION]:.0f}"
        sharper = measured[SHARPNESS] - base[SHARPNESS]
        if not -guards.sharpness_fall <= sharper <= guards.sharpness_rise:
            yield guards.drift, f"drift: sharpness is {10**sharper:.2g} times the base image's"


def _stem(word: str) -> str:
    for ending, kept in (("ies", "y"), ("ses", "s"), ("xes", "x"), ("shes", "sh"), ("ches", "ch")):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            return word[: -len(ending)] + kept
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3 else word
