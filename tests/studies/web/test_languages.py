"""Every sentence that participants read is there in every language, and shown in the one that they want."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.pofile import read_po
from hypothesis import given
from hypothesis import strategies as st

from studies.study import Study
from studies.web import languages
from studies.web.languages import CATALOGUES, language_of, preferred, read_language, shipped
from tests.studies.web.conftest import Serve, answer

STUDIES = Path(languages.__file__).parents[1]
METHODS = [("**.py", "python"), ("**/pages/**.html", "jinja2")]


def sentences() -> set[str]:
    """What is marked for translation, in pages and code."""
    found = extract_from_dir(STUDIES, METHODS, keywords={**DEFAULT_KEYWORDS, "message": None})
    return {str(text) for _, _, text, _, _ in found}


def catalogue(code: str) -> Catalog:
    with (CATALOGUES / f"{code}.po").open("rb") as file:
        return read_po(file)


@pytest.mark.parametrize("code", ["de", "fr", "es", "ja", "ar"])
def test_every_sentence_is_translated_and_none_that_is_gone(code: str) -> None:
    wanted = sentences()
    assert len(wanted) > 100
    translated = {str(text.id) for text in catalogue(code) if text.id and text.string and not text.fuzzy}
    assert wanted - translated == set()
    assert translated - wanted == set()
    assert list(catalogue(code).check()) == []


@pytest.mark.parametrize("code", ["de", "fr", "es", "ja", "ar"])
def test_a_translation_keeps_keys_and_placeholders(code: str) -> None:
    for text in catalogue(code):
        if text.id:
            assert str(text.string).count("<kbd>") == str(text.id).count("<kbd>"), text.id
            assert str(text.string).count("{value}") == str(text.id).count("{value}"), text.id


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("fr-CA", "fr"),
        ("pt-BR,es;q=0.5", "es"),
        ("en-GB,de;q=0.9", "en"),
        ("en;q=0.1, ar;q=0.9", "ar"),
        ("de;q=0, ja;q=0.5", "ja"),
        ("tlh, *;q=0.1", "en"),
        ("", "en"),
        (";;;q=x,,", "en"),
    ],
)
def test_a_browser_gets_the_first_language_of_its_list_that_is_there(asked: str, code: str) -> None:
    assert preferred(asked).code == code


@given(st.text(max_size=60))
def test_whatever_a_browser_asks_for_some_language_is_found(asked: str) -> None:
    assert preferred(asked).code in shipped()


def pages(study: Study, serve: Serve, asked: str) -> Iterator[str]:
    """What somebody with a browser in a language reads from beginning to end."""
    site = serve(study)
    client = site.visitor()
    client.headers["Accept-Language"] = asked
    yield client.get("/").text
    yield client.get("/join/guess").text
    ((_, token),) = site.study_session.store.invite(["u1" if study.users else None])
    yield client.get(f"/join/{token}").text
    yield client.post("/consent", data={"agreed": "yes"}).text
    yield client.post("/about", data={}).text
    answer(client, rating="50")
    yield client.get("/").text
    yield client.get("/withdraw").text
    yield client.post("/withdraw").text


@pytest.mark.parametrize("kind", ["pair_study", "rating_study"])
def test_pages_of_another_language_have_no_english_sentence(
    kind: str, request: pytest.FixtureRequest, serve: Serve
) -> None:
    study = request.getfixturevalue(kind)
    long = [sentence for sentence in sentences() if sentence.count(" ") > 2 and "%(" not in sentence]
    for page in pages(study, serve, "de"):
        assert '<html lang="de" dir="ltr">' in page
        assert [sentence for sentence in long if sentence in page] == []
    assert all('<html lang="ar" dir="rtl">' in page for page in pages(study, serve, "ar"))


def test_left_stays_left_where_people_read_from_right_to_left(pair_study: Study, serve: Serve) -> None:
    (*_, trial, _, _) = pages(pair_study, serve, "ar")
    assert '<form class="pair" dir="ltr"' in trial
    assert trial.index('value="left"') < trial.index('value="right"')


def test_a_researchers_own_words_are_shown_as_they_are(run_folder, tmp_path: Path, serve: Serve) -> None:
    from studies.design.making import make_pairs
    from studies.design.steered_images import read_steered_images

    run, own = run_folder(), "Which wall is 100% <yours>?"
    choices = {"question": own, "practice": 0, "attention": 0}
    study = make_pairs(read_steered_images([run]), [run], tmp_path / "s", others=1, choices=choices)
    (*_, trial, _, _) = pages(study, serve, "de")
    assert "Which wall is 100% &lt;yours&gt;?" in trial
    assert "Mir gefällt das linke Bild besser" in trial


def test_a_catalogue_of_ones_own_is_spoken_and_what_it_leaves_out_is_english(tmp_path: Path) -> None:
    own = tmp_path / "mine.po"
    header = 'msgid ""\nmsgstr ""\n"Language: nl\\n"\n"Content-Type: text/plain; charset=utf-8\\n"\n\n'
    own.write_text(f'{header}msgid "Begin"\nmsgstr "Beginnen"\n')
    language = language_of(str(own))
    assert (language.code, language.direction) == ("nl", "ltr")
    assert language.translations.gettext("Begin") == "Beginnen"
    assert language.translations.gettext("Continue") == "Continue"
    own.write_text(f'{header}#, python-format\nmsgid "%(done)s of %(total)s"\nmsgstr "%(gedaan)s van %(total)s"\n')
    with pytest.raises(ValueError, match=r"mine\.po: the translation of .* does not fit"):
        read_language(own)
    own.write_text('msgid "Begin"\nmsgstr "Beginnen"\n')
    with pytest.raises(ValueError, match="does not say which language it is in"):
        read_language(own)
    own.write_text("no catalogue")
    with pytest.raises(ValueError, match=r"mine\.po"):
        read_language(own)
    for told, words in (("tlh", "is not among en, ar, de, es, fr, ja"), (str(tmp_path / "none.po"), "cannot be read")):
        with pytest.raises(ValueError, match=words):
            language_of(told)
