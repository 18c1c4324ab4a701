import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from predictor.features import FeatureCache, cache_folder, encode_cached, image_content, text_content

WRITER = """
import sys
import numpy as np
from pathlib import Path
from predictor.features import FeatureCache, text_content

cache = FeatureCache("shared", Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    cache.put([(text_content(f"{sys.argv[2]} {number}"), np.full(64, number, np.float32))])
    print(number, flush=True)
"""


class Letters:
    """An encoder that counts its calls: how often a text is encoded is what a cache is about."""

    name = "letters"
    fingerprint = "letters-v1"
    dimensions = 32

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def encode(self, items: Sequence[str], /) -> NDArray[np.float32]:
        self.encoded += items
        return np.array([list(sha256(item.encode()).digest()) for item in items], np.float32)


def writer(folder: Path, name: str, count: int) -> subprocess.Popen[str]:
    """A process of its own that puts vectors into the cache one by one, and prints the number of each."""
    command = [sys.executable, "-c", WRITER, str(folder), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_vector_comes_back_bit_for_bit_also_from_the_disk(tmp_path: Path) -> None:
    vector = np.array([1 / 3, -0.0, np.inf, 1e-40], np.float32)
    cache = FeatureCache("f", tmp_path)
    cache.put([(b"key", vector)])
    cache.close()
    found = FeatureCache("f", tmp_path).get(b"key")
    assert found is not None
    assert found.tobytes() == vector.tobytes()
    assert FeatureCache("f", tmp_path).get(b"other") is None


def test_what_is_kept_already_stays_and_encoders_do_not_share(tmp_path: Path) -> None:
    cache = FeatureCache("f", tmp_path)
    cache.put([(b"key", np.zeros(2, np.float32))])
    cache.put([(b"key", np.ones(2, np.float32))])
    assert cache.get(b"key") == pytest.approx([0, 0])
    assert FeatureCache("g", tmp_path).get(b"key") is None


def test_a_vector_from_the_cache_can_be_changed_without_changing_the_cache(tmp_path: Path) -> None:
    cache = FeatureCache("f", tmp_path)
    cache.put([(b"key", np.zeros(2, np.float32))])
    for _ in range(2):
        found = cache.get(b"key")
        assert found is not None
        assert found.tolist() == [0, 0]
        found += 1


def test_two_predictors_in_one_process_can_use_one_cache(tmp_path: Path) -> None:
    one, other = FeatureCache("f", tmp_path), FeatureCache("f", tmp_path)
    one.put([(b"key", np.ones(2, np.float32))])
    one.close()
    assert other.get(b"key") == pytest.approx([1, 1])


def test_each_content_is_encoded_once_and_rows_follow_the_items(tmp_path: Path) -> None:
    encoder = Letters()
    cache = FeatureCache(encoder.fingerprint, tmp_path)
    first = encode_cached(encoder, ["a", "b", "c"], text_content, cache, commit_every=2)
    again = encode_cached(encoder, ["c", "d", "a"], text_content, cache)
    assert encoder.encoded == ["a", "b", "c", "d"]
    assert np.array_equal(again[[2, 0]], first[[0, 2]])
    assert np.array_equal(first, Letters().encode(["a", "b", "c"]))


def test_nothing_to_encode_gives_no_rows(tmp_path: Path) -> None:
    assert encode_cached(Letters(), [], text_content, FeatureCache("f", tmp_path)).shape == (0, 32)


def test_an_image_is_known_by_its_pixels_and_not_by_its_file(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (12, 8, 3), np.uint8)
    image = Image.fromarray(pixels)
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "a.bmp")
    with Image.open(tmp_path / "a.png") as png, Image.open(tmp_path / "a.bmp") as bmp:
        assert image_content(png) == image_content(bmp) == image_content(image)
    pixels[0, 0, 0] ^= 1
    assert image_content(Image.fromarray(pixels)) != image_content(image)
    assert image_content(Image.new("RGB", (4, 9))) != image_content(Image.new("RGB", (6, 6)))


def test_the_cache_folder_is_the_named_one_else_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAMELA_CACHE", "/somewhere/else")
    assert cache_folder() == Path("/somewhere/else")
    monkeypatch.delenv("PAMELA_CACHE")
    assert cache_folder().name == "pamela-steer"


def test_two_processes_write_to_one_cache_at_once_and_both_are_kept(tmp_path: Path) -> None:
    writers = [writer(tmp_path, name, 300) for name in ("left", "right")]
    assert [process.communicate(timeout=30) and process.returncode for process in writers] == [0, 0]
    cache = FeatureCache("shared", tmp_path)
    for name in ("left", "right"):
        for number in range(300):
            assert cache.get(text_content(f"{name} {number}")) == pytest.approx(np.full(64, number))


def test_a_killed_writer_loses_nothing_that_it_put_and_leaves_the_cache_usable(tmp_path: Path) -> None:
    process = writer(tmp_path, "killed", 10**9)
    assert process.stdout is not None
    reader = FeatureCache("shared", tmp_path)  # open all the while
    told = [int(process.stdout.readline()) for _ in range(200)]
    os.kill(process.pid, signal.SIGKILL)
    told += [int(line) for line in process.stdout.read().split("\n")[:-1]]  # a last line may be torn
    assert process.wait(10) == -signal.SIGKILL
    for number in told:
        assert reader.get(text_content(f"killed {number}")) == pytest.approx(np.full(64, number))
    successor = writer(tmp_path, "successor", 5)
    assert successor.communicate(timeout=30) and successor.returncode == 0
    assert reader.get(text_content("successor 4")) == pytest.approx(np.full(64, 4))


def test_a_full_cache_costs_speed_and_never_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("predictor.features._MAP_SIZE", 64 * 1024)
    encoder = Letters()
    cache = FeatureCache(encoder.fingerprint, tmp_path)
    texts = [str(number) for number in range(3000)]
    assert np.array_equal(encode_cached(encoder, texts, text_content, cache), Letters().encode(texts))
    assert any(cache.get(text_content(text)) is None for text in texts)
