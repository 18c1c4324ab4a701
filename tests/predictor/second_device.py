"""A device that is not the CPU, for tests on machines without a GPU: arithmetic is the CPU's, the rules are a GPU's.

    python -m tests.predictor.second_device

Within `second_device()` tensors can be put on "second". As on a GPU, an operation takes either these or the CPU's, but
for numbers and indices, and none of them is an array of NumPy. PyTorch has room for one such device in a process, which
other libraries would take for an accelerator: so the test that needs it is a process of its own.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from predictor.data.comparisons import Comparisons
from predictor.taste.hierarchical import fit_taste
from predictor.transformer.training import predict, train
from tests.predictor.taste.test_hierarchical import IMAGE, rated_by, seen
from tests.predictor.transformer.test_training import (
    DIMENSIONS,
    QUICK,
    StoppedError,
    made_up,
    stopped_after,
    with_comparisons,
)

ran: set[str] = set()
"""Names of the operations that ran there."""

ROUNDING = 1e-5
"""Of predicted ratings: attention is computed in another order there than on the CPU."""

_INDEXING = ("index", "index_put_", "_index_put_impl_")


class _There(torch.Tensor):
    """A tensor that says that it is on the second device; what it holds is on the CPU."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "_There":
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        with torch.inference_mode(False):  # or PyTorch refuses a view of a tensor that was made outside of that mode
            there = torch.Tensor._make_wrapper_subclass(cls, held.shape, device=torch.device("second", 0), **layout)
        there.held = held
        return there

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # pyrefly: ignore[bad-override]
        return _run(func, args, kwargs or {})


class _SecondDevice(TorchDispatchMode):
    """Sees the operations that make tensors on the device, too."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


@contextmanager
def second_device() -> Iterator[None]:
    """Let tensors be put on "second" while the block runs."""
    _setup_privateuseone_for_python_backend("second")
    with _SecondDevice():
        yield


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = function.overloadpacket.__name__
    checked = [args[0], *args[2:3]] if name in _INDEXING else (args, kwargs)  # indices may be on the CPU
    tensors = [each for each in tree_flatten(checked)[0] if isinstance(each, torch.Tensor)]
    there = [each for each in tensors if isinstance(each, _There)]
    here = [each for each in tensors if not isinstance(each, _There) and each.dim() > 0]
    if there and here and name not in ("_to_copy", "copy_"):
        raise RuntimeError(f"{function}: expected all tensors to be on the same device, and got second and cpu")
    if name == "copy_":
        on_device = isinstance(args[0], _There)
    elif (asked := kwargs.get("device")) is not None:
        on_device, kwargs = torch.device(asked).type == "second", {**kwargs, "device": "cpu"}
    else:
        on_device = bool(there)
    plain_args, plain_kwargs = tree_map(_held, (args, kwargs))
    found = function(*plain_args, **plain_kwargs)
    if not on_device:
        return found
    ran.add(name)
    if function._schema.is_mutable and isinstance(args[0], _There):
        return args[0]
    return tree_map(lambda each: _There(each) if isinstance(each, torch.Tensor) else each, found)


def _held(each: Any) -> Any:
    return each.held if isinstance(each, _There) else each


def check_the_device() -> None:
    """It refuses what a GPU refuses."""
    there, here = torch.ones(3, 3).to("second"), torch.ones(3, 3)
    assert there.device.type == (there @ torch.eye(3, device="second")).device.type == "second"
    assert float(there.sum()) == 9
    with pytest.raises(RuntimeError, match="same device"):
        there + here
    with pytest.raises(RuntimeError, match="same device"):
        here[torch.tensor([0])] = there[torch.tensor([0])]
    with pytest.raises(RuntimeError, match="numpy"):
        there.numpy()


def check_the_taste() -> None:
    """It is learnt there of ratings, groups and comparisons as on the CPU, and comes back."""
    images = seen(120)
    ratings = rated_by(20, images, 0.3)
    rng = np.random.default_rng(0)
    pairs = {"user": rng.integers(0, 20, 60), "better": rng.integers(0, 60, 60), "worse": rng.integers(60, 120, 60)}
    compared = Comparisons(**pairs, weight=np.ones(60))
    more: dict[str, Any] = {"comparisons": compared, "group": np.arange(120) // 4, "seed": 0, "users": 20}
    (there, people_there), (here, people_here) = (
        fit_taste(images, ratings, parts=(IMAGE,), device=device, **more) for device in ("second", "cpu")
    )
    assert {"mm", "exp", "linalg_inv_ex", "_linalg_eigh"} <= ran
    assert there.config == here.config
    for ours, theirs in ((there.state_dict(), here.state_dict()), (vars_of(people_there), vars_of(people_here))):
        for name, value in ours.items():
            assert not isinstance(value, _There), name
            assert torch.equal(value, theirs[name]), name


def check_the_transformer() -> None:
    """It is trained there of ratings and comparisons by the CPU's random numbers, though stopped, and comes back."""
    table = with_comparisons(made_up(lambda rng: rng.normal(size=DIMENSIONS)))
    here = train(table, QUICK, seed=0)
    ran.clear()
    with tempfile.TemporaryDirectory() as folder:
        state: dict[str, Any] = {"seed": 0, "state": Path(folder), "device": "second"}
        with pytest.raises(StoppedError):
            train(table, QUICK, **state, on_epoch=stopped_after(1))
        there = train(table, QUICK, **state)
    assert {"addmm", "_softmax_backward_data", "_fused_adamw_", "embedding_dense_backward"} <= ran, ran
    assert [name for name in ran if name.startswith(("bernoulli", "rand", "native_dropout"))] == []
    assert "_transformer_encoder_layer_fwd" not in ran  # whose GELU is another one on a GPU
    assert there.device.type == "cpu"
    rows = table.rows("test_seen")
    np.testing.assert_allclose(predict(there, table, rows), predict(here, table, rows), rtol=0, atol=ROUNDING)


def vars_of(found: Any) -> dict[str, torch.Tensor]:
    return {"tastes": found.tastes, "levels": found.levels, "factors": found.factors}


if __name__ == "__main__":
    with second_device():
        check_the_device()
        check_the_taste()
        check_the_transformer()
    print("alike")  # noqa: T201
