"""Raters with a known taste take studies over HTTP."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from predictor.data.dataset import read_dataset
from predictor.fitting import fit
from predictor.simulation.raters import read_truth
from predictor.transformer.training import RECIPES
from studies.elo.analysis import analyse
from studies.results.answers import attention_checks, ratings_table, votes_table
from studies.results.export import export_dataset, write_table
from studies.results.votes import study_votes
from studies.simulation.rehearsal import rehearse, truth_of
from studies.study import Study
from tests.studies.conftest import GREYS, Build
from tests.studies.store.test_store import Store


def test_each_rater_takes_the_study_as_themselves_and_prefers_what_was_steered_for_them(pair_study: Study) -> None:
    raters = list(read_truth(truth_of(pair_study)).values())
    answers = rehearse(pair_study, raters)
    rows = votes_table(pair_study).to_pylist()
    assert len(rows) == answers
    assert {row["user"] for row in rows} == set(GREYS)
    assert {row["source"] for row in pq.read_table(_exported(pair_study)).to_pylist()} == {"simulated"}
    checks = attention_checks(rows)
    assert all(check.attention_passed == check.attention > 0 for check in checks.values())
    given = study_votes(pair_study)
    report = analyse(given.votes)
    elo = {condition.condition: condition.elo for condition in report.conditions}
    assert elo["own"] == max(elo.values())
    assert any("simulated raters, not people" in caveat for caveat in given.caveats)


def test_the_same_seed_gives_the_same_answers(run_folder: Build, tmp_path: Path) -> None:
    from studies.design.making import make_pairs
    from studies.design.steered_images import read_steered_images

    run = run_folder(users={"u1": 60, "u3": 160})
    raters = list(read_truth(run / "truth.parquet").values())
    said = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        study = make_pairs(
            read_steered_images([run]), [run], tmp_path / name, others=1, choices={"practice": 1, "seed": 0}
        )
        rehearse(study, raters, seed=seed)
        columns = ("user", "position", "prompt_id", "left_image", "right_image", "winner", "response_ms")
        said.append([tuple(row[c] for c in columns) for row in votes_table(study).to_pylist()])
    assert said[0] == said[1] != said[2]


def test_ratings_become_a_dataset_that_reads_strictly(rating_study: Study, run_folder: Build, tmp_path: Path) -> None:
    raters = list(read_truth(run_folder() / "truth.parquet").values())[:3]
    rehearse(rating_study, raters)
    counts = export_dataset(rating_study, tmp_path / "dataset")
    assert counts["users"] == 3
    assert counts["images"] == 10
    assert counts["ratings"] == 30
    assert counts["practice"] == 6
    assert counts["repeat"] > 0
    data = read_dataset(tmp_path / "dataset", seed=0)
    assert len(data.rating) == 30
    assert set(data.images.column_names) >= {"image_id", "file", "prompt", "style"}
    assert data.images["image_id"].to_pylist() == sorted(data.images["image_id"].to_pylist())
    told = {
        (r["participant"], r["image_id"]): r["rating"]
        for r in ratings_table(rating_study).to_pylist()
        if not r["repeat"]
    }
    for user, image, rating in zip(data.user, data.image, data.rating, strict=True):
        key = (data.user_ids[user], data.images["image_id"][int(image)].as_py())
        assert abs(told[key] - 100 * rating) < 1e-3


def test_votes_become_choices_that_a_predictor_is_trained_by(
    pair_study: Study, run_folder: Build, tmp_path: Path
) -> None:
    rehearse(pair_study, list(read_truth(run_folder("truth") / "truth.parquet").values()))
    counts = export_dataset(pair_study, tmp_path / "dataset")
    votes = [v for v in votes_table(pair_study).to_pylist() if v["kind"] == "trial" and not v["repeat"]]
    assert counts["choices"] == len(votes) > 20
    data = read_dataset(tmp_path / "dataset")
    names, people = data.images["image_id"].to_pylist(), data.user_ids
    told = [(v["user"], {v["left_image"], v["right_image"]}, v[f"{v['winner']}_image"]) for v in votes]
    assert told == [(people[c.user], {names[i] for i in c.shown}, names[c.chosen or 0]) for c in data.choices]
    assert not {"own", "other", "initial", "steered"} & set(
        (tmp_path / "dataset" / "choices.csv").read_text().split(",")
    )
    predictor = fit(data, replace(RECIPES["small"], epochs=1))
    assert predictor.user_ids == ["u1", "u2", "u3", "u4"]
    assert predictor.metrics["training"]["n_choices"] == len(votes)


def test_a_dataset_holds_the_names_of_known_people_and_platform_ids_only_if_asked(
    rating_study: Study, tmp_path: Path
) -> None:
    store = Store(rating_study.database)
    store.join_from_prolific("5f3e0a77")
    store.close()
    from studies.results.answers import participants_table

    assert "external_id" not in participants_table(rating_study).column_names
    assert participants_table(rating_study, external_ids=True)["external_id"].to_pylist() == ["5f3e0a77"]


def _exported(study: Study) -> Path:
    from studies.results.answers import participants_table

    path = study.folder.parent / "people.parquet"
    write_table(participants_table(study), path)
    return path
