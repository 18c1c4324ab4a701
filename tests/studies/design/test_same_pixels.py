"""A participant, the darkroom and an encoder get the same pixels of a picture, whatever its file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms
from skimage import data

from actors.renderers.darkroom.photographs import PhotographLibrary
from predictor.data.image_files import as_shown, read_image
from predictor.encoders.cache import FeatureCache, encode_cached, encode_files, image_content
from predictor.encoders.efficientnet import EfficientNetLite0
from studies.design.assets import write_assets

SIDE = 96
ENCODER = EfficientNetLite0()


def photograph() -> Image.Image:
    return Image.fromarray(data.astronaut()[:SIDE, 60 : 60 + SIDE + 32])


def with_alpha(hidden: str = "magenta") -> Image.Image:
    """A photograph beside nothing; what is hidden in the nothing is nobody's business."""
    image = photograph().convert("RGBA")
    image.paste(Image.new("RGBA", (32, SIDE), hidden), (SIDE, 0))
    mask = Image.new("L", image.size, 255)
    mask.paste(0, (SIDE, 0, SIDE + 32, SIDE))
    image.putalpha(mask)
    return image


def profile(space: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()  # pyrefly: ignore[bad-argument-type]


def in_cielab() -> Image.Image:
    srgb, cielab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    made = ImageCms.profileToProfile(photograph(), srgb, cielab, outputMode="LAB")
    assert made is not None
    return made


def upside_down() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 3
    return exif


def save(image: Image.Image, suffix: str, **options: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / f"picture.{suffix}"
        image.save(path, **options)
        return path

    return write


def wide(dtype: type, scale: float) -> Image.Image:
    """The photograph in grey, of more bits than eight."""
    return Image.fromarray((np.asarray(photograph().convert("L"), float) * scale).astype(dtype))


FILES = {
    "png": save(photograph(), "png"),
    "jpeg": save(photograph(), "jpg", quality=90),
    "jpeg, upside down": save(photograph(), "jpg", exif=upside_down()),
    "jpeg, sRGB named": save(photograph(), "jpg", icc_profile=profile("sRGB")),
    "jpeg, a profile that is no profile": save(photograph(), "jpg", icc_profile=b"no profile at all"),
    "jpeg, a profile of another colour space": save(photograph().convert("L"), "jpg", icc_profile=profile("sRGB")),
    "jpeg, CMYK": save(photograph().convert("CMYK"), "jpg"),
    "png, hidden magenta": save(with_alpha(), "png"),
    "webp, hidden black": save(with_alpha("black"), "webp", lossless=True),
    "png, grey with alpha": save(with_alpha().convert("LA"), "png"),
    "png, palette with a clear entry": save(photograph().convert("P"), "png", transparency=0),
    "png, one colour is clear": save(photograph(), "png", transparency=(0, 0, 0)),
    "png, 16 bits": save(wide(np.uint16, 257), "png"),
    "png, 1 bit": save(photograph().convert("1"), "png"),
    "pgm, 16 bits": save(wide(np.uint16, 257), "pgm"),
    "tiff, 32-bit integers": save(wide(np.int32, 257), "tif"),
    "tiff, floats": save(wide(np.float32, 1 / 255), "tif"),
    "tiff, CIELAB": save(in_cielab(), "tif"),
    "gif, an animation": save(photograph(), "gif", save_all=True, append_images=[photograph().rotate(180)]),
    "bmp": save(photograph(), "bmp"),
    "avif": save(photograph(), "avif", quality=90),
}


def asset(path: Path, folder: Path) -> NDArray[np.uint8]:
    write_assets(folder, {"item": path}, {"item": "prompt"})
    with Image.open(folder / "item.png") as image:
        return np.asarray(image.convert("RGB"))


def developed(path: Path) -> NDArray[np.uint8]:
    (photograph,) = PhotographLibrary(path.parent, 2 * SIDE).photographs
    return np.asarray(photograph.image)


@pytest.mark.parametrize("kind", FILES)
def test_eye_renderer_and_encoder_get_the_same_pixels(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = FILES[kind](folder)
    seen = np.asarray(read_image(path))

    assert np.array_equal(asset(path, tmp_path / "assets"), seen)
    assert np.array_equal(developed(path), seen)
    with Image.open(path) as opened:
        in_memory = encode_cached(ENCODER, [opened], image_content, FeatureCache("test", tmp_path / "cache"))
    from_file = encode_files(ENCODER, [path], FeatureCache("other", tmp_path / "cache"))
    plain = ENCODER.encode([Image.fromarray(seen)])
    assert np.array_equal(in_memory, from_file)
    assert np.array_equal(from_file, plain)


def test_what_is_hidden_by_transparency_changes_nothing() -> None:
    shown = [np.asarray(as_shown(with_alpha(hidden))) for hidden in ("magenta", "black")]

    assert np.array_equal(shown[0], shown[1])
    assert (shown[0][:, SIDE:] == 255).all()


@pytest.mark.parametrize("suffix", ["png", "pgm", "tif"])
def test_grey_of_more_bits_is_the_grey_of_eight(suffix: str, tmp_path: Path) -> None:
    read = read_image(save(wide(np.uint16, 257), suffix)(tmp_path))

    assert np.array_equal(np.asarray(read), np.asarray(photograph().convert("L").convert("RGB")))


def test_floats_from_0_to_1_are_black_to_white_and_others_are_0_to_255(tmp_path: Path) -> None:
    for scale in (1 / 255, 1.0):
        read = np.asarray(read_image(save(wide(np.float32, scale), "tif")(tmp_path)), int)
        assert np.abs(read[..., 0] - np.asarray(photograph().convert("L"), int)).max() <= 1
    odd = np.array([[np.nan, np.inf, -np.inf, 0.5]], np.float32)
    Image.fromarray(odd).save(tmp_path / "odd.tif")
    assert np.asarray(read_image(tmp_path / "odd.tif"))[0, :, 0].tolist() == [0, 255, 0, 0]


def test_colours_are_those_that_the_profile_means(tmp_path: Path) -> None:
    """The same photograph, its numbers written for swapped primaries, and the profile that says so."""
    swapped = profile("sRGB").replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")
    blue_for_red = Image.merge("RGB", photograph().split()[::-1])
    blue_for_red.save(tmp_path / "a.png", icc_profile=swapped)

    difference = np.abs(np.asarray(read_image(tmp_path / "a.png"), int) - np.asarray(photograph(), int))

    assert difference.mean() < 2
    assert np.abs(np.asarray(blue_for_red, int) - np.asarray(photograph(), int)).mean() > 10


def test_a_heic_of_a_phone_and_a_jpeg_xl_are_read_where_a_folder_holds_them(tmp_path: Path) -> None:
    import pillow_heif
    import pillow_jxl  # noqa: F401

    pillow_heif.from_pillow(photograph()).save(tmp_path / "phone.heic", quality=90)
    photograph().save(tmp_path / "small.jxl", lossless=True)

    library = PhotographLibrary(tmp_path, 2 * SIDE)

    assert [photo.caption for photo in library.photographs] == ["phone", "small"]
    phone, small = (np.asarray(photo.image, int) for photo in library.photographs)
    assert np.array_equal(small, np.asarray(photograph()))
    assert np.abs(phone - np.asarray(photograph(), int)).mean() < 4


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from predictor.data import image_files

    monkeypatch.setattr(image_files, "_MOST_JPEG_PIXELS", 3000)
    path = save(photograph(), "jpg")(tmp_path)

    assert read_image(path).size == (64, 48)
