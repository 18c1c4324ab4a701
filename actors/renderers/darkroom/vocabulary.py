"""The photographic vocabulary: its terms as data, and the grammar that finds them in prose.

Invariant: whatever `GradedTerm.phrase` writes, `find_terms` reads back as the same term and grade. Terms on one
axis contradict each other. What the amounts do to pixels is the development's business.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

from actors.renderers.darkroom.development import Development


@dataclass(frozen=True, slots=True)
class Term:
    """One photographic term. `noun` says whether it takes "strong" or "very" before it."""

    name: str
    aliases: tuple[str, ...]
    family: str
    axis: str
    effect: Development
    noun: bool = False


@dataclass(frozen=True, slots=True)
class GradedTerm:
    """A term with the grade in which it was asked for.

    Example:

        GradedTerm(term_named("foggy"), 1.5).phrase == "very foggy"
    """

    term: Term
    grade: float = 1.0

    @property
    def phrase(self) -> str:
        word = _SPOKEN_GRADES[self.grade][self.term.noun]
        return f"{word} {self.term.name}".strip()


GRADES = (0.5, 1.0, 1.5, 2.0)
_SPOKEN_GRADES = {0.5: ("slightly", "subtle"), 1.0: ("", ""), 1.5: ("very", "strong"), 2.0: ("extremely", "extreme")}
_GRADE_WORDS = {
    0.5: "barely slightly subtly softly gently mildly faintly somewhat subtle slight gentle mild faint hint touch",
    1.5: "very strongly deeply highly richly heavily intensely really strong deep heavy intense rich pronounced",
    2.0: "extremely extreme ultra super intensively incredibly exceedingly hyper",
}
_GRADE_OF = {word: grade for grade, words in _GRADE_WORDS.items() for word in words.split()}


def _family(family: str, *rows: tuple[str, str, str, Development]) -> tuple[Term, ...]:
    """Read rows of (name and aliases, axis, "noun" or "", effect)."""
    terms = []
    for names, axis, kind, effect in rows:
        name, *aliases = names.split(" | ")
        terms.append(Term(name, tuple(aliases), family, axis, effect, noun=kind == "noun"))
    return tuple(terms)


_D = Development

VOCABULARY: tuple[Term, ...] = (
    *_family(
        "light",
        ("golden hour | golden light | sunset light | sunrise light | warm golden light | magic hour", "hour", "noun",
         _D(warmth=1.3, exposure_ev=0.15, sidelight=0.35, saturation=0.15, bloom=0.4)),
        ("blue hour | twilight | dusk light", "hour", "noun",
         _D(warmth=-1.3, exposure_ev=-0.5, tint=0.15, saturation=-0.1)),
        ("moonlit | moonlight", "hour", "", _D(toning=-0.6, exposure_ev=-1.0, saturation=-0.5, contrast=0.2)),
        ("candlelit | candlelight | firelight | fire-lit", "hour", "",
         _D(warmth=1.5, exposure_ev=-0.5, vignette=0.6, contrast=0.2)),
        ("overcast | cloudy light | grey light | gray light", "hour", "",
         _D(saturation=-0.3, contrast=-0.45, warmth=-0.3, exposure_ev=-0.1)),
        ("sunlit | bright sunlight | sunny | sun-drenched | sunlight", "hour", "",
         _D(exposure_ev=0.35, warmth=0.4, contrast=0.3, saturation=0.2)),
        ("low-key | dark and shadowy | dimly lit | dark lighting", "key", "",
         _D(exposure_ev=-1.0, shadows=-0.5, contrast=0.2)),
        ("high-key | bright and airy | brightly lit | bright lighting | light and airy", "key", "",
         _D(exposure_ev=0.7, shadows=0.4, vignette=-0.25)),
        ("underexposed | darker exposure", "exposure", "", _D(exposure_ev=-0.75)),
        ("overexposed | brighter exposure | bright exposure", "exposure", "", _D(exposure_ev=0.6)),
        ("backlit | backlighting | rim light | rim-lit | contre-jour", "direction", "", _D(backlight=1.0, bloom=0.5)),
        ("side-lit | side lighting | side light | Rembrandt lighting", "direction", "",
         _D(sidelight=0.7, contrast=0.1)),
        ("spotlit | spotlight | spot lighting", "direction", "", _D(vignette=1.2, exposure_ev=0.2, contrast=0.2)),
        ("soft light | soft natural light | diffused light | diffuse light | gentle light | soft diffused light",
         "hardness", "noun", _D(contrast=-0.5, shadows=0.5, bloom=0.35)),
        ("hard light | harsh light | direct flash | harsh sunlight", "hardness", "noun",
         _D(contrast=0.6, sharpness=0.6, shadows=-0.3)),
        ("deep shadows | dark shadows | crushed blacks", "shadows", "noun",
         _D(shadows=-0.9, exposure_ev=-0.2, contrast=0.2)),
        ("open shadows | lifted shadows | bright shadows", "shadows", "noun", _D(shadows=0.9, exposure_ev=0.15)),
    ),
    *_family(
        "colour",
        ("vibrant | vivid | saturated | colorful | colourful | bold colors | rich colors | bright colors", "saturation",
         "", _D(saturation=0.7)),
        ("muted | desaturated | subdued | understated colors | soft colors", "saturation", "", _D(saturation=-0.45)),
        ("monochrome | black and white | black-and-white | black & white | monochromatic | greyscale | grayscale | b&w",
         "saturation", "", _D(saturation=-1.0, contrast=0.15)),
        ("sepia | sepia-toned", "saturation", "", _D(saturation=-1.0, toning=1.2, matte=0.2)),
        ("cyanotype | blueprint tones", "saturation", "", _D(saturation=-1.0, toning=-1.1)),
        ("pastel", "saturation", "", _D(saturation=-0.3, exposure_ev=0.4, matte=0.4, contrast=-0.2)),
        ("warm tones | warm colors | warm light | warm hues | warm palette | warm white balance", "temperature", "noun",
         _D(warmth=1.0)),
        ("cool tones | cool colors | cool light | cool hues | cold light | cold tones | icy tones | cool palette",
         "temperature", "noun", _D(warmth=-1.0)),
        ("teal and orange | orange and teal", "grade", "", _D(split_tone=0.9)),
        ("cross-processed | cross processing", "grade", "",
         _D(tint=-0.5, split_tone=0.4, saturation=0.3, contrast=0.4)),
        ("neon | cyberpunk | neon-lit", "grade", "", _D(tint=0.9, saturation=0.5, contrast=0.3, warmth=-0.4)),
    ),
    *_family(
        "contrast",
        ("high contrast | strong contrast | contrasty | bold contrast | punchy", "contrast", "noun", _D(contrast=0.9)),
        ("low contrast | soft contrast | flat contrast", "contrast", "noun", _D(contrast=-0.6)),
        ("HDR | high dynamic range", "range", "noun", _D(clarity=0.9, shadows=0.3, saturation=0.15)),
        ("matte | matte finish", "range", "", _D(matte=1.2)),
    ),
    *_family(
        "lens",
        ("wide-angle | wide shot | wide view | distant view | long shot", "distance", "noun", _D(zoom=-0.25)),
        ("telephoto | zoom lens | long lens", "distance", "noun", _D(zoom=0.3, depth_blur=0.5)),
        ("close-up | closeup | close view | close shot", "distance", "noun", _D(zoom=0.5)),
        ("macro | macro lens | macro photography", "distance", "noun", _D(zoom=0.6, depth_blur=0.7, sharpness=0.3)),
        ("shallow depth of field | shallow focus | blurred background | blurry background | shallow DOF",
         "depth", "noun", _D(depth_blur=0.8)),
        ("bokeh | creamy bokeh", "depth", "noun", _D(depth_blur=1.0, bokeh=0.9)),
        ("tilt-shift | miniature effect", "depth", "noun", _D(band_blur=0.9, saturation=0.3)),
        ("sharp focus | crisp detail | crisp | razor-sharp | tack-sharp | highly detailed | sharp details",
         "focus", "noun", _D(sharpness=1.2)),
        ("soft focus | softly focused", "focus", "noun", _D(sharpness=-0.9, bloom=0.3)),
        ("out of focus | blurry | defocused", "focus", "", _D(sharpness=-1.5)),
    ),
    *_family(
        "framing",
        ("low angle | from below | worm's-eye view", "angle", "noun", _D(keystone=0.45)),
        ("high angle | from above | bird's-eye view", "angle", "noun", _D(keystone=-0.45)),
        ("dutch angle | tilted horizon | tilted frame | canted angle", "roll", "noun", _D(roll_degrees=12)),
        ("tight crop | tightly cropped | tight framing | fills the frame | fill the frame", "crop", "noun",
         _D(zoom=0.35)),
        ("loose crop | loose framing | negative space", "crop", "noun", _D(zoom=-0.2)),
        ("off-centre | off-center | rule of thirds | asymmetrical composition", "placement", "", _D(shift=0.2)),
    ),
    *_family(
        "mood",
        ("foggy | misty | hazy | fog | mist | haze", "air", "", _D(fog=0.85)),
        ("crystal clear | clear air", "air", "", _D(sharpness=0.8, contrast=0.3, saturation=0.15)),
        ("dreamy | dreamlike", "mood", "", _D(bloom=0.9, sharpness=-0.6, contrast=-0.2, saturation=-0.1)),
        ("ethereal | otherworldly", "mood", "",
         _D(bloom=0.7, exposure_ev=0.35, saturation=-0.3, warmth=-0.4, vignette=-0.5)),
        ("moody | brooding | somber | sombre", "mood", "",
         _D(exposure_ev=-0.45, saturation=-0.3, vignette=0.5, warmth=-0.3)),
        ("dramatic | cinematic | dramatic lighting", "mood", "",
         _D(contrast=0.6, clarity=0.3, vignette=0.5, exposure_ev=-0.2)),
        ("serene | tranquil | peaceful | calm", "mood", "", _D(contrast=-0.35, saturation=-0.15, exposure_ev=0.25)),
        ("nostalgic | wistful", "mood", "", _D(warmth=0.8, saturation=-0.3, matte=0.5, grain=0.3)),
        ("gritty | raw and gritty", "mood", "", _D(clarity=0.6, grain=0.8, saturation=-0.3, contrast=0.3)),
        ("cheerful | joyful | uplifting", "mood", "", _D(exposure_ev=0.35, saturation=0.35, warmth=0.3)),
    ),
    *_family(
        "film",
        ("film grain | grainy | grain | noisy", "grain", "noun", _D(grain=1.0)),
        ("vignette | vignetting | dark corners | darkened edges | vignetted", "vignette", "noun", _D(vignette=0.9)),
        ("white vignette | bright corners | bright edges | light edges", "vignette", "noun", _D(vignette=-0.8)),
        ("faded film | faded colors | faded | vintage film | vintage look | retro film | analog film", "film", "noun",
         _D(matte=0.7, saturation=-0.35, warmth=0.4, grain=0.35)),
        ("slide film | Kodachrome | Velvia", "film", "noun", _D(saturation=0.45, contrast=0.4, warmth=0.25)),
        ("glow | glowing | soft glow | halation", "glow", "noun", _D(bloom=1.0)),
    ),
    *_family(
        "time",
        ("long exposure | slow shutter", "time", "noun", _D(motion=0.6, bloom=0.4, exposure_ev=0.2)),
        ("motion blur | panning | blurred motion", "time", "noun", _D(motion=1.2)),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Mention:
    start: int
    end: int
    graded: GradedTerm
    negated: bool


_PROSE_NOUN = (
    r"(?:[\s-]+(?:colou?rs?|colou?ring|tones?|toned|hues?|palettes?|light(?:ing)?|atmosphere|mood|feel(?:ing)?|look|effects?"
    r"|style|aesthetic|shot|view|lens|perspective|composition|photo(?:graph(?:y)?)?|image|background|finish)(?!\w))?"
)
_NEGATION = (
    r"(?:\b(?:no|not|never|non|without|free\s+of|avoid(?:ing)?|lacking|minus|less|zero|devoid\s+of|nor|isn't|neither)"
    r"(?:\s+(?:any|too|a|an|the|much|overly))*[\s-]+)"
)


def find_terms(prompt: str) -> list[GradedTerm]:
    """Read the terms out of free prose, in order; of a term said twice, the strongest grade counts.

    Example:

        [graded.phrase for graded in find_terms("A Misty harbour in deeply muted tones, no grain")]
        == ["foggy", "very muted"]
    """
    found: dict[str, GradedTerm] = {}
    for mention in _mentions(prompt):
        graded = mention.graded
        if not mention.negated and (graded.term.name not in found or graded.grade > found[graded.term.name].grade):
            found[graded.term.name] = graded
    return list(found.values())


def subject_of(prompt: str) -> str:
    """Leave out the photographic language: what the photograph is of."""
    kept, position = [], 0
    for mention in _mentions(prompt):
        kept.append(prompt[position : mention.start])
        position = mention.end
    rest = "".join([*kept, prompt[position:]])
    parts = (_DANGLING.sub("", " ".join(part.split())) for part in rest.split(","))
    return ", ".join(part for part in parts if part.strip(" .;:-").lower() not in _ARTICLES).strip(" .;:")


def split_modifiers(prompt: str, base_prompt: str) -> list[GradedTerm]:
    """Read the terms that a rewritten prompt adds to its base prompt.

    A prompt that does not begin with its base prompt, as a language model may write it, is read as a whole, without
    the terms that the base prompt has itself.
    """
    if prompt.startswith(base_prompt):
        return find_terms(prompt.removeprefix(base_prompt))
    given = {graded.term.name for graded in find_terms(base_prompt)}
    return [graded for graded in find_terms(prompt) if graded.term.name not in given]


def development_of(terms: Iterable[GradedTerm]) -> Development:
    """Add up what the terms ask for."""
    return sum((graded.grade * graded.term.effect for graded in terms), Development())


@cache
def term_named(name: str) -> Term:
    """Look up a term by its canonical name; KeyError if there is none."""
    return {term.name: term for term in VOCABULARY}[name]


_DANGLING = re.compile(r"^(?:(?:and|or|of|with|in)\b\s*)+|(?:\s*\b(?:and|or|with|in|of|soft|more))+$", re.IGNORECASE)
_ARTICLES = {"", "a", "an", "the"}


@lru_cache(maxsize=256)
def _mentions(prompt: str) -> tuple[_Mention, ...]:
    """Every place where a term is said, in order; "no grain or vignette" negates both.

    Kept for the latest prompts, because both subject and terms are read from each.
    """
    return tuple(_read_mentions(prompt))


def _read_mentions(prompt: str) -> Iterator[_Mention]:
    pattern, names = _grammar()
    previous: _Mention | None = None
    for match in pattern.finditer(prompt):
        continued = (
            previous is not None
            and previous.negated
            and re.fullmatch(r"\s+(?:or|and|nor)\s+", prompt[previous.end : match.start()]) is not None
        )
        grade = _GRADE_OF[match["grade"].lower()] if match["grade"] else 1.0
        term = names[_squeezed(match["phrase"])]
        negated = bool(match["negation"] or match["free"]) or continued
        previous = _Mention(match.start(), match.end(), GradedTerm(term, grade), negated)
        yield previous


@cache
def _grammar() -> tuple[re.Pattern[str], dict[str, Term]]:
    names = {_squeezed(name): term for term in VOCABULARY for name in (term.name, *term.aliases)}
    spellings = sorted({name for term in VOCABULARY for name in (term.name, *term.aliases)}, key=len, reverse=True)
    phrases = "|".join(_spelt(spelling) for spelling in spellings)
    grades = "|".join(sorted(_GRADE_OF, key=len, reverse=True))
    pattern = re.compile(
        rf"(?P<negation>{_NEGATION})?"
        rf"(?<!\w)(?:(?:an?\s+)?(?P<grade>{grades})(?:[\s-]+(?:more|of))?[\s-]+)?"
        rf"(?P<phrase>{phrases})(?!\w)(?:(?P<free>-free(?!\w))|{_PROSE_NOUN})",
        re.IGNORECASE,
    )
    return pattern, names


def _spelt(name: str) -> str:
    """Both spellings of colour, and a hyphen, a space or nothing between words."""
    words = (re.escape(word).replace("colors", "colou?rs") for word in re.split(r"[\s-]+", name))
    return r"[\s\-‑]*".join(words)


def _squeezed(name: str) -> str:
    return re.sub(r"[\s\-‑]+", "", name).lower().replace("colours", "colors")
