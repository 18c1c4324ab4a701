"""The languages in which a study speaks to its participants.

Sentences stand in gettext's catalogues (`catalogues/*.po`), by their English words: the format that translators and
their tools know, and Jinja's. Babel reads them as they are, so that a researcher's own file needs no compiler, and it
knows what browsers call languages, and in which direction each is written.
"""

import gettext
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from babel.core import Locale, UnknownLocaleError, negotiate_locale
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import PoFileError, read_po

CATALOGUES = Path(__file__).parent / "catalogues"
ENGLISH = "en"
MOST_ACCEPTED = 20
"""Languages of a browser's list that are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """A language with its sentences."""

    code: str
    direction: str
    """`ltr` or `rtl`."""
    translations: gettext.NullTranslations


@cache
def shipped() -> Mapping[str, Language]:
    """The languages that come with this package, by code."""
    english = Language(code=ENGLISH, direction="ltr", translations=gettext.NullTranslations())
    return {ENGLISH: english, **{path.stem: read_language(path) for path in sorted(CATALOGUES.glob("*.po"))}}


def read_language(path: Path) -> Language:
    """Read a catalogue; what it leaves out stays English.

    Raises
    ------
    ValueError
        It is no catalogue, does not name its language, or a translation's placeholders are not those of the sentence.
    """
    catalogue = _catalogue(path)
    for text in catalogue:
        if text.id and text.string:
            for error in text.check(catalogue):
                raise ValueError(f"{path}: the translation of {text.id!r} does not fit: {error}")
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    locale = catalogue.locale
    assert locale is not None
    return Language(
        code=str(locale).replace("_", "-"),
        direction=locale.text_direction,
        translations=gettext.GNUTranslations(compiled),
    )


def _catalogue(path: Path) -> Catalog:
    try:
        with path.open("rb") as file:
            catalogue = read_po(file, abort_invalid=True)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (PoFileError, UnicodeDecodeError, UnknownLocaleError, ValueError) as error:
        raise ValueError(f"{path}: not a catalogue of gettext (.po): {error}") from error
    if catalogue.locale is None:
        raise ValueError(f'{path}: does not say which language it is in; its header needs a line "Language: de\\n"')
    return catalogue


def language_of(told: str) -> Language:
    """The language of a code (`de`), or of one's own file (`my_words.po`).

    Raises
    ------
    ValueError
        It is no language that is shipped, and no such file is there.
    """
    if told.endswith(".po"):
        return read_language(Path(told))
    if told not in shipped():
        raise ValueError(f"--language {told}: is not among {', '.join(shipped())}; or give a catalogue, a file *.po")
    return shipped()[told]


def preferred(accept_language: str) -> Language:
    """The language that a browser asks for (RFC 9110, section 12.5.4), or English."""
    wanted = [str(locale) for locale in _accepted(accept_language)]
    found = negotiate_locale(wanted, list(shipped()), sep="_")
    return shipped()[found or ENGLISH]


def _accepted(accept_language: str) -> list[Locale]:
    """What a browser lists and Babel knows, the most wanted first."""
    listed = []
    for part in accept_language.split(",")[:MOST_ACCEPTED]:
        name, _, weight = part.partition(";")
        try:
            quality = float(weight.strip().removeprefix("q=") or 1)
            listed.append((-quality, len(listed), Locale.parse(name.strip(), sep="-")))
        except (ValueError, UnknownLocaleError):  # "*", or nothing that is a language
            continue
    return [locale for quality, _, locale in sorted(listed, key=lambda one: one[:2]) if quality < 0]
