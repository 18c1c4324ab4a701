"""The contract of every message, checked on the example in its docstring."""

import dataclasses
import inspect
import pickle

import pytest

from actors import messages

MESSAGES = [value for value in vars(messages).values() if dataclasses.is_dataclass(value) and isinstance(value, type)]


def example(message: type) -> object:
    """The object that the docstring's example makes."""
    _, _, code = (inspect.getdoc(message) or "").partition("Example:")
    return eval(code.strip(), dict(vars(messages)))


def test_all_messages_are_found() -> None:
    assert len(MESSAGES) == 7


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_is_frozen_slotted_and_keyword_only(message: type) -> None:
    one = example(message)
    assert type(one) is message
    assert not hasattr(one, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(one, dataclasses.fields(message)[0].name, None)
    assert all(field.kw_only for field in dataclasses.fields(message))


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_survives_the_way_to_another_process(message: type) -> None:
    assert pickle.loads(pickle.dumps(example(message))) == example(message)  # noqa: S301
