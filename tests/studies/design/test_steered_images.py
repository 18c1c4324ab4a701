"""What finished runs offer for comparison."""

import pytest

from studies.design.steered_images import read_offers
from tests.studies.conftest import GREYS, PROMPTS, Build


def test_each_prompt_offers_its_initial_image_one_by_user_and_one_by_generic_scorer(run_folder: Build) -> None:
    offers = read_offers([run_folder(generic={"hpsv3": 250})])
    assert [offer.prompt for offer in offers.offers] == list(PROMPTS.values())
    assert offers.users == list(GREYS)
    assert offers.generic == ["hpsv3"]
    first = offers.offers[0]
    assert first.initial.key == "p1-135"
    assert {user: picture.key for user, picture in first.steered.items()} == {u: f"p1-{g}" for u, g in GREYS.items()}


def test_runs_of_other_scorers_meet_where_prompt_and_initial_image_are_the_same(run_folder: Build) -> None:
    personal = run_folder("personal")
    generic = run_folder("generic", users={}, generic={"hpsv3": 250, "q-align": 30})
    offers = read_offers([personal, generic])
    assert len(offers.offers) == 2
    assert offers.generic == ["hpsv3", "q-align"]
    assert offers.users == list(GREYS)


def test_independent_passes_are_offers_of_their_own(run_folder: Build) -> None:
    offers = read_offers([run_folder(passes=2, generic={"hpsv3": 250})])
    assert [offer.prompt_id for offer in offers.offers] == ["p1", "p1", "p2", "p2"]
    assert [offer.steered["u1"].key for offer in offers.offers[:2]] == ["p1-60", "p1-61"]


def test_a_prompt_id_that_means_two_prompts_is_told_apart(run_folder: Build) -> None:
    offers = read_offers([run_folder("a", prompts={"p1": "a wall"}), run_folder("b", prompts={"p1": "a door"})])
    assert [(offer.prompt_id, offer.prompt) for offer in offers.offers] == [("p1", "a wall"), ("p1-2", "a door")]


def test_trajectories_that_failed_are_left_out_and_counted(run_folder: Build) -> None:
    offers = read_offers([run_folder(failed=("u2",))])
    assert offers.users == ["u1", "u3", "u4"]
    assert offers.unfinished == 2


def test_spare_images_are_those_that_nobody_kept(run_folder: Build) -> None:
    offers = read_offers([run_folder()])
    kept = {p.key for offer in offers.offers for p in (offer.initial, *offer.generic, *offer.steered.values())}
    spare = {picture.key for pictures in offers.spare.values() for picture in pictures}
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
        read_offers([one, two])


def test_an_image_that_the_records_name_must_be_there(run_folder: Build) -> None:
    folder = run_folder()
    (folder / "images" / "p1" / "p1-60.png").unlink()
    with pytest.raises(ValueError, match=r"p1-60\.png: the run's records name this image"):
        read_offers([folder])


def test_a_run_without_a_finished_trajectory_is_refused(run_folder: Build) -> None:
    with pytest.raises(ValueError, match="holds no finished trajectory"):
        read_offers([run_folder(failed=tuple(GREYS))])


def test_a_folder_named_twice_is_refused(run_folder: Build) -> None:
    folder = run_folder()
    with pytest.raises(ValueError, match="is named twice; every vote on it would count double"):
        read_offers([folder, folder])


def test_passes_of_a_generic_scorer_beyond_the_users_are_counted(run_folder: Build) -> None:
    once, thrice = run_folder("once"), run_folder("thrice", users={}, generic={"hpsv3": 250}, passes=3)
    assert read_offers([once, thrice]).further_passes == 4  # two prompts, two passes too many
