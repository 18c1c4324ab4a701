from typing import Any

import numpy as np
import pytest

from predictor.evaluation.evaluator import EvaluationConfig, mean_of_draws


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "best"}, "unknown split 'best'; the splits are train, val_seen"),
        ({"context": -1}, "context must be at least 0, got -1"),
        ({"draws": 0}, "draws must be at least 1, got 0"),
    ],
)
def test_a_configuration_out_of_range_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EvaluationConfig(**settings)


@pytest.mark.parametrize(
    ("rule", "images", "message"),
    [
        ("twin", "unseen", "unknown rule for strangers 'twin'; known are default, paper, none"),
        ("paper", "all", "unknown kind of images 'all'; known are unseen, seen"),
    ],
)
def test_an_unknown_rule_or_kind_of_images_is_refused(rule: str, images: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EvaluationConfig.parse(rule=rule, images=images)


def test_a_configuration_is_parsed_with_the_rest_of_its_settings() -> None:
    config = EvaluationConfig.parse(rule="paper", images="seen", split="val_unseen", context=3)
    assert config == EvaluationConfig(rule="paper", images="seen", split="val_unseen", context=3)


def test_the_mean_of_draws_is_of_those_in_which_a_user_has_a_value() -> None:
    nan = np.nan
    draws = [{"srocc": np.array([0.2, nan, nan])}, {"srocc": np.array([0.6, 0.5, nan])}]
    means = mean_of_draws(draws)["srocc"]
    assert means[:2] == pytest.approx([0.4, 0.5])
    assert np.isnan(means[2])
