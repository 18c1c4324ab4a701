"""A finished run as a data set: what is in it, that no participant is, and that a hub gets all of it."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from pipelines.publishing.dataset_folder import write_dataset
from tests.actors.proposers.chat.service import Scripted, serve
from tests.dataset_hub import point_to, serve_dataset_hub
from tests.pipelines.conftest import Steer


@pytest.fixture
def published(steer: Steer, finished: Path, tmp_path: Path) -> Path:
    out = tmp_path / "dataset"
    done = steer("publish", finished, "--out", out, "--licence", "cc-by-4.0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(out)
    return out


def test_the_folder_holds_tables_images_and_a_card(published: Path, finished: Path) -> None:
    trajectories = pq.read_table(published / "data" / "trajectories.parquet").to_pylist()
    candidates = pq.read_table(published / "data" / "candidates.parquet").to_pylist()
    described = pq.read_table(published / "images" / "metadata.parquet").to_pylist()
    files = {path.name for path in (published / "images").glob("*.png")}
    assert len(trajectories) == pq.read_table(finished / "trajectories.parquet").num_rows
    assert {row["image"] for row in candidates} == {row["file_name"] for row in described} == files
    assert {row[name] for row in trajectories for name in ("initial_image", "final_image")} <= files
    with Image.open(published / "images" / next(iter(files))) as image:
        assert image.mode == "RGB"
    card = (published / "README.md").read_text("utf-8")
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "cc-by-4.0"
    assert [config["config_name"] for config in front["configs"]] == ["trajectories", "candidates", "images"]
    assert "consent" in card and "develops real photographs" in card


def test_nobody_can_be_found_in_it(published: Path, finished: Path) -> None:
    users = {row["user"] for row in json.loads((finished / "run.json").read_text("utf-8"))["users"]}
    people = pq.read_table(published / "data" / "trajectories.parquet")["person"].to_pylist()
    assert set(people) == {f"person-{number}" for number in range(1, len(users) + 1)}
    for path in published.rglob("*"):
        if path.suffix == ".parquet":
            told = json.dumps(pq.read_table(path).to_pylist())
        elif path.suffix == ".md":
            told = path.read_text("utf-8")
        else:
            continue
        assert not [user for user in users if user in told], path


def test_a_hub_gets_every_file(steer: Steer, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_dataset_hub(monkeypatch, "me/first") as (served, pushed):
        done = steer("publish", finished, "--out", tmp_path / "dataset", "--repo", "me/first")
    assert done.returncode == 0, done.stderr
    files = {path for path in (tmp_path / "dataset").rglob("*") if path.is_file()}
    assert pushed == {str(path.relative_to(tmp_path / "dataset")): path.read_bytes() for path in files}
    (created,) = [asked.body for asked in served.asked if asked.path.endswith("/repos/create")]
    assert (created["type"], created["visibility"]) == ("dataset", "private")


def test_a_hub_that_refuses_is_one_line_and_the_folder_stays(
    steer: Steer, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(lambda _asked, _number: Scripted(status=401, body={"error": "Invalid username or password."})) as served:
        point_to(served, monkeypatch)
        done = steer("publish", finished, "--out", tmp_path / "dataset", "--repo", "me/first")
    assert done.returncode == 2
    made, line = done.stderr.strip().splitlines()
    assert "have everybody's consent" in made  # before anything is pushed
    assert line.startswith("steer-batch: me/first: the hub does not take it: ")
    assert line.endswith(f"; the data set stays in {tmp_path / 'dataset'}")
    assert (tmp_path / "dataset" / "README.md").is_file()


def test_what_is_no_finished_run_is_refused(steer: Steer, tmp_path: Path) -> None:
    done = steer("publish", tmp_path, "--out", tmp_path / "dataset")
    assert done.returncode == 2
    assert done.stderr == (
        f"steer-batch: {tmp_path}: holds no run, run.json is missing; name a folder that steer-batch wrote\n"
    )


def test_a_name_that_is_none_of_the_hubs_is_refused_before_anything_is_written(
    steer: Steer, finished: Path, tmp_path: Path
) -> None:
    for name in ("first", "me/", "me/first/data"):
        done = steer("publish", finished, "--out", tmp_path / "dataset", "--repo", name)
        assert (done.returncode, done.stderr) == (2, f"steer-batch: {name}: must be a hub id, owner/name\n")
    assert not (tmp_path / "dataset").exists()


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "copied")
    return tmp_path / "copied"


def test_a_run_that_is_cut_is_refused_in_one_line_and_leaves_nothing(
    steer: Steer, copied: Path, tmp_path: Path
) -> None:
    table, out = copied / "candidates.parquet", tmp_path / "dataset"
    whole = table.read_bytes()
    table.write_bytes(whole[:100])
    cut = steer("publish", copied, "--out", out)
    table.write_bytes(whole)
    gone = next((copied / "images").rglob("*.png"))
    gone.unlink()
    without_image = steer("publish", copied, "--out", out)

    assert cut.returncode == without_image.returncode == 2
    assert cut.stderr.startswith(f"steer-batch: {table}: does not read: ")
    assert without_image.stderr.startswith(f"steer-batch: {gone}: the run's records name this image, but it is not")
    assert len(cut.stderr.splitlines()) == len(without_image.stderr.splitlines()) == 1
    assert not out.exists()


def test_a_final_image_is_there_also_where_it_was_proposed_for_somebody_who_has_not_finished(
    copied: Path, tmp_path: Path
) -> None:
    rows = pq.read_table(copied / "trajectories.parquet").to_pylist()
    borrowed = next(row for row in rows if row["final_proposed_for"] not in ("*", row["user"]))
    cut = [
        {**row, "stop_reason": "unfinished"} if row["user"] == borrowed["final_proposed_for"] else row for row in rows
    ]
    pq.write_table(pa.Table.from_pylist(cut), copied / "trajectories.parquet")

    write_dataset(copied, tmp_path / "dataset")

    assert (tmp_path / "dataset" / "images" / f"{borrowed['final_image']}.png").is_file()
