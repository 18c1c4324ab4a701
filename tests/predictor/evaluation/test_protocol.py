"""`evaluate` on simulated raters of all five splits, recomputed rating by rating with scipy."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from predictor.data.dataset import Dataset, join, read_dataset
from predictor.encoders.encoding import Images
from predictor.evaluation.adaptation import Adaptation, Context, Rule
from predictor.evaluation.episodes import sample_episodes
from predictor.evaluation.evaluator import EvaluationConfig
from predictor.evaluation.protocol import GRID, evaluate
from predictor.evaluation.report import markdown
from predictor.fitting import fit
from predictor.metrics import METRICS
from predictor.people.person import Person
from predictor.predictor import PamelaPredictor
from predictor.taste.evidence import Rating
from predictor.transformer.training import Recipe


def rank_correlation(a: Any, b: Any) -> float:
    found: Any = spearmanr(a, b)
    return float(found.statistic)


def correlation(a: Any, b: Any) -> float:
    found: Any = pearsonr(a, b)
    return float(found.statistic)


@pytest.fixture(scope="module")
def data(rated_by_many: Path) -> Dataset:
    return read_dataset(rated_by_many)


@pytest.fixture(scope="module")
def images(of_many: PamelaPredictor, data: Dataset, cache: Path) -> Images:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PAMELA_CACHE", str(cache))
        return of_many.encoders.encode_files(data.image_paths, data.prompts, data.images.to_pylist())


@pytest.fixture(scope="module")
def seen(of_many: PamelaPredictor, data: Dataset, images: Images) -> dict[str, Any]:
    return evaluate(of_many, data, EvaluationConfig(split="test_seen"), images=images)


@pytest.fixture(scope="module")
def unseen(of_many: PamelaPredictor, data: Dataset, images: Images) -> dict[str, Any]:
    return evaluate(of_many, data, EvaluationConfig(split="test_unseen", draws=3), images=images)


def in_short(predictor: PamelaPredictor, data: Dataset, vectors: Images, /, **config: Any) -> dict[str, Any]:
    short: dict[str, Any] = {"details": False, "draws": 2}
    return evaluate(predictor, data, EvaluationConfig(**short | config), images=vectors)


def value_of(result: dict[str, Any], metric: str = "srocc") -> float:
    return result["user"][metric]["value"]


def test_the_dataset_has_all_five_splits(data: Dataset) -> None:
    assert set(data.split.tolist()) == {"train", "val_seen", "val_unseen", "test_seen", "test_unseen"}


@pytest.mark.parametrize("split", ["seen", "unseen"])
def test_the_result_has_the_documented_shape_and_is_json(
    seen: dict[str, Any], unseen: dict[str, Any], split: str
) -> None:
    result = {"seen": seen, "unseen": unseen}[split]
    written = json.dumps(result, allow_nan=False)
    assert json.dumps(json.loads(written)) == written
    assert result["split"] == f"test_{split}"
    names = {"population", "generic_head", "matrix_factorisation", "population_mean"}
    assert set(result["baselines"]) == names | ({"equation_1"} if split == "unseen" else set())
    assert set(result["differences"]) == set(result["baselines"])
    for levels in (result, *result["baselines"].values()):
        for level in ("user", "population"):
            assert set(levels[level]) == set(METRICS)
            assert all(set(interval) == {"value", "ci_low", "ci_high"} for interval in levels[level].values())
    assert result["settings"]["dataset"] == "simulated-14-raters"
    assert result["settings"]["transformer_share"] == 0.4
    assert {"margins", "diverging", "n_users_without_correlation"} <= set(result)
    assert ({"contexts", "grid", "gap"} <= set(result)) == (split == "unseen")
    assert markdown(result, {})


def test_seen_users_are_scored_as_learnt(
    of_many: PamelaPredictor, data: Dataset, images: Images, seen: dict[str, Any]
) -> None:
    rows = data.rows("test_seen")
    own, generic = {"srocc": [], "plcc": []}, []
    for number in np.unique(data.user[rows]):
        mine = rows[data.user[rows] == number]
        of_rows = images[data.image[mine]]
        scores = of_many.score_images(of_rows, [of_many.person(data.user_ids[number])])[0]
        own["srocc"].append(rank_correlation(data.rating[mine], scores))
        own["plcc"].append(correlation(data.rating[mine], scores))
        generic.append(rank_correlation(data.rating[mine], of_many.taste.features(of_rows).generic.numpy()))
    assert value_of(seen) == pytest.approx(np.mean(own["srocc"]))
    assert value_of(seen, "plcc") == pytest.approx(np.mean(own["plcc"]))
    assert value_of(seen["baselines"]["generic_head"]) == pytest.approx(np.mean(generic))
    gain = seen["differences"]["generic_head"]["srocc"]["value"]
    assert gain == pytest.approx(np.mean(own["srocc"]) - np.mean(generic))
    assert (seen["n_ratings"], seen["n_users"]) == (len(rows), len(own["srocc"]))
    assert seen["n_images"] == len(np.unique(data.image[rows]))


def test_the_population_level_is_of_mean_ratings(
    of_many: PamelaPredictor, data: Dataset, images: Images, seen: dict[str, Any]
) -> None:
    rows = data.rows("test_seen")
    rated = np.unique(data.image[rows])
    means = [data.rating[rows[data.image[rows] == image]].mean() for image in rated]
    scores = of_many.score_images(images[rated], [of_many.population()])[0]
    assert seen["population"]["srocc"]["value"] == pytest.approx(rank_correlation(means, scores))
    assert seen["population"]["plcc"]["value"] == pytest.approx(correlation(means, scores))
    assert seen["population"] == seen["baselines"]["population"]["population"]


def test_a_raters_own_rating_is_not_in_the_mean_that_it_is_compared_with(data: Dataset, seen: dict[str, Any]) -> None:
    rows = data.rows("test_seen")
    by_user: dict[int, list[tuple[float, float]]] = {}
    for row in rows:
        others = [o for o in np.flatnonzero(data.image == data.image[row]) if o != row]
        assert others
        by_user.setdefault(int(data.user[row]), []).append((float(data.rating[row]), float(data.rating[others].mean())))
    values = [rank_correlation(*zip(*pairs, strict=True)) for pairs in by_user.values()]
    assert value_of(seen["baselines"]["population_mean"]) == pytest.approx(np.mean(values))


def by_hand(
    predictor: PamelaPredictor, data: Dataset, images: Images, rule: Rule, draws: int, k: int = 15
) -> tuple[float, list[float]]:
    """Mean over users of each one's mean SROCC over draws; and the means of single draws."""
    demographics = predictor.encoders.encode_people(data.users.to_pylist())
    values: dict[int, list[float]] = {}
    for draw in range(draws):
        for episode in sample_episodes(data, "test_unseen", images="unseen", draw=draw, seed=0):
            context, query = episode.context(k), episode.query(k)
            assert not np.isin(context, query).any()
            given = images[data.image[context]]
            known = Person(name="", demographics=demographics[episode.user])
            person = Adaptation(predictor, rule).adapt(
                known,
                Context(images=given, features=predictor.taste.features(given), rating=data.rating[context]),
            )
            scores = predictor.score_images(images[data.image[query]], [person])[0]
            values.setdefault(episode.user, []).append(rank_correlation(data.rating[query], scores))
    by_draw = np.array(list(values.values()))
    return float(by_draw.mean()), by_draw.mean(0).tolist()


def test_unseen_users_are_adapted_to_by_their_context_and_draws_are_averaged(
    of_many: PamelaPredictor, data: Dataset, images: Images, unseen: dict[str, Any]
) -> None:
    mean, by_draw = by_hand(of_many, data, images, "default", draws=3)
    assert value_of(unseen) == pytest.approx(mean)
    assert len(set(by_draw)) == 3
    one = in_short(of_many, data, images, split="test_unseen", draws=1)
    assert value_of(one) == pytest.approx(by_draw[0])
    assert value_of(unseen["baselines"]["equation_1"]) == pytest.approx(by_hand(of_many, data, images, "paper", 3)[0])


def test_each_rule_of_adaptation_is_as_described(of_many: PamelaPredictor, data: Dataset, images: Images) -> None:
    rules: tuple[Rule, ...] = ("default", "paper", "none")
    results = {rule: in_short(of_many, data, images, split="test_unseen", rule=rule) for rule in rules}
    for rule in rules:
        result = results[rule]
        assert value_of(result) == pytest.approx(by_hand(of_many, data, images, rule, draws=2)[0])
        assert ("equation_1" in result["baselines"]) == (rule != "paper")
    assert results["default"]["baselines"]["equation_1"]["user"] == results["paper"]["user"]
    assert len({value_of(result) for result in results.values()}) == 3


def test_curves_and_grid_are_of_the_same_ratings_and_agree(unseen: dict[str, Any]) -> None:
    curves = {(line["rule"], line["k"]): line for line in unseen["contexts"]}
    assert [k for rule, k in curves if rule == "default"] == [0, 1, 2, 5, 10, 15, 25]
    assert [k for rule, k in curves if rule == "paper"] == [5, 10, 15, 20, 25]
    assert curves["default", 0]["gain"]["value"] == pytest.approx(0)
    assert curves["default", 1]["gain"]["value"] == pytest.approx(0)  # one rating says nothing of taste
    grid = [(line["k"], line["neighbours"], line["tau"]) for line in unseen["grid"]]
    assert grid == [(k, near, tau) for k in GRID[0] for near in GRID[1] for tau in GRID[2]]


def test_the_gap_is_seen_users_minus_unseen_ones(seen: dict[str, Any], unseen: dict[str, Any]) -> None:
    assert unseen["gap"]["seen_split"] == "test_seen"
    for name in METRICS:
        assert unseen["gap"][name] == pytest.approx(value_of(seen, name) - value_of(unseen, name))


def test_a_context_larger_than_anybodys_ratings_is_refused_with_the_most_there_are(
    of_many: PamelaPredictor, data: Dataset, images: Images
) -> None:
    most = max(np.bincount(data.user[data.rows("test_unseen")]))
    message = rf"nobody in 'test_unseen' has 500 context ratings and two more .*\(at most {most} ratings a user\)"
    with pytest.raises(ValueError, match=message):
        in_short(of_many, data, images, split="test_unseen", context=500)


def test_users_with_too_few_ratings_are_left_out_and_counted(
    of_many: PamelaPredictor, data: Dataset, images: Images
) -> None:
    rows = data.rows("test_unseen")
    numbers = np.unique(data.user[rows])
    assert len(numbers) == 2
    kept = np.ones(len(data.user), bool)
    kept[rows[data.user[rows] == numbers[0]][10:]] = False
    fewer = replace(
        data, user=data.user[kept], image=data.image[kept], rating=data.rating[kept], split=data.split[kept]
    )
    result = in_short(of_many, fewer, images, split="test_unseen")
    assert result["n_users"] == 1
    assert "1 users have fewer than 15 context ratings with two more to evaluate on, and are left out" in str(
        result["warnings"]
    )


def test_users_without_a_training_rating_are_left_out_and_named(
    of_many: PamelaPredictor, data: Dataset, images: Images, seen: dict[str, Any]
) -> None:
    user = data.user_ids[int(data.user[data.rows("test_seen")][0])]
    counts = [0 if row["user_id"] == user else row["n_ratings"] for row in of_many.users.to_pylist()]
    column = of_many.users.column_names.index("n_ratings")
    fewer = of_many.with_users(of_many.users.set_column(column, "n_ratings", [counts]))
    result = in_short(fewer, data, images)
    assert result["warnings"][-1] == f"1 of 11 users had no training rating and are left out: {user}"
    assert result["n_users"] == seen["n_users"] - 1 == 10
    assert not seen["warnings"]


def test_a_checkpoint_of_other_people_is_refused_for_seen_users(
    of_many: PamelaPredictor, data: Dataset, images: Images
) -> None:
    others = data.users.set_column(0, "user_id", [[f"x{n}" for n in range(14)]])
    unseen_people = replace(data, users=others, name="other people", training_digests={"other people": "0"})
    with pytest.raises(ValueError, match="other people: the checkpoint has learnt of none of the 11 users of split"):
        in_short(of_many, unseen_people, images)
    adapted = in_short(of_many, unseen_people, images, split="test_unseen")
    assert adapted["n_users"] == 2 and not adapted["warnings"]


def test_the_same_ids_in_a_dataset_of_another_name_are_warned_of(
    of_many: PamelaPredictor, data: Dataset, images: Images
) -> None:
    renamed = replace(data, name="other", training_digests={"other": data.training_digests["simulated-14-raters"]})
    warnings = in_short(of_many, renamed, images)["warnings"]
    assert warnings[0].startswith("the checkpoint was trained on simulated-14-raters, not on other: users are taken")


def test_other_splits_than_those_trained_with_are_warned_of(
    of_many: PamelaPredictor, rated_by_many: Path, images: Images
) -> None:
    warnings = in_short(of_many, read_dataset(rated_by_many, seed=3), images)["warnings"]
    assert warnings[0].startswith("the checkpoint was trained on other ratings of simulated-14-raters than are split")


def test_a_split_without_ratings_is_refused(predictor: PamelaPredictor, rated: Path) -> None:
    with pytest.raises(ValueError, match="no rating of split 'test_unseen'; there are test_seen, train, val_seen"):
        evaluate(predictor, read_dataset(rated), EvaluationConfig(split="test_unseen"))


def test_the_users_of_a_joint_training_are_found_under_their_datasets_names(rated: Path, data: Dataset) -> None:
    small = read_dataset(rated)
    recipe = Recipe(epochs=1, batch_size=128, learning_rate=1e-3, transformer_weight=0.4)
    joint = fit(join([small, data]), recipe)
    assert "simulated-6-raters/u01" in joint.user_ids and "simulated-14-raters/u14" in joint.user_ids
    result = evaluate(joint, small, EvaluationConfig(details=False))
    rows = small.rows("test_seen")
    values = []
    for number in np.unique(small.user[rows]):
        mine = rows[small.user[rows] == number]
        paths = [small.image_paths[i] for i in small.image[mine]]
        metadata = small.images.to_pylist()
        seen = joint.encoders.encode_files(
            paths, [small.prompts[i] for i in small.image[mine]], [metadata[i] for i in small.image[mine]]
        )
        scores = joint.score_images(seen, [joint.person(f"simulated-6-raters/{small.user_ids[number]}")])[0]
        values.append(rank_correlation(small.rating[mine], scores))
    assert (result["n_users"], result["warnings"]) == (6, [])
    assert value_of(result) == pytest.approx(np.mean(values))
    of_small = joint.metrics["datasets"]["simulated-6-raters"]
    assert of_small["n_users"] == 6
    assert of_small["user"]["srocc"]["value"] == pytest.approx(value_of(result), abs=1e-9)
    assert "personal, simulated-14-raters" in joint.card
    assert "## By dataset" in markdown(joint.metrics, {})


def test_images_seen_in_training_can_be_asked_for(of_many: PamelaPredictor, data: Dataset, images: Images) -> None:
    result = in_short(of_many, data, images, split="test_unseen", images="seen")
    trained = set(data.image[data.rows("train")].tolist())
    rows = data.rows("test_unseen")
    assert result["n_ratings"] == sum(int(i) in trained for i in data.image[rows]) - 2 * 15
    assert result["baselines"]["matrix_factorisation"]["user"]["srocc"]["value"] is not None
    on_unseen = in_short(of_many, data, images, split="test_unseen")
    assert on_unseen["baselines"]["matrix_factorisation"]["user"]["srocc"]["value"] is None


def test_curves_and_grid_are_of_some_users_where_there_are_many(
    of_many: PamelaPredictor, data: Dataset, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("predictor.evaluation.protocol.MOST_ADAPTED", 1)
    result = evaluate(of_many, data, EvaluationConfig(split="test_unseen", draws=1), images=images)
    assert "context curves and grid are of 1 of these 2 users, chosen at random" in result["warnings"]
    assert {line["srocc"]["ci_low"] == line["srocc"]["ci_high"] for line in result["contexts"]} == {True}


def test_what_an_enrolled_person_answered_is_never_evaluated_on(
    of_many: PamelaPredictor, data: Dataset, images: Images, seen: dict[str, Any]
) -> None:
    user = data.user_ids[int(data.user[data.rows("test_seen")][0])]
    known = of_many.users.to_pylist()
    names = ["somebody else" if row["user_id"] == user else row["user_id"] for row in known]
    others = of_many.with_users(of_many.users.set_column(0, "user_id", [names]))
    own = np.flatnonzero(data.user == data.user_ids.index(user))
    answers = [Rating(image=row, rating=rating) for row, rating in enumerate(data.rating[own].tolist())]
    result = in_short(others.enroll(user, images[data.image[own]], answers), data, images)
    assert result["warnings"][-1] == f"1 of 11 users had no training rating and are left out: {user}"
    assert result["n_users"] == seen["n_users"] - 1


@pytest.mark.parametrize(("name", "value"), [("neighbours", 0), ("tau", 0.0), ("tau", float("nan"))])
def test_what_equation_1_is_not_defined_for_is_refused_before_anything_is_encoded(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be "):
        EvaluationConfig.parse(rule="default", images="unseen", **{name: value})
