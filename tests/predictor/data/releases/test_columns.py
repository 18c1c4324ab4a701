import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.data.releases.columns import column

cells = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@pytest.mark.parametrize(
    ("cells", "kept", "kind"),
    [
        (["31", None, 44], [31, None, 44], pa.int64()),
        (["31.0", "44"], [31, 44], pa.int64()),
        ([31, "44.5"], [31.0, 44.5], pa.float64()),
        (["007", "12"], ["007", "12"], pa.string()),
        (["1e3", "12"], ["1e3", "12"], pa.string()),
        ([1, "one"], ["1", "one"], pa.string()),
        ([True, None], [True, None], pa.bool_()),
        ([True, 1], ["True", "1"], pa.string()),
        ([2**70], [str(2**70)], pa.string()),
        ([None], [None], pa.string()),
        ([], [], pa.string()),
    ],
)
def test_a_column_has_the_narrowest_type_that_keeps_every_cell(
    cells: list[object], kept: list[object], kind: pa.DataType
) -> None:
    made = column("age", cells)
    assert (made.to_pylist(), made.type) == (kept, kind)


def test_a_prompt_is_never_a_number() -> None:
    assert column("prompt", ["1984", None]).to_pylist() == ["1984", None]


@given(st.lists(cells))
def test_any_cells_make_a_column_in_which_what_is_missing_stays_missing(cells: list[object]) -> None:
    made = column("any", cells)
    assert [cell is None for cell in made.to_pylist()] == [cell is None for cell in cells]
