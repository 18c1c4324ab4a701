"""What finished runs offer for comparison."""

import pytest

from studies.design.steered_images import read_steered_images
from tests.studies.conftest import GREYS, PROMPTS, Build


def test_each_prompt_offers_its_initial_image_one_by_user_and_one_by_generic_scorer(run_folder: Build) -> None:
    steered_images = read_steered_images([run_folder(generic={"hpsv3": 250})])
    assert [entry.prompt for entry in steered_images.prompts] == list(PROMPTS.values())
    assert steered_images.users == list(GREYS)
    assert steered_images.generic == ["hpsv3"]
    first = steered_images.prompts[0]
    assert first.initial.key == "p1-135"
    assert {user: picture.key for user, picture in first.steered.items()} == {u: f"p1-{g}" for u, g in GREYS.items()}


def test_runs_of_other_scorers_meet_where_prompt_and_initial_image_are_the_same(run_folder: Build) -> None:
    personal = run_folder("personal")
    generic = run_folder("generic", users={}, generic={"hpsv3": 250, "q-align": 30})
    steered_images = read_steered_images([personal, generic])
    assert len(steered_images.prompts) == 2
    assert steered_images.generic == ["hpsv3", "q-align"]
    assert steered_images.users == list(GREYS)


def test_independent_passes_are_offers_of_their_own(run_folder: Build) -> None:
    steered_images = read_steered_images([run_folder(passes=2, generic={"hpsv3": 250})])
    assert [entry.prompt_id for entry in steered_images.prompts] == ["p1", "p1", "p2", "p2"]
    assert [entry.steered["u1"].key for entry in steered_images.prompts[:2]] == ["p1-60", "p1-61"]


def test_a_prompt_id_that_means_two_prompts_is_told_apart(run_folder: Build) -> None:
    steered_images = read_steered_images(
        [run_folder("a", prompts={"p1": "a wall"}), run_folder("b", prompts={"p1": "a door"})]
    )
    assert [(entry.prompt_id, entry.prompt) for entry in steered_images.prompts] == [
        ("p1", "a wall"),
        ("p1-2", "a door"),
    ]


def test_trajectories_that_failed_are_left_out_and_counted(run_folder: Build) -> None:
    steered_images = read_steered_images([run_folder(failed=("u2",))])
    assert steered_images.users == ["u1", "u3", "u4"]
    assert steered_images.unfinished == 2


def test_spare_images_are_those_that_nobody_kept(run_folder: Build) -> None:
    steered_images = read_steered_images([run_folder()])
    kept = {p.key for entry in steered_images.prompts for p in (entry.initial, *entry.generic, *entry.steered.values())}
    spare = {picture.key for pictures in steered_images.spare.values() for picture in pictures}
    assert spare
    assert not spare & kept


def test_two_scorers_that_steer_for_users_are_refused(run_folder: Build) -> None:
    one, two = run_folder("one"), run_folder("two", generic={})
    table = two / "trajectories.parquet"
    import pyarrow.parquet as pq

    rows = pq.read_table(table)
    renamed = rows.set_column(rows.column_names.index("scorer"), "scorer", [["other-model"] * len(rows)])
    pq.write_table(renamed, table)
    with pytest.raises(ValueError, match=r"more than one scorer steered for users \(other-model, pamela\)"):
        read_steered_images([one, two])


def test_an_image_that_the_records_name_must_be_there(run_folder: Build) -> None:
    folder = run_folder()
    (folder / "images" / "p1" / "p1-60.png").unlink()
    with pytest.raises(ValueError, match=r"p1-60\.png: the run's records name this image"):
        read_steered_images([folder])


def test_a_run_without_a_finished_trajectory_is_refused(run_folder: Build) -> None:
    with pytest.raises(ValueError, match="holds no finished trajectory"):
        read_steered_images([run_folder(failed=tuple(GREYS))])


def test_a_folder_named_twice_is_refused(run_folder: Build) -> None:
    folder = run_folder()
    with pytest.raises(ValueError, match="is named twice; every vote on it would count double"):
        read_steered_images([folder, folder])


def test_passes_of_a_generic_scorer_beyond_the_users_are_counted(run_folder: Build) -> None:
    once, thrice = run_folder("once"), run_folder("thrice", users={}, generic={"hpsv3": 250}, passes=3)
    assert read_steered_images([once, thrice]).further_passes == 4  # two prompts, two passes too many
