import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.records.image_store import ImageStore, image_key

IDENTITY: dict[str, Any] = {
    "renderer": "diffusers",
    "model": "flux",
    "revision": "abc",
    "size": 512,
    "steps": 50,
    "guidance_scale": 4.0,
    "dtype": "bfloat16",
    "lora": None,
}

values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
identities = st.dictionaries(st.text(), values, max_size=5)
renders = st.tuples(identities, st.text(), st.integers(0, 2**63 - 1))


@pytest.mark.parametrize("part", IDENTITY)
def test_every_part_of_the_renderers_identity_enters_the_key(part: str) -> None:
    changed = IDENTITY | {part: "other"}
    without = {name: value for name, value in IDENTITY.items() if name != part}

    assert len({image_key(identity, "a cat", 1) for identity in (IDENTITY, changed, without)}) == 3


@pytest.mark.parametrize("prompt, seed", [("a cat ", 1), ("A cat", 1), ("a cat", 2), ("a cat", 0), ("", 1)])
def test_the_prompt_and_the_seed_enter_the_key(prompt: str, seed: int) -> None:
    assert image_key(IDENTITY, prompt, seed) != image_key(IDENTITY, "a cat", 1)


@given(renders, renders)
def test_two_renders_share_a_key_only_if_they_are_the_same(
    one: tuple[Mapping[str, Any], str, int], two: tuple[Mapping[str, Any], str, int]
) -> None:
    assert (image_key(*one) == image_key(*two)) == (repr(_in_order(one)) == repr(_in_order(two)))


def test_the_key_does_not_depend_on_the_order_of_the_identity_and_is_a_file_name() -> None:
    key = image_key(IDENTITY, "a cat", 1)

    assert key == image_key(dict(reversed(IDENTITY.items())), "a cat", 1)
    assert len(key) == 32
    assert set(key) <= set("0123456789abcdef")


def test_an_image_is_read_back_as_it_was_written_under_two_letters_of_its_key(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    assert store.read("abcd") is None

    store.write("abcd", b"png")

    assert store.read("abcd") == b"png"
    assert files(tmp_path) == ["images/ab/abcd.png"]


def test_writing_an_image_again_changes_nothing(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)

    store.write("abcd", b"png")
    store.write("abcd", b"png")

    assert store.read("abcd") == b"png"
    assert files(tmp_path) == ["images/ab/abcd.png"]


FULL_DISK = """
import resource, sys
from pathlib import Path
from pipelines.records.image_store import ImageStore
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    ImageStore(Path(sys.argv[1])).write("abcd", b"x" * int(sys.argv[2]))
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.parametrize("size", [1500, 100_000])
def test_an_image_that_does_not_fit_on_the_disk_leaves_nothing_behind(tmp_path: Path, size: int) -> None:
    assert write_on_a_full_disk(tmp_path, size) == "File too large"

    assert files(tmp_path) == []
    assert ImageStore(tmp_path).read("abcd") is None


def test_an_image_that_is_there_outlives_a_second_write_that_fails(tmp_path: Path) -> None:
    ImageStore(tmp_path).write("abcd", b"first")

    assert write_on_a_full_disk(tmp_path, 1500) == "File too large"

    assert ImageStore(tmp_path).read("abcd") == b"first"
    assert files(tmp_path) == ["images/ab/abcd.png"]


WRITE_FOREVER = """
import sys
from pathlib import Path
from pipelines.records.image_store import ImageStore
while True:
    ImageStore(Path(sys.argv[1])).write("abcd", b"x" * 1_000_000)
    print("written", flush=True)
"""


def test_whoever_reads_while_an_image_is_written_again_or_the_writer_is_killed_gets_it_whole(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    command = [sys.executable, "-c", WRITE_FOREVER, str(tmp_path)]

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "written\n"
            sizes = {len(store.read("abcd") or b"") for _ in range(500)}
            assert writer.poll() is None
        finally:
            writer.kill()

    assert sizes == {1_000_000}
    assert len(store.read("abcd") or b"") == 1_000_000


def write_on_a_full_disk(folder: Path, size: int) -> str:
    command = [sys.executable, "-c", FULL_DISK, str(folder), str(size)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _in_order(render: tuple[Mapping[str, Any], str, int]) -> list[Any]:
    identity, prompt, seed = render
    return [sorted(identity.items()), prompt, seed]
