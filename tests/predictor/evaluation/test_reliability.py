import numpy as np
import pytest
import torch

from predictor.evaluation.reliability import (
    LEVELS,
    RatedPerson,
    answer_noise_of,
    compared_pairs,
    likeliest_tie_zone,
    reliability,
)

NOISE = 0.02


def people(count: int, *, tie_zone: float = 0.0, overconfident: float = 1.0, images: int = 30) -> list[RatedPerson]:
    """People whose ratings fall as the model says, on whole tens of the scale if there is a tie zone."""
    made = []
    for number in range(count):
        rng = np.random.default_rng(number)
        rows = rng.normal(0, 0.06, (images, 4))
        score = rng.uniform(0.3, 0.7, images)
        rating = score + rows @ rng.normal(size=4) + rng.normal(0, NOISE**0.5, images)
        if tie_zone:
            rating = np.round(rating / tie_zone) * tie_zone
        factor = torch.from_numpy(rows * overconfident)
        made.append(RatedPerson(rating=rating, score=score, factor=factor))
    return made


def test_a_model_that_knows_what_it_does_not_know_is_reliable() -> None:
    found = reliability(people(200), noise=NOISE, perceived_noise=NOISE, tie_zone=0.0)
    assert found["calibration_error"] < 0.01
    assert [row["covered"] for row in found["intervals"]] == pytest.approx(LEVELS, abs=0.02)
    assert found["ties"]["observed"] == 0 == pytest.approx(found["ties"]["predicted"], abs=1e-12)
    assert sum(row["n"] for row in found["bins"]) == found["n_pairs"] == 200 * 300


def test_one_that_believes_too_much_in_itself_is_not() -> None:
    found = reliability(people(100), noise=NOISE / 8, perceived_noise=NOISE / 8, tie_zone=0.0)
    assert found["calibration_error"] > 0.05
    assert found["intervals"][1]["covered"] < 0.9


@pytest.mark.parametrize("of_training", [NOISE / 4, 4 * NOISE])
def test_the_noise_is_found_by_the_errors_whatever_training_says(of_training: float) -> None:
    rated = people(600)
    found = answer_noise_of(rated, of_training=of_training)
    assert found == pytest.approx(NOISE, rel=0.1)
    covered = [
        row["covered"] for row in reliability(rated, noise=found, perceived_noise=NOISE, tie_zone=0.0)["intervals"]
    ]
    assert covered == pytest.approx(LEVELS, abs=0.02)


def test_where_few_have_rated_the_noise_is_what_training_says() -> None:
    assert answer_noise_of([], of_training=NOISE) == pytest.approx(NOISE)
    assert answer_noise_of(people(1, images=3), of_training=NOISE) == pytest.approx(NOISE, rel=0.1)


@pytest.mark.parametrize("step", [0.1, 0.2])
def test_the_tie_zone_is_found_by_the_share_of_ties(step: float) -> None:
    rated = people(150, tie_zone=step)
    pairs = compared_pairs(rated, noise=NOISE, seed=0)
    zone = likeliest_tie_zone(pairs)
    assert zone == pytest.approx(step / 2, rel=0.25)
    ties = reliability(rated, noise=NOISE, perceived_noise=NOISE, tie_zone=zone)["ties"]
    assert ties["predicted"] == pytest.approx(ties["observed"], abs=0.02)


def test_pairs_come_in_either_order() -> None:
    pairs = compared_pairs(people(40), noise=NOISE, seed=0)
    assert abs(float(pairs.outcome.mean())) < 0.05
    assert np.corrcoef(pairs.difference, pairs.outcome)[0, 1] > 0.2


def test_nobody_to_compare_has_no_reliability() -> None:
    found = reliability([], noise=NOISE, perceived_noise=NOISE, tie_zone=0.1)
    assert (found["n_pairs"], found["calibration_error"], found["bins"]) == (0, None, [])
    assert [row["covered"] for row in found["intervals"]] == [None, None]
