import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.data.profiles import describe_image, describe_person

cells = st.none() | st.integers() | st.floats() | st.booleans() | st.text()
rows = st.dictionaries(st.text(min_size=1), cells)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"user_id": "u1", "age": 31, "gender": "female"}, "A person, 31 years old, female."),
        ({"gender": "male", "age": 20}, "A person, 20 years old, male."),  # whatever the order of the columns
        ({"age": None, "gender": "", "nationality": "German"}, "A person, nationality German."),
        ({"age": 0}, "A person, 0 years old."),
        ({"age": 18.0}, "A person, 18 years old."),
        ({"age": 18.5, "tags": ["a", "b"], "more": []}, "A person, 18.5 years old, tags: a, b."),
        ({"camera_owned": True}, "A person, camera owned: True."),
        ({"income {in} $": 3, "age_binned": "18-24"}, "A person, aged 18-24, income {in} $: 3."),
        ({"user_id": "u1", "age": None}, None),
        ({}, None),
    ],
)
def test_a_person_is_described_by_what_is_known(row: dict[str, object], sentence: str | None) -> None:
    assert describe_person(row) == sentence


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"image_id": "i1", "file": "a.png", "content": "animal", "style": None}, "An image, content: animal."),
        ({"emotion": "joy", "content": "sea", "year": 1984}, "An image, content: sea, emotion: joy, year: 1984."),
        ({"image_id": "i1", "file": "a.png", "prompt": "a boat", "prompt_id": "p", "split": "train"}, None),
    ],
)
def test_an_image_is_described_by_its_metadata_and_never_by_its_prompt(
    row: dict[str, object], sentence: str | None
) -> None:
    assert describe_image(row) == sentence


@given(rows)
def test_any_table_can_be_described_in_sentences_or_not_at_all(row: dict[str, object]) -> None:
    for said, opening in ((describe_person(row), "A person, "), (describe_image(row), "An image, ")):
        assert said is None or (said.startswith(opening) and said.endswith("."))
    if all(value in (None, "") for value in row.values()):
        assert describe_person(row) is describe_image(row) is None


@given(rows, st.randoms())
def test_descriptions_do_not_depend_on_the_order_of_columns(row: dict[str, object], random) -> None:
    items = list(row.items())
    random.shuffle(items)
    assert describe_person(dict(items)) == describe_person(row)
