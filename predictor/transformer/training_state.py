"""The state of training after an epoch, on disk: a resumed training ends with the same weights to the last bit.

One safetensors file, replaced atomically: weights, best weights so far, optimiser moments, and the state of every
random generator. It holds the identity of its training, and any other training is refused.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from predictor.data.folders import replacing
from predictor.transformer.model import PamelaModel
from predictor.transformer.tensor_file import save_tensors

FILE = "training.safetensors"

_HASHED_ROWS = 4096


@dataclass(slots=True)
class TrainingState:
    """All that the next epoch depends on."""

    model: PamelaModel
    optimiser: torch.optim.Optimizer
    generator: torch.Generator
    best: dict[str, Tensor]
    best_srocc: float
    epoch: int = 0
    steps: int = 0

    def save(self, folder: Path, identity: str) -> None:
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": value for name, value in moments.items()}
        tensors |= {"random.batches": self.generator.get_state(), "random.dropout": torch.get_rng_state()}
        header = {"identity": identity, "epoch": self.epoch, "steps": self.steps, "best_srocc": self.best_srocc}
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / FILE) as scratch:
            save_tensors(
                {n: v.cpu().contiguous().clone() for n, v in tensors.items()}, scratch, {"state": json.dumps(header)}
            )

    def load(self, folder: Path, identity: str) -> bool:
        """Restore the state from `folder`; False where there is none.

        Raises
        ------
        ValueError
            The file cannot be read, or belongs to other data, another recipe or another seed.
        """
        path = folder / FILE
        if not path.is_file():
            return False
        try:
            with safe_open(path, "pt") as stored:
                header = json.loads(stored.metadata()["state"])
                belongs_to = header["identity"]
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: cannot be read: {error}; remove it to train from the start") from error
        if belongs_to != identity:
            raise ValueError(
                f"{path}: belongs to a training with other ratings, recipe, encoders or seed; go on with those, "
                "or name a new folder"
            )
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimiser": {}, "random": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value
        self.model.load_state_dict(parts["model"])
        self.best = parts["best"]
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in parts["optimiser"].items():
            index, _, moment = name.partition(".")
            moments.setdefault(int(index), {})[moment] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})
        self.generator.set_state(parts["random"]["batches"])
        torch.set_rng_state(parts["random"]["dropout"])
        self.best_srocc, self.epoch, self.steps = header["best_srocc"], header["epoch"], header["steps"]
        return True


def identity_of(table: object, recipe: object, **settings: object) -> str:
    """A digest of all that the weights depend on: the table's arrays, the recipe and further settings."""
    digest = hashlib.sha256(json.dumps([asdict(recipe), settings], sort_keys=True, default=str).encode())  # type: ignore[call-overload]
    for field in fields(table):  # type: ignore[arg-type]
        value = getattr(table, field.name)
        array = value.numpy() if isinstance(value, Tensor) else value.astype("S16")
        digest.update(f"{field.name}{array.shape}".encode())
        for first in range(0, len(array), _HASHED_ROWS):  # the vectors of all images may be more than memory holds
            digest.update(array[first : first + _HASHED_ROWS].tobytes())
    return digest.hexdigest()[:32]
