import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from actors.renderers.darkroom.photographs import PhotographLibrary, caption_from_name

RED = (200, 20, 20)


@pytest.fixture(scope="module")
def shipped() -> PhotographLibrary:
    return PhotographLibrary(None, 256)


def save(
    folder: Path, name: str, size: tuple[int, int] = (80, 60), colour: tuple[int, int, int] = RED, **options
) -> Path:
    Image.new("RGB", size, colour).save(folder / name, **options)
    return folder / name


def test_the_shipped_photographs_are_all_there_and_small_enough(shipped: PhotographLibrary) -> None:
    assert shipped.skipped == ()
    assert len(shipped.photographs) >= 12
    assert all(photograph.image.mode == "RGB" for photograph in shipped.photographs)
    assert all(max(photograph.image.size) <= 768 for photograph in shipped.photographs)


@pytest.mark.parametrize(
    ("subject", "word"),
    [("a motorbike", "motorcycle"), ("a kitten", "cat"), ("espresso", "coffee"), ("the milky way", "galaxies")],
)
def test_the_nearest_photograph_shows_the_subject(shipped: PhotographLibrary, subject: str, word: str) -> None:
    photograph, similarity = shipped.nearest(subject)
    assert word in photograph.caption
    assert -1 <= similarity <= 1
    assert shipped.nearest(subject) == (photograph, similarity)


def test_of_equally_captioned_photographs_the_first_is_taken(tmp_path: Path) -> None:
    save(tmp_path, "boat-1.png", colour=RED)
    save(tmp_path, "boat-2.png", colour=(0, 0, 255))
    photograph, similarity = PhotographLibrary(tmp_path, 64).nearest("boat")
    assert photograph.image.getpixel((0, 0)) == RED
    assert similarity == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "caption"),
    [("red_boat-2.jpg", "red boat"), ("A  dog (3).png", "A dog"), ("007.png", "007"), ("two.cats_01.webp", "two cats")],
)
def test_captions_come_from_file_names(name: str, caption: str) -> None:
    assert caption_from_name(Path(name)) == caption


def test_a_captions_table_names_what_it_cannot_use(tmp_path: Path) -> None:
    save(tmp_path, "a.png")
    save(tmp_path, "b.png")
    table = 'file,caption\na.png,"a boat, moored"\nmissing.png,a cat\nb.png,\n'
    (tmp_path / "captions.csv").write_text(table, encoding="utf-8-sig")
    library = PhotographLibrary(tmp_path, 64)
    assert [photograph.caption for photograph in library.photographs] == ["a boat, moored"]
    assert library.skipped == (
        "missing.png: in captions.csv, but not in the folder",
        "b.png: no caption in captions.csv",
    )


def test_broken_images_are_named_and_skipped(tmp_path: Path) -> None:
    whole = save(tmp_path, "whole.png", (300, 300))
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:2000])
    (tmp_path / "text.jpg").write_text("not an image")
    Image.new("1", (16000, 12000)).save(tmp_path / "bomb.png")
    save(tmp_path, "dot.png", (2, 2))
    (tmp_path / "notes.txt").write_text("no image")
    library = PhotographLibrary(tmp_path, 64)
    assert [photograph.caption for photograph in library.photographs] == [whole.stem]
    assert [line.split(":")[0] for line in library.skipped] == [
        "bomb.png",
        "cut.png",
        "dot.png",
        "notes.txt",
        "text.jpg",
    ]
    assert not any("\n" in line for line in library.skipped)


@pytest.mark.parametrize("prepare", ["empty", "missing", "broken"])
def test_a_folder_without_a_usable_photograph_is_one_clear_error(tmp_path: Path, prepare: str) -> None:
    folder = tmp_path / prepare
    if prepare != "missing":
        folder.mkdir()
    if prepare == "broken":
        (folder / "a.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=prepare) as error:
        PhotographLibrary(folder, 64)
    assert "\n" not in str(error.value)


def test_a_captions_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text("image,text\na.png,a boat\n")
    with pytest.raises(ValueError, match="no column file, caption; the file has image, text"):
        PhotographLibrary(tmp_path, 64)


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    save(tmp_path, "a.jpg", (80, 40), exif=exif)
    assert PhotographLibrary(tmp_path, 64).photographs[0].image.size == (40, 80)


def test_transparent_and_16_bit_images_keep_their_looks(tmp_path: Path) -> None:
    Image.new("RGBA", (40, 40), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.fromarray(np.full((40, 40), 128 * 256, np.uint16)).save(tmp_path / "deep.png")
    clear, deep = PhotographLibrary(tmp_path, 64).photographs
    assert clear.image.getpixel((5, 5)) == (255, 255, 255)
    assert deep.image.getpixel((5, 5)) == (128, 128, 128)


def test_the_fingerprint_follows_captions_and_contents_and_not_the_place(tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    save(first, "boat.png")
    moved = shutil.copytree(first, tmp_path / "moved")
    renamed = shutil.copytree(first, tmp_path / "renamed")
    (renamed / "boat.png").rename(renamed / "ship.png")
    repainted = shutil.copytree(first, tmp_path / "repainted")
    save(repainted, "boat.png", colour=(0, 0, 0))
    prints = [PhotographLibrary(folder, 64).fingerprint for folder in (first, moved, renamed, repainted)]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_a_photograph_is_decoded_when_it_is_looked_at_and_only_once(tmp_path: Path) -> None:
    save(tmp_path, "boat.png")
    (photograph,) = PhotographLibrary(tmp_path, 64).photographs
    assert "image" not in vars(photograph)
    assert photograph.image is photograph.image


def test_a_photograph_that_has_changed_since_is_refused(tmp_path: Path) -> None:
    file = save(tmp_path, "boat.png")
    (photograph,) = PhotographLibrary(tmp_path, 64).photographs
    save(tmp_path, "boat.png", colour=(0, 0, 255))
    with pytest.raises(ValueError, match=f"{file} has changed since the run began; put it back"):
        _ = photograph.image


def test_a_captions_table_may_come_from_any_spreadsheet(tmp_path: Path) -> None:
    save(tmp_path, "a.png")
    (tmp_path / "captions.csv").write_bytes("file;caption\r\na.png;a boat, moored\r\n".encode("utf-16"))
    assert PhotographLibrary(tmp_path, 64).photographs[0].caption == "a boat, moored"


def test_a_caption_with_a_comma_that_is_not_quoted_is_refused_and_not_cut(tmp_path: Path) -> None:
    save(tmp_path, "a.png")
    (tmp_path / "captions.csv").write_text("file,caption\na.png,a boat, moored\n", "utf-8")
    with pytest.raises(ValueError, match="has 3 fields where the header has 2; a field that holds the delimiter"):
        PhotographLibrary(tmp_path, 64)
