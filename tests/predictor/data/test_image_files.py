from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from predictor.data.image_files import read_image


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (6, 9, 3), np.uint8))


def saved(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("orientation, turned", [(1, None), (3, 180), (6, 270), (8, 90)])
def test_a_photograph_is_upright_as_its_camera_was_held(
    picture: Image.Image, tmp_path: Path, orientation: int, turned: int | None
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    read = read_image(saved(picture, tmp_path / "a.png", exif=exif))
    expected = picture.rotate(turned, expand=True) if turned else picture
    assert np.array_equal(np.asarray(read), np.asarray(expected))


def test_sixteen_bits_of_grey_keep_their_shades(tmp_path: Path) -> None:
    grey = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    for name in ("a.png", "a.tif"):
        read = np.asarray(read_image(saved(Image.fromarray(grey), tmp_path / name)))
        assert np.array_equal(read, np.repeat((grey >> 8)[..., None], 3, 2))


@pytest.mark.parametrize(
    "mode, suffix", [("RGB", "png"), ("RGBA", "png"), ("LA", "png"), ("P", "gif"), ("1", "png"), ("CMYK", "tif")]
)
def test_every_mode_is_read_as_eight_bits_of_rgb(picture: Image.Image, tmp_path: Path, mode: str, suffix: str) -> None:
    read = read_image(saved(picture.convert(mode), tmp_path / f"a.{suffix}"))
    assert (read.mode, read.size) == ("RGB", picture.size)
    assert np.abs(np.asarray(read, int) - np.asarray(picture.convert(mode).convert("RGB"), int)).max() <= 1


def test_of_an_animation_the_first_frame_counts(picture: Image.Image, tmp_path: Path) -> None:
    path = saved(picture, tmp_path / "a.png", save_all=True, append_images=[picture.rotate(180)])
    assert np.array_equal(np.asarray(read_image(path)), np.asarray(picture))


def test_a_file_that_is_no_image_or_missing_or_cut_off_is_an_error_of_one_line(
    picture: Image.Image, tmp_path: Path
) -> None:
    whole = saved(picture.resize((200, 200)), tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").touch()
    (tmp_path / "words.png").write_text("words\nand more words")
    for name, reason in [
        ("cut.png", ""),
        ("empty.png", "no format that is known"),
        ("words.png", "no format that is known"),
        ("gone.png", "No such file or directory"),
        (".", "Is a directory"),
    ]:
        with pytest.raises(ValueError, match=f": not an image that can be read: {reason}") as error:
            read_image(tmp_path / name)
        assert "\n" not in str(error.value)
        assert str(error.value).startswith(str(tmp_path / name))


def test_more_pixels_than_are_safe_are_refused(
    picture: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(picture, tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(ValueError, match=r"a.png: not an image that can be read: .*decompression bomb"):
        read_image(path)
