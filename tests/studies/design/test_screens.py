"""What screens get: small where they are small, equally long within a prompt, and the same picture."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studies.design import screens
from studies.design.screens import padded, write_screens


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    folder = tmp_path / "assets"
    folder.mkdir()
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 255, 900).astype(np.uint8)
    Image.fromarray(np.tile(ramp, (600, 1))).convert("RGB").save(folder / "flat.png")
    Image.fromarray(rng.integers(0, 255, (600, 900, 3), np.uint8)).save(folder / "noisy.png")
    Image.new("RGB", (300, 200), "red").save(folder / "small.png")
    return folder


def test_each_image_is_there_in_every_width_up_to_the_widest(assets: Path, tmp_path: Path) -> None:
    groups = {"flat": "p", "noisy": "p", "small": "q"}
    widths = write_screens(assets, tmp_path / "screens", groups)
    assert widths == (640, 900)
    for width in widths:
        files = {name: tmp_path / "screens" / str(width) / f"{name}.webp" for name in groups}
        assert files["flat"].stat().st_size == files["noisy"].stat().st_size > files["small"].stat().st_size
        assert {name: Image.open(file).width for name, file in files.items()} == {
            "flat": width,
            "noisy": width,
            "small": 300,
        }


def test_an_image_for_a_screen_is_the_image_and_padding_changes_no_pixel(assets: Path, tmp_path: Path) -> None:
    write_screens(assets, tmp_path / "screens", {"flat": "p", "noisy": "p"})
    whole = np.asarray(Image.open(assets / "flat.png"), float)
    sent = np.asarray(Image.open(tmp_path / "screens" / "900" / "flat.webp"), float)
    assert np.abs(whole - sent).mean() < 2
    bare = screens._webp(Image.open(assets / "flat.png"), 900)
    (tmp_path / "padded.webp").write_bytes(padded(bare, len(bare) + 1000))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "padded.webp")), sent)
