from dataclasses import replace

import pytest
import torch

from predictor.transformer.model import TOKENS, Inputs, ModelConfig, PamelaModel

CONFIG = ModelConfig(image_dimensions=6, text_dimensions=5, profile_dimensions=4, users=3, width=8, heads=2)
OPTIONAL = [name for name in TOKENS if name != "image"]


def model_of(config: ModelConfig = CONFIG) -> PamelaModel:
    torch.manual_seed(0)
    return PamelaModel(config).double().eval()


@pytest.fixture(scope="module")
def model() -> PamelaModel:
    return model_of()


@pytest.fixture
def inputs() -> Inputs:
    generator = torch.Generator().manual_seed(1)
    sizes = {"image": 6, "prompt": 5, "metadata": 4, "demographics": 4, "user": 8}
    return Inputs(
        **{name: torch.randn(4, size, generator=generator, dtype=torch.float64) for name, size in sizes.items()}
    )


def changed(inputs: Inputs, name: str, value: float) -> Inputs:
    return replace(inputs, **{name: torch.full_like(getattr(inputs, name), value)})


def test_every_pair_gets_one_finite_score(model: PamelaModel, inputs: Inputs) -> None:
    scores = model(inputs)
    assert scores.shape == (4,)
    assert scores.isfinite().all()
    assert len(scores.unique()) == 4


@pytest.mark.parametrize("name", TOKENS)
def test_every_token_has_a_say(model: PamelaModel, inputs: Inputs, name: str) -> None:
    assert not torch.equal(model(inputs), model(changed(inputs, name, 2.0)))


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_row_of_nan_is_replaced_by_the_null_token(model: PamelaModel, inputs: Inputs, name: str) -> None:
    hidden = changed(inputs, name, torch.nan)
    before = model(hidden)
    assert before.isfinite().all()
    with torch.no_grad():
        moved = model_of()
        moved.null[TOKENS.index(name)] += 1
    assert not torch.equal(moved(hidden), before)
    assert torch.equal(moved(inputs), model(inputs))  # where nothing is missing, the null token is not looked at


@pytest.mark.parametrize("name", OPTIONAL)
def test_where_what_is_missing_is_zero_there_is_no_null_token(inputs: Inputs, name: str) -> None:
    zeroed = model_of(replace(CONFIG, zeroed=True))
    assert torch.equal(zeroed(changed(inputs, name, torch.nan)), zeroed(changed(inputs, name, 0.0)))
    assert torch.equal(zeroed(inputs), model_of()(inputs))


def test_each_row_is_missing_or_known_on_its_own(model: PamelaModel, inputs: Inputs) -> None:
    user = inputs.user.clone()
    user[1] = torch.nan
    mixed = model(replace(inputs, user=user))
    assert torch.allclose(mixed[[0, 2, 3]], model(inputs)[[0, 2, 3]])
    assert torch.allclose(mixed[1], model(changed(inputs, "user", torch.nan))[1])


def test_one_unknown_number_makes_the_whole_vector_unknown(model: PamelaModel, inputs: Inputs) -> None:
    prompt = inputs.prompt.clone()
    prompt[:, 2] = torch.nan
    assert torch.equal(model(replace(inputs, prompt=prompt)), model(changed(inputs, "prompt", torch.nan)))


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_token_that_is_left_out_has_no_effect(inputs: Inputs, name: str) -> None:
    ablated = model_of(replace(CONFIG, without=(name,)))
    assert torch.equal(ablated(inputs), ablated(changed(inputs, name, 7.0)))
    assert torch.equal(ablated(inputs), ablated(changed(inputs, name, torch.nan)))


def test_missing_tokens_give_no_nan_gradients(inputs: Inputs) -> None:
    model = model_of()
    for name in OPTIONAL:
        inputs = changed(inputs, name, torch.nan)
    model(inputs).sum().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_image_features_are_standardised_by_the_models_own_mean_and_scale(inputs: Inputs) -> None:
    model = model_of()
    model.image_mean.fill_(3)
    model.image_scale.fill_(2)
    assert torch.allclose(model(replace(inputs, image=inputs.image * 2 + 3)), model_of()(inputs))


def test_a_batch_of_none_gives_no_scores(model: PamelaModel, inputs: Inputs) -> None:
    empty = Inputs(**{name: getattr(inputs, name)[:0] for name in TOKENS})
    assert model(empty).shape == (0,)
