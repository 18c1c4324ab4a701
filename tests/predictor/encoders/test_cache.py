import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import lmdb
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from predictor.encoders.cache import (
    FeatureCache,
    cache_folder,
    encode_cached,
    encode_files,
    image_content,
    text_content,
)

WRITER = """
import sys
import numpy as np
from pathlib import Path
from predictor.encoders.cache import FeatureCache, text_content

cache = FeatureCache("shared", Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    cache.put([(text_content(f"{sys.argv[2]} {number}"), np.full(64, number, np.float32))])
    print(number, flush=True)
"""


ENCODER = """
import sys, time
import numpy as np
from pathlib import Path
from predictor.encoders.cache import FeatureCache, encode_cached, text_content
from tests.predictor.encoders.test_cache import Letters

class Slow(Letters):
    def encode(self, items, /):
        time.sleep(0.005)
        print(*items, sep="\\n", flush=True)
        return super().encode(items)

texts = [str(number) for number in range(10**6)]
encode_cached(Slow(), texts, text_content, FeatureCache("slow", Path(sys.argv[1])), commit_every=8)
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


class Colours:
    """An encoder of images by their mean colour, that counts what it encodes."""

    name = "colours"
    fingerprint = "colours-v1"
    dimensions = 3

    def __init__(self) -> None:
        self.encoded = 0

    def encode(self, items: Sequence[Image.Image], /) -> NDArray[np.float32]:
        self.encoded += len(items)
        return np.array([np.asarray(item.convert("RGB")).mean((0, 1)) for item in items], np.float32)


def paintings(folder: Path, count: int) -> list[Path]:
    """Files of one colour each, of different sizes."""
    paths = [folder / f"{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        Image.new("RGB", (4 + number, 3), (number, 2 * number, 100)).save(path)
    return paths


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
    monkeypatch.setattr("predictor.encoders.cache._MAP_SIZE", 64 * 1024)
    encoder = Letters()
    cache = FeatureCache(encoder.fingerprint, tmp_path)
    texts = [str(number) for number in range(3000)]
    assert np.array_equal(encode_cached(encoder, texts, text_content, cache), Letters().encode(texts))
    assert any(cache.get(text_content(text)) is None for text in texts)


def test_a_cache_that_cannot_be_written_costs_speed_and_never_the_result(tmp_path: Path) -> None:
    encoder = Letters()
    cache = FeatureCache(encoder.fingerprint, tmp_path)
    cache._environment = cast(lmdb.Environment, OverQuota(cache._environment))
    assert np.array_equal(encode_cached(encoder, ["a"], text_content, cache), Letters().encode(["a"]))
    assert cache.get(text_content("a")) is None


class OverQuota:
    """An environment to which its user may write no more."""

    def __init__(self, environment: lmdb.Environment) -> None:
        self._environment = environment

    def begin(self, *, write: bool = False, buffers: bool = False) -> Any:
        if write:
            raise lmdb.Error("mdb_txn_commit: Disk quota exceeded")
        return self._environment.begin(buffers=buffers)


def test_threads_that_open_a_cache_at_once_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = lmdb.open

    def slowly(path: str, **options: Any) -> lmdb.Environment:
        time.sleep(0.05)
        return opened(path, **options)

    monkeypatch.setattr("predictor.encoders.cache.lmdb.open", slowly)
    with ThreadPoolExecutor(8) as executor:
        caches = list(executor.map(lambda _: FeatureCache("f", tmp_path), range(8)))
    caches[0].put([(b"key", np.ones(2, np.float32))])
    assert all(cache.get(b"key") is not None for cache in caches)


def test_twins_are_encoded_once(tmp_path: Path) -> None:
    encoder = Letters()
    texts = ["a", "b", "a", "c", "d", "b", "e", "a"]
    vectors = encode_cached(encoder, texts, text_content, FeatureCache("f", tmp_path))
    assert encoder.encoded == ["a", "b", "c", "d", "e"]
    assert np.array_equal(vectors, Letters().encode(texts))


def test_progress_counts_every_row_up_to_the_last(tmp_path: Path) -> None:
    cache, told = FeatureCache("f", tmp_path), []
    encode_cached(Letters(), ["b"], text_content, cache)
    encode_cached(
        Letters(), list("abcad"), text_content, cache, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


def test_an_entry_of_another_length_is_replaced(tmp_path: Path) -> None:
    cache, encoder = FeatureCache("f", tmp_path), Letters()
    cache.put([(text_content("a"), np.ones(7, np.float32))])
    for _ in range(2):
        vectors = encode_cached(encoder, ["a"], text_content, cache)
        assert np.array_equal(vectors, Letters().encode(["a"]))
    assert encoder.encoded == ["a"]


def test_a_vector_that_is_not_finite_is_an_error_and_never_kept(tmp_path: Path) -> None:
    class Broken(Letters):
        def encode(self, items: Sequence[str], /) -> NDArray[np.float32]:
            return super().encode(items) * np.nan

    cache = FeatureCache("f", tmp_path)
    with pytest.raises(ValueError, match="letters: gave a vector that is not finite"):
        encode_cached(Broken(), ["a"], text_content, cache)
    assert cache.get(text_content("a")) is None


def test_ctrl_c_loses_nothing_that_was_encoded(tmp_path: Path) -> None:
    class Interrupted(Letters):
        def encode(self, items: Sequence[str], /) -> NDArray[np.float32]:
            if "e" in items:
                raise KeyboardInterrupt
            return super().encode(items)

    cache = FeatureCache("f", tmp_path)
    with pytest.raises(KeyboardInterrupt):
        encode_cached(Interrupted(), list("abcdefg"), text_content, cache)
    assert [text for text in "abcdefg" if cache.get(text_content(text)) is not None] == list("abcd")


def test_a_killed_process_loses_at_most_one_commit_of_what_it_encoded(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ENCODER, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = [process.stdout.readline().strip() for _ in range(101)]
    os.kill(process.pid, signal.SIGKILL)
    told += process.stdout.read().split("\n")[:-1]
    assert process.wait(10) == -signal.SIGKILL
    cache = FeatureCache("slow", tmp_path)
    kept = [text for text in told if cache.get(text_content(text), 32) is not None]
    assert kept == told[: len(kept)]
    assert len(told) - 8 - 2 <= len(kept) <= len(told)  # a commit's worth, and what was under way
    resumed = Letters()
    assert np.array_equal(encode_cached(resumed, told, text_content, cache), Letters().encode(told))
    assert resumed.encoded == told[len(kept) :]


def test_a_slow_encoder_commits_before_many_vectors_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("predictor.encoders.cache._COMMIT_S", 0.0)
    cache, seen = FeatureCache("f", tmp_path), []

    class Watching(Letters):
        def encode(self, items: Sequence[str], /) -> NDArray[np.float32]:
            seen.append([text for text in "abc" if cache.get(text_content(text)) is not None])
            return super().encode(items)

    encode_cached(Watching(), ["a", "b", "c"], text_content, cache)
    assert seen == [[], ["a"], ["a", "b"]]


def test_a_second_pass_over_files_neither_decodes_nor_encodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, encoder, paths = FeatureCache("f", tmp_path), Colours(), paintings(tmp_path, 5)
    first = encode_files(encoder, [*paths, paths[1]], cache)
    assert first == pytest.approx(np.array([[n, 2 * n, 100] for n in (0, 1, 2, 3, 4, 1)]))
    assert encoder.encoded == 5
    monkeypatch.setattr("predictor.data.image_files.read_image", None)
    assert np.array_equal(encode_files(encoder, paths[::-1], cache), first[4::-1])
    assert encoder.encoded == 5


def test_a_picture_is_encoded_once_from_a_file_a_copy_and_memory(tmp_path: Path) -> None:
    cache, encoder, (path,) = FeatureCache("f", tmp_path), Colours(), paintings(tmp_path, 1)
    with Image.open(path) as image:
        image.save(tmp_path / "copy.bmp")
        vectors = [encode_files(encoder, [file], cache)[0] for file in (path, tmp_path / "copy.bmp", path)]
        vectors.append(encode_cached(encoder, [image], image_content, cache)[0])
    assert len(np.unique(vectors, axis=0)) == 1
    assert encoder.encoded == 1


@pytest.mark.parametrize("threads", [2, 9])
def test_images_encoded_at_once_give_the_rows_of_one_after_the_other(tmp_path: Path, threads: int) -> None:
    paths = paintings(tmp_path, 30)
    alone = encode_files(Colours(), [*paths, paths[3]], FeatureCache("alone", tmp_path))
    cache, encoder = FeatureCache("together", tmp_path), Colours()
    told: list[tuple[int, int]] = []
    together = encode_files(
        encoder, [*paths, paths[3]], cache, threads=threads, progress=lambda done, total: told.append((done, total))
    )
    assert np.array_equal(together, alone)
    assert told == [(done, 31) for done in range(1, 32)]
    encoded = encoder.encoded
    assert np.array_equal(encode_files(encoder, paths[::-1], cache, threads=threads), alone[29::-1])
    assert encoder.encoded == encoded


def test_a_file_that_cannot_be_read_is_named_and_what_came_before_is_kept(tmp_path: Path) -> None:
    cache, encoder, paths = FeatureCache("f", tmp_path), Colours(), paintings(tmp_path, 3)
    (broken := tmp_path / "broken.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"broken.jpg: not an image that can be read: no format that is known"):
        encode_files(encoder, [*paths, broken], cache)
    encode_files(encoder, paths[:2], cache)
    assert encoder.encoded == 3


def test_no_file_gives_no_rows(tmp_path: Path) -> None:
    assert encode_files(Colours(), [], FeatureCache("f", tmp_path)).shape == (0, 3)


def test_many_vectors_are_mapped_from_a_file_that_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, texts = FeatureCache("letters", tmp_path), [str(number) for number in range(40)]
    in_memory = encode_cached(Letters(), texts, text_content, cache)
    names = set(tmp_path.rglob("*"))
    monkeypatch.setattr("predictor.encoders.cache._MOST_IN_MEMORY", 0)
    mapped = encode_cached(Letters(), texts, text_content, cache)
    assert isinstance(mapped.base, np.memmap) and not isinstance(in_memory.base, np.memmap)
    assert np.array_equal(mapped, in_memory)
    assert set(tmp_path.rglob("*")) == names


def test_a_cache_that_is_none_is_refused_with_its_folder(tmp_path: Path) -> None:
    (tmp_path / "features" / "letters").mkdir(parents=True)
    (tmp_path / "features" / "letters" / "data.mdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(ValueError, match=r"letters: the feature cache cannot be opened \(.*\); remove this folder, or"):
        FeatureCache("letters", tmp_path)
