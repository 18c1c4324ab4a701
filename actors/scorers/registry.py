"""The scorers by name: what they measure, on which scale, and what they need. Scores are raw; higher is better."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What a scorer measures, and on which scale.

    Example:

        Scale(of="LAION-Aesthetics v2", values="about 1 to 10", library="pyiqa", install="pip install pyiqa")
    """

    of: str
    """The quantity."""
    values: str
    """Its range."""
    library: str = ""
    """Module that has to be importable where the scorer runs; empty: none beside this project's."""
    install: str = ""
    """What to do if the library or the weights are missing; the end of an error message."""


_OWN = "make an environment of its own from actors/scorers/environments/{}.txt (docs/scorers.md)"

SCORERS: Mapping[str, Scale] = {
    "pamela": Scale(of="predicted rating by the user", values="0 to 1"),
    "population": Scale(of="predicted rating by nobody in particular", values="0 to 1"),
    "laion": Scale(of="LAION-Aesthetics v2", values="about 1 to 10", library="pyiqa", install=_OWN.format("pyiqa")),
    "q-align": Scale(of="Q-Align, aesthetics", values="1 to 5", library="pyiqa", install=_OWN.format("pyiqa")),
    "q-align-iqa": Scale(of="Q-Align, quality", values="1 to 5", library="pyiqa", install=_OWN.format("pyiqa")),
    "imagereward": Scale(
        of="ImageReward, preference given the prompt",
        values="about -2 to 2",
        library="ImageReward",
        install=_OWN.format("imagereward"),
    ),
    "deqa": Scale(
        of="DeQA-Score, quality",
        values="1 to 5",
        install=_OWN.format("deqa"),
    ),
    "hpsv3": Scale(
        of="HPSv3, preference given the prompt",
        values="about -5 to 15",
        library="hpsv3",
        install=_OWN.format("hpsv3"),
    ),
    "pickscore": Scale(
        of="PickScore v1, preference given the prompt",
        values="about 15 to 25",
        install="name a CLIP checkpoint that can be had by --set generic.pickscore.model=FOLDER",
    ),
}


def scale_of(name: str) -> Scale:
    """Of a scorer that this project has, or of one's own, of which only its class knows more."""
    return SCORERS.get(name, Scale(of=f"what {name} measures", values="its own"))
