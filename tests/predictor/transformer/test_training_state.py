import math
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from predictor.checkpoint import FILES
from predictor.cli import main
from predictor.transformer.model import Inputs, ModelConfig, PamelaModel
from predictor.transformer.training import Recipe, TrainingTable
from predictor.transformer.training_state import FILE, TrainingState, identity_of
from tests.in_this_process import call

CONFIG = ModelConfig(image_dimensions=3, text_dimensions=2, profile_dimensions=2, users=2, width=8, heads=2)


def state(seed: int, steps: int = 0) -> TrainingState:
    """A state in the middle of training."""
    torch.manual_seed(seed)
    model = PamelaModel(CONFIG)
    optimiser = torch.optim.AdamW(model.parameters(), 0.01, fused=True)
    sizes = {"image": 3, "prompt": 2, "metadata": 2, "demographics": 2, "user": 8}
    for _ in range(steps):
        model(Inputs(**{name: torch.randn(4, size) for name, size in sizes.items()})).sum().backward()
        optimiser.step()
    best = {name: value.clone() + 1 for name, value in model.state_dict().items()}
    generator = torch.Generator().manual_seed(seed)
    return TrainingState(model, optimiser, generator, best, 0.25 * seed, epoch=seed, steps=steps)


def test_what_was_saved_is_loaded_to_the_last_bit(tmp_path: Path) -> None:
    before = state(1, steps=3)
    before.save(tmp_path, "mine")
    expected = torch.rand(4), torch.rand(4, generator=before.generator)
    after = state(2)
    assert after.load(tmp_path, "mine")
    assert torch.equal(torch.rand(4), expected[0])
    assert torch.equal(torch.rand(4, generator=after.generator), expected[1])
    assert (after.epoch, after.steps, after.best_srocc) == (1, 3, 0.25)
    for name, value in before.model.state_dict().items():
        assert torch.equal(after.model.state_dict()[name], value)
        assert torch.equal(after.best[name], before.best[name])
    moments = [each.optimiser.state_dict()["state"] for each in (before, after)]
    assert moments[0].keys() == moments[1].keys() and len(moments[0])
    for index, kept in moments[0].items():
        assert all(torch.equal(value, moments[1][index][name]) for name, value in kept.items())
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_best_that_has_not_been_reached_yet_is_kept_as_such(tmp_path: Path) -> None:
    before, after = state(1), state(2)
    before.best_srocc = -math.inf
    before.save(tmp_path, "mine")
    assert after.load(tmp_path, "mine")
    assert after.best_srocc == -math.inf


def test_where_there_is_no_state_nothing_changes(tmp_path: Path) -> None:
    fresh = state(2)
    assert not fresh.load(tmp_path, "mine")
    assert not fresh.load(tmp_path / "nowhere", "mine")
    assert (fresh.epoch, fresh.steps) == (2, 0)


@pytest.mark.parametrize("content", [b"", b"no state", b"\x00" * 200, b"\xff" * 7])
def test_a_file_that_is_no_state_is_named_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ValueError, match=f"{FILE}: cannot be read: .*; remove it to train from the start"):
        state(1).load(tmp_path, "mine")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_torn_file_is_named_with_the_remedy(tmp_path: Path, share: float) -> None:
    state(1, steps=2).save(tmp_path, "mine")
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=f"{FILE}: cannot be read: .*; remove it to train from the start"):
        state(1).load(tmp_path, "mine")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"state": "{}"}, {"state": "{"}, {"state": "[]"}])
def test_tensors_of_something_else_are_no_state(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"model.cls": torch.zeros(8)}, tmp_path / FILE, metadata)
    with pytest.raises(ValueError, match=f"{FILE}: cannot be read: "):
        state(1).load(tmp_path, "mine")


def test_the_state_of_another_training_is_refused(tmp_path: Path) -> None:
    state(1).save(tmp_path, "mine")
    with pytest.raises(ValueError, match=rf"{FILE}: belongs to a training with other .*; go on with those, or name a"):
        state(1).load(tmp_path, "another's")


def test_an_identity_follows_every_array_and_setting() -> None:
    def table(**changes: torch.Tensor) -> TrainingTable:
        arrays = {name: torch.zeros(3, 2) for name in ("image", "prompt", "metadata", "demographics")}
        arrays |= {"user_index": torch.tensor([0, 1]), "image_index": torch.tensor([0, 1]), "rating": torch.zeros(2)}
        return TrainingTable(**{**arrays, **changes}, split=np.array(["train", "val_seen"]))

    recipe = Recipe(epochs=1, batch_size=2, learning_rate=0.1)
    identities = {
        identity_of(table(), recipe, seed=0),
        identity_of(table(), recipe, seed=1),
        identity_of(table(), Recipe(epochs=1, batch_size=2, learning_rate=0.2), seed=0),
        *(identity_of(table(**{n: torch.ones(3, 2)}), recipe, seed=0) for n in ("image", "prompt", "demographics")),
        identity_of(table(image=torch.zeros(2, 3)), recipe, seed=0),
        identity_of(table(rating=torch.ones(2)), recipe, seed=0),
    }
    assert len(identities) == 8
    assert identity_of(table(), recipe, seed=0) in identities


def train(*arguments: object) -> subprocess.CompletedProcess[str]:
    """What the command does, in this process."""
    return call(main, "steer-predictor", "train", *arguments)


@contextmanager
def training(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, which has trained an epoch, and does not outlive the test."""
    command = [str(Path(sys.executable).parent / "steer-predictor"), "train", *map(str, arguments)]
    out = Path(command[command.index("--out") + 1])
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            until = time.monotonic() + 300
            while not (out / FILE).is_file() and time.monotonic() < until:
                time.sleep(0.002)
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_ctrl_c_ends_a_training_and_says_how_to_go_on(rated_by_many: Path, tmp_path: Path) -> None:
    out = tmp_path / "new"
    with training(rated_by_many, "--out", out) as process:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "Stopped. Go on with the same command and --resume."
    assert "Traceback" not in said
    assert train(rated_by_many, "--out", out, "--resume").returncode == 0


@pytest.mark.slow
def test_a_command_killed_in_training_goes_on_to_the_same_checkpoint(rated: Path, tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    arguments = (rated, "--seed", 2, "--out")
    assert train(*arguments, undisturbed).returncode == 0
    with training(*arguments, killed) as process:
        process.kill()
        assert process.wait(timeout=60) == -signal.SIGKILL
    assert load_file(killed / FILE)
    assert not (killed / "config.json").exists()
    refused = train(*arguments, killed)
    assert refused.returncode == 2
    assert f"--out {killed}: is not empty; go on with it by --resume, or name a new folder" in refused.stderr
    assert train(*arguments, killed, "--resume").returncode == 0
    assert {path.name for path in killed.iterdir()} == set(FILES)
    for name in FILES:
        assert (killed / name).read_bytes() == (undisturbed / name).read_bytes(), name
