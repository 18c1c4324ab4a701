"""The embedded preset's own checkpoint: made once, whoever asks at the same time."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from actors.renderers.darkroom.darkroom import Darkroom
from pipelines.planning import embedded_predictor
from pipelines.planning.embedded_predictor import embedded_checkpoint
from predictor.checkpoint import FILES


def test_of_two_that_need_it_at_once_one_makes_the_checkpoint_and_the_other_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def make(darkroom: object, recipe: object, folder: Path, progress: object) -> None:
        time.sleep(0.8)
        folder.mkdir()
        for name in FILES:
            (folder / name).touch()
        made.append(folder)

    monkeypatch.setenv("PAMELA_CACHE", str(tmp_path))
    monkeypatch.setattr(embedded_predictor, "_make", make)
    said: list[str] = []
    with ThreadPoolExecutor() as executor:
        asked = [executor.submit(embedded_checkpoint, Darkroom(size=64), announce=said.append) for _ in range(2)]
    assert {future.result() for future in asked} == {made[0]}
    assert len(made) == 1
    assert sorted(line.split()[0] for line in said) == ["Another", "No"]


def test_a_checkpoint_that_lacks_a_file_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(darkroom: object, recipe: object, folder: Path, progress: object) -> None:
        folder.mkdir()
        for name in FILES:
            (folder / name).touch()

    monkeypatch.setenv("PAMELA_CACHE", str(tmp_path))
    monkeypatch.setattr(embedded_predictor, "_make", make)
    made = embedded_checkpoint(Darkroom(size=64))
    (made / "model.safetensors").unlink()
    (made.parent / f".{made.name}.prints-killed").mkdir()
    assert embedded_checkpoint(Darkroom(size=64)) == made
    assert (made / "model.safetensors").is_file()
    assert [path.name for path in made.parent.iterdir()] == [made.name]
