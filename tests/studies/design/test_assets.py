"""What participants get is a function of the pixels alone."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from studies.design.assets import write_assets


def told(path: Path, **text: str) -> Path:
    """A PNG that tells where it comes from in every way that PNG has."""
    info = PngInfo()
    for name, value in text.items():
        info.add_text(name, value)
    image = Image.new("RGB", (40, 30), (10, 200, 30))
    exif = image.getexif()
    exif[0x010E] = "steered for u07"
    image.save(path, pnginfo=info, exif=exif, dpi=(300, 300), icc_profile=b"x" * 64)
    return path


def test_equal_pixels_give_equal_bytes_whatever_the_file_told(tmp_path: Path) -> None:
    one = told(tmp_path / "a.png", Software="FLUX.2", prompt="a wall", condition="own")
    Image.new("RGB", (40, 30), (10, 200, 30)).save(tmp_path / "b.png", compress_level=1)
    write_assets(tmp_path / "out", {"x": one, "y": tmp_path / "b.png"}, {"x": "p", "y": "p"})
    first, second = ((tmp_path / "out" / f"{name}.png").read_bytes() for name in "xy")
    assert first == second
    for word in (b"FLUX", b"own", b"u07", b"tEXt", b"eXIf", b"iCCP", b"pHYs", b"tIME"):
        assert word not in first


def test_images_of_one_prompt_are_brought_to_one_size_and_counted(tmp_path: Path) -> None:
    for name, size in (("a", (64, 64)), ("b", (96, 64)), ("c", (300, 200))):
        Image.new("RGB", size, "red").save(tmp_path / f"{name}.png")
    sources = {name: tmp_path / f"{name}.png" for name in "abc"}
    resized = write_assets(tmp_path / "out", sources, {"a": "p1", "b": "p1", "c": "p2"})
    sizes = {name: Image.open(tmp_path / "out" / f"{name}.png").size for name in "abc"}
    assert sizes == {"a": (64, 64), "b": (64, 64), "c": (300, 200)}
    assert resized == 1


def test_an_image_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"broken\.png: not an image that can be read"):
        write_assets(tmp_path / "out", {"x": tmp_path / "broken.png"}, {"x": "p"})


def test_files_of_one_group_are_equally_long_and_still_decode_to_their_pixels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = {"flat": np.full((32, 32, 3), 90, np.uint8), "noisy": rng.integers(0, 255, (32, 32, 3), np.uint8)}
    for name, values in pixels.items():
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    write_assets(tmp_path / "out", {n: tmp_path / f"{n}.png" for n in pixels}, dict.fromkeys(pixels, "p"))
    assert len({(tmp_path / "out" / f"{name}.png").stat().st_size for name in pixels}) == 1
    for name, values in pixels.items():
        with Image.open(tmp_path / "out" / f"{name}.png") as image:
            assert np.array_equal(np.asarray(image), values)
