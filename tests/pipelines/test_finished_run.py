"""What a run leaves behind, and that it is the same however it came about: one run by the installed command."""

import json
import shutil
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from pipelines.records.journal import parse
from tests.pipelines.conftest import Steer
from tests.pipelines.console import small
from tests.pipelines.records.test_journal import in_plain

FILES = {"run.json", "run.log", "journal.jsonl", "images", "gallery.html", "trends.json"}
FILES |= {f"{name}.parquet" for name in ("candidates", "scores", "trajectories", "judgements", "winners")}


def candidates(folder: Path) -> list[dict]:
    return table(folder, "candidates")


def table(folder: Path, name: str) -> list[dict]:
    return pq.read_table(folder / f"{name}.parquet").to_pylist()


def assert_same_records(run: Path, other: Path) -> None:
    for name in ("candidates", "scores", "trajectories", "judgements", "winners"):
        ours, theirs = (pq.read_table(folder / f"{name}.parquet") for folder in (run, other))
        assert ours.equals(theirs)


def max_score(scores: dict, trajectory: dict) -> float:
    """The user's highest score of all images of the prompt: no guard rejects any here."""
    of_prompt = [row for (prompt_id, _), row in scores.items() if prompt_id == trajectory["prompt_id"]]
    return max(row["scores"][row["users"].index(trajectory["user"])] for row in of_prompt)


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """The finished run, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def test_a_run_leaves_what_the_design_lists_and_nothing_half_written(finished: Path) -> None:
    names = {path.name for path in finished.iterdir() if not path.name.startswith(".")}
    assert names - {"truth.json", "truth.parquet"} == FILES
    assert not list(finished.rglob("*.tmp"))
    about = json.loads((finished / "run.json").read_text())
    assert about["finished"] is not None
    assert about["counts"]["trajectories"] == 8
    assert about["counts"]["failed"] == 0


def test_a_run_says_what_it_has_cost(finished: Path) -> None:
    (costs,) = json.loads((finished / "run.json").read_text())["costs"]
    images = {row["image"] for row in candidates(finished)}
    again = [row for row in table(finished, "winners") if row["fresh_seeds"]]
    images |= {image for row in again for part in ("initial", "final") for image in row[f"{part}_images"]}
    assert costs["renders"] == len(images)
    assert costs["renders_saved"] > 0
    assert set(costs["roles"]) == {"renderer", "proposer", "scorer", "feature_extractor"}
    renderer = costs["roles"]["renderer"]
    assert renderer["calls"] == costs["renders"]
    accounted = renderer["busy_s"] + renderer["starting_s"] + sum(renderer["idle_s"].values())
    assert accounted == pytest.approx(costs["wall_s"], abs=0.5)  # of the one actor
    assert costs["gpu_hours"] == 0


def test_the_gallery_says_how_well_each_person_is_known_and_how_uncertain_each_gain_is(finished: Path) -> None:
    html = (finished / "gallery.html").read_text("utf-8")
    gained = [row for row in table(finished, "trajectories") if row["final_score"] > row["initial_score"]]
    assert gained
    assert html.count("The gain is uncertain by ±") == len(gained)
    assert html.count("Error of a predicted preference: ±") == len(table(finished, "trajectories"))


def test_every_candidate_has_an_image_on_disk_and_a_score(finished: Path) -> None:
    rows = candidates(finished)
    assert len(rows) > 8 * 5
    for row in rows:
        assert row["score"] is not None
        assert (finished / "images" / row["image"][:2] / f"{row['image']}.png").is_file()


def test_the_best_of_a_trajectory_never_falls(finished: Path) -> None:
    falls = f"SELECT * FROM '{finished / 'trajectories.parquet'}' WHERE final_score < initial_score"
    with duckdb.connect() as connection:
        assert connection.execute(falls).fetchall() == []


def test_candidates_of_a_prompt_share_one_image_seed(finished: Path) -> None:
    seeds = {(row["prompt_id"], row["seed"]) for row in candidates(finished)}
    assert len(seeds) == 2


def test_the_journal_replays_to_every_judgement(finished: Path) -> None:
    rounds = [parse("", line)[1] for line in (finished / "journal.jsonl").read_bytes().splitlines()]
    recorded = sum(len(p.users) * len(p.candidates) for each in rounds for p in each.proposed)
    assert recorded == len(table(finished, "judgements"))
    assert sum(each.scores.shape[1] for each in rounds) == len(table(finished, "scores"))


def test_a_table_of_scores_says_what_each_user_has_of_each_image(finished: Path) -> None:
    scores = {(row["prompt_id"], row["image"]): row for row in table(finished, "scores")}
    for row in candidates(finished):
        of_all = scores[row["prompt_id"], row["image"]]
        assert of_all["scores"][of_all["users"].index(row["user"])] == row["score"]
        assert of_all["proposed_for"] in (row["user"], "*")
    for row in table(finished, "trajectories"):
        of_all = scores[row["prompt_id"], row["final_image"]]
        assert of_all["scores"][of_all["users"].index(row["user"])] == row["final_score"] == max_score(scores, row)
        assert of_all["proposed_for"] == row["final_proposed_for"]


def test_the_same_command_gives_the_same_records_whatever_the_actors(
    finished: Path, steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    placement = ["renderer.actors=3", "renderer.in_flight=1", "scorer.actors=2", "proposer.actors=2"]
    overrides = [part for setting in placement for part in ("--set", setting)]
    done = steer(*small(checkpoint, prompts, tmp_path / "run"), *overrides)
    assert done.returncode == 0, done.stderr
    assert_same_records(tmp_path / "run", finished)


@pytest.mark.parametrize("lines", [0, 2, 9])
def test_a_run_whose_journal_ends_after_any_line_goes_on_to_the_records_of_an_unbroken_one(
    lines: int, finished: Path, copy: Path, steer: Steer
) -> None:
    kept = (finished / "journal.jsonl").read_bytes().splitlines(keepends=True)[:lines]
    (copy / "journal.jsonl").write_bytes(b"".join(kept))
    recorded = "".join(map(in_plain, kept))
    images = [path for path in sorted(copy.glob("images/*/*.png")) if path.stem not in recorded]
    for path in (*copy.glob("*.parquet"), *images[::2], copy / "gallery.html"):
        path.unlink()
    done = steer("--resume", "--out", copy)
    assert done.returncode == 0, done.stderr
    assert_same_records(copy, finished)
    assert {path.name for path in copy.rglob("*.png")} == {path.name for path in finished.rglob("*.png")}


def test_a_title_is_given_also_later_and_stays(copy: Path, steer: Steer) -> None:
    assert f"<title>{copy.name} " in steered_again(copy, steer)
    assert "<title>Two prompts &amp; a title " in steered_again(copy, steer, "--title", "Two prompts & a title")
    assert "<h1>Two prompts &amp; a title</h1>" in steered_again(copy, steer)


def steered_again(run: Path, steer: Steer, *options: str) -> str:
    """The gallery of the finished run after it is resumed."""
    done = steer("--resume", "--out", run, *options)
    assert done.returncode == 0, done.stderr
    return (run / "gallery.html").read_text("utf-8")


def test_resuming_a_finished_run_changes_nothing_and_needs_no_cluster(copy: Path, steer: Steer) -> None:
    before = (copy / "journal.jsonl").read_bytes()
    done = steer("--resume", "--out", copy, "--address", "127.0.0.1:1")
    assert done.returncode == 0, done.stderr
    assert (copy / "journal.jsonl").read_bytes() == before
