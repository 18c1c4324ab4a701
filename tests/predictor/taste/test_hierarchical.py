from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from predictor.encoders.encoding import Images
from predictor.taste.evidence import Evidence, Rating
from predictor.taste.hierarchical import ImageFeatures, Taste, TasteConfig, fit_taste
from predictor.taste.kernel import fit_kernel
from predictor.taste.nystroem import Ridge, landmark_count, vectors
from predictor.taste.posterior import infer
from predictor.taste.training_answers import Ratings, two_way_means

IMAGE, TEXT = 6, 3


def seen(count: int, seed: int = 0) -> Images:
    """Images of which prompt and metadata are unknown."""
    image = np.random.default_rng(seed).normal(size=(count, IMAGE)).astype(np.float32)
    nothing = torch.full((count, TEXT), torch.nan)
    return Images(image=torch.from_numpy(image), prompt=nothing, metadata=nothing)


def with_prompts(images: Images, prompt: Tensor) -> Images:
    return Images(image=images.image, prompt=prompt, metadata=images.metadata)


def rated_by(users: int, images: Images, share: float, seed: int = 0) -> Ratings:
    """A common taste, tastes of their own, levels and noise: a random share of the images, but every image once."""
    rng = np.random.default_rng([seed, 1])
    x = images.image.double().numpy()
    turn = np.arange(users)[:, None] == np.arange(len(x)) % users
    user, image = np.nonzero((rng.random((users, len(x))) < share) | turn)
    own = rng.normal(size=(users, IMAGE)) * 0.06
    level = rng.normal(0, 0.08, users)
    liking = 0.5 + 0.1 * np.tanh(x[:, 0]) + (level[:, None] + own @ x.T)
    rating = liking[user, image] + rng.normal(0, 0.05, len(user))
    return Ratings(user=user, image=image, rating=rating)


def learnt(
    images: Images, ratings: Ratings, users: int, *, rank: int = 128, landmarks: int = 1024
) -> tuple[Taste, Tensor, Tensor]:
    taste, found = fit_taste(images, ratings, users=users, parts=(IMAGE,), seed=0, rank=rank, landmarks=landmarks)
    return taste, found.tastes, found.levels


def inferred(taste: Taste, features: ImageFeatures, rating: Tensor) -> tuple[Tensor, float]:
    """A new user's taste and level from ratings alone."""
    answers = tuple(Rating(image=row, rating=value) for row, value in enumerate(rating.double().tolist()))
    found = infer(taste, Evidence(answers=answers, ids=tuple(map(str, range(len(answers)))), features=features))
    return found.taste, found.level


@pytest.fixture(scope="module")
def images() -> Images:
    return seen(80)


@pytest.fixture(scope="module")
def ratings(images: Images) -> Ratings:
    return rated_by(12, images, 0.4)


@pytest.fixture(scope="module")
def model(images: Images, ratings: Ratings) -> tuple[Taste, Tensor, Tensor]:
    return learnt(images, ratings, 12)


def test_with_all_images_as_landmarks_the_generic_liking_is_exact_gaussian_process_regression(
    model: tuple[Taste, Tensor, Tensor], images: Images, ratings: Ratings
) -> None:
    liking, _ = two_way_means(ratings, ratings.image, 12)
    count = torch.from_numpy(np.bincount(ratings.image)).double()
    x, new = (vectors(each).nan_to_num(0.0) for each in (images, seen(25, seed=9)))
    kernel = fit_kernel(x, (IMAGE, TEXT, TEXT), torch.from_numpy(liking), count, seed=0)

    def covariance(a: Tensor, b: Tensor) -> Tensor:
        difference = (a[:, None] - b[None]) * kernel.scale
        return kernel.variance * torch.exp(-0.5 * difference.square().sum(2))

    noisy = covariance(x, x) + torch.diag(kernel.noise / count + kernel.nugget)
    expected = covariance(new, x) @ torch.linalg.solve(noisy, torch.from_numpy(liking))
    assert torch.allclose(model[0].features(seen(25, seed=9)).generic, expected, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 12), st.integers(1, 6), st.integers(0, 999))
def test_leave_one_out_residuals_are_those_of_fits_without_the_row(rows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    z, y = torch.from_numpy(rng.normal(size=(rows, columns))), torch.from_numpy(rng.normal(size=rows))
    error = torch.from_numpy(rng.uniform(0.1, 2, rows))
    whole = ridge(z, y, error, blocks=2)
    left_out = whole.left_out(z, y, error)
    for row in range(rows):
        kept = torch.arange(rows) != row
        refitted = ridge(z[kept], y[kept], error[kept]).weights
        assert float(y[row] - z[row] @ refitted) == pytest.approx(float(left_out[row]), abs=1e-9)
    groups = [torch.arange(first, min(first + 3, rows)) for first in range(0, rows, 3)]
    together = whole.left_out_together(z, y, error, groups)
    for group in groups:
        kept = torch.ones(rows, dtype=torch.bool).index_fill(0, group, False)
        without = ridge(z[kept], y[kept], error[kept]).weights
        assert torch.allclose(y[group] - z[group] @ without, together[group], atol=1e-8)


def ridge(z: Tensor, y: Tensor, error: Tensor, *, blocks: int = 1) -> Ridge:
    fitted = Ridge(z.shape[1])
    for rows in torch.arange(len(z)).tensor_split(blocks):
        fitted.add(z[rows], y[rows], error[rows])
    return fitted


def some_taste(rank: int, rng: np.random.Generator) -> Taste:
    taste = Taste(
        TasteConfig(dimensions=1, landmarks=1, rank=rank, noise=0.02, generic_error=0.01, level_variance=0.03)
    )
    root = torch.from_numpy(rng.normal(size=(rank, rank)))
    taste.covariance.copy_(root @ root.T + 0.1 * torch.eye(rank))
    return taste


def some_features(count: int, rank: int, rng: np.random.Generator) -> ImageFeatures:
    return ImageFeatures(
        generic=torch.from_numpy(rng.normal(0, 0.1, count)), values=torch.from_numpy(rng.normal(size=(count, rank)))
    )


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 20), st.integers(1, 8), st.integers(0, 9999))
def test_a_new_users_taste_is_inferred_by_the_textbook(k: int, rank: int, seed: int) -> None:
    """Henderson's mixed model equations: a flat prior of the level, the learnt prior of the taste."""
    rng = np.random.default_rng(seed)
    taste, features, rating = some_taste(rank, rng), some_features(k, rank, rng), torch.from_numpy(rng.random(k))
    residual = (rating - 0.5 - features.generic).numpy()
    design = np.column_stack([np.ones(k), features.values.numpy()])
    prior = np.zeros((1 + rank, 1 + rank))
    prior[1:, 1:] = 0.03 * np.linalg.inv(taste.covariance.numpy())  # noise and generic error together
    expected = np.linalg.solve(design.T @ design + prior, design.T @ residual)[1:]
    level = np.mean(residual - features.values.numpy() @ expected) * 0.03 / (0.03 + 0.03 / k)
    found, found_level = inferred(taste, features, rating)
    assert np.allclose(found.numpy(), expected, atol=1e-9)
    assert found_level == pytest.approx(level, abs=1e-9)


@pytest.mark.parametrize("k", [0, 1])
def test_no_rating_and_one_rating_say_nothing_of_a_taste(k: int) -> None:
    rng = np.random.default_rng(0)
    taste, features = some_taste(4, rng), some_features(k, 4, rng)
    found, level = inferred(taste, features, torch.ones(k))
    assert found.abs().max() < 1e-12
    assert (level == 0) == (k == 0)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 6), st.integers(0, 9999))
def test_more_ratings_are_shrunk_less(rank: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    taste, features = some_taste(rank, rng), some_features(40, rank, rng)
    own = 0.02 * torch.from_numpy(rng.normal(size=rank))
    rating = (0.5 + features.generic + features.values @ own).clamp(0, 1)
    towards = torch.linalg.solve(taste.covariance, own)
    reached = [float(towards @ inferred(taste, features[:k], rating[:k])[0]) for k in (0, 2, 5, 10, 40)]
    assert all(more >= fewer - 1e-9 for fewer, more in pairwise(reached))
    assert reached[-1] < float(towards @ own)


def test_tastes_are_found_that_ratings_were_drawn_from() -> None:
    images = seen(160, seed=2)
    train, test = images[:120], images[120:]
    users = 80
    taste, tastes, levels = learnt(train, rated_by(users, train, 0.35, seed=4), users)
    rng = np.random.default_rng([4, 1])
    rng.random((users, 120))
    own = rng.normal(size=(users, IMAGE)) * 0.06
    personal = own @ test.image.double().numpy().T  # (U, 40), beyond what everybody likes
    features = taste.features(test)
    found = (features.values @ tastes.T).T.numpy()
    by_user = [np.corrcoef(f, p)[0, 1] for f, p in zip(found, personal, strict=True)]
    assert np.mean(by_user) > 0.85
    true = personal + 0.1 * np.tanh(test.image[:, 0].double().numpy())
    with_taste, without = (
        np.mean([np.corrcoef(f, t)[0, 1] for f, t in zip(scores, true, strict=True)])
        for scores in (features.generic.numpy() + found, np.tile(features.generic.numpy(), (users, 1)))
    )
    assert with_taste > 0.85 > without + 0.2
    true_level = rng.normal(0, 0.08, users)
    assert np.corrcoef(levels.numpy(), true_level)[0, 1] > 0.9
    assert taste.config.noise == pytest.approx(0.05**2, rel=1.0)
    recovered = features.values @ taste.covariance @ features.values.T
    expected = torch.from_numpy(0.06**2 * (test.image.double() @ test.image.double().T).numpy())
    assert np.corrcoef(recovered.flatten().numpy(), expected.flatten().numpy())[0, 1] > 0.85


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 6), st.integers(4, 12), st.integers(0, 999))
def test_two_way_means_are_least_squares(users: int, images: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kept = (rng.random((users, images)) < 0.8) | (np.arange(images) == 0) | (np.arange(users) == 0)[:, None]
    user, image = np.nonzero(kept)  # somebody rated everything: all is connected
    rating = rng.random(len(user))
    liking, level = two_way_means(Ratings(user=user, image=image, rating=rating), image, users)
    design = np.zeros((len(user), users + images))
    design[np.arange(len(user)), user] = design[np.arange(len(user)), users + image] = 1
    fitted = design @ np.linalg.lstsq(design, rating)[0]
    assert np.allclose(level[user] + liking[image], fitted, atol=1e-4)
    assert liking[image].mean() == pytest.approx(0, abs=1e-12)


def personal(model: tuple[Taste, Tensor, Tensor]) -> NDArray[np.float64]:
    """Everybody's liking of images that nobody has rated, (U, 30)."""
    taste, tastes, levels = model
    features = taste.features(seen(30, seed=7))
    return (features.generic + tastes @ features.values.T + levels[:, None]).numpy()


def test_the_order_of_the_ratings_does_not_matter(
    model: tuple[Taste, Tensor, Tensor], images: Images, ratings: Ratings
) -> None:
    order = np.random.default_rng(0).permutation(len(ratings.user))
    turned = Ratings(user=ratings.user[order], image=ratings.image[order], rating=ratings.rating[order])
    assert np.allclose(personal(learnt(images, turned, 12)), personal(model), rtol=0, atol=1e-9)


def test_the_number_of_threads_does_not_matter_to_a_bit(
    model: tuple[Taste, Tensor, Tensor], images: Images, ratings: Ratings
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        again = learnt(images, ratings, 12)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
    state = model[0].state_dict()
    assert all(torch.equal(value, state[name]) for name, value in again[0].state_dict().items())
    assert torch.equal(again[1], model[1]) and torch.equal(again[2], model[2])


def test_people_and_images_without_a_rating_change_nothing(
    model: tuple[Taste, Tensor, Tensor], images: Images, ratings: Ratings
) -> None:
    unrated = Images(
        image=torch.cat([images.image, torch.full((5, IMAGE), 9.0)]),
        prompt=torch.full((85, TEXT), torch.nan),
        metadata=torch.full((85, TEXT), torch.nan),
    )
    more = learnt(unrated, ratings, 14)
    assert np.array_equal(personal((more[0], more[1][:12], more[2][:12])), personal(model))
    assert not more[1][12:].any() and not more[2][12:].any()


def test_prompts_that_are_missing_everywhere_are_as_if_there_were_only_one(
    model: tuple[Taste, Tensor, Tensor], images: Images, ratings: Ratings
) -> None:
    one = with_prompts(images, torch.full((80, TEXT), 0.25))
    constant = learnt(one, ratings, 12)
    new = seen(30, seed=7)
    assert torch.equal(
        constant[0].features(with_prompts(new, torch.full((30, TEXT), 0.25))).generic, model[0].features(new).generic
    )
    assert torch.equal(
        model[0].features(with_prompts(new, torch.ones(30, TEXT))).generic, model[0].features(new).generic
    )


def test_one_missing_prompt_is_taken_for_the_mean_of_the_known_ones(images: Images, ratings: Ratings) -> None:
    prompt = torch.from_numpy(np.random.default_rng(1).normal(size=(80, TEXT)).astype(np.float32))
    prompt[::7] = torch.nan
    taste = learnt(with_prompts(images, prompt), ratings, 12)[0]
    new, middle = seen(5, seed=3), taste.centre[IMAGE : IMAGE + TEXT].expand(5, -1).float()
    assert torch.allclose(middle, torch.nanmean(prompt, 0).expand(5, -1), atol=1e-6)
    missing, given_mean = taste.features(new), taste.features(with_prompts(new, middle))
    assert torch.allclose(missing.generic, given_mean.generic, atol=1e-6)
    assert torch.allclose(missing.values, given_mean.values, atol=1e-5)


def few_ratings(name: str) -> tuple[int, int, Ratings]:
    """Users, images and ratings of groups that hardly are any."""
    rng = np.random.default_rng(0)
    user, image = {
        "3 users, 5 images": (np.repeat(np.arange(3), 5), np.tile(np.arange(5), 3)),
        "one user": (np.zeros(30, int), np.arange(30)),
        "every image rated once": (np.arange(30) % 3, np.arange(30)),
        "one rating": (np.array([0]), np.array([0])),
        "all the same": (np.arange(30) % 3, np.arange(30) // 3),
    }[name]
    rating = np.full(len(user), 0.5) if name == "all the same" else rng.random(len(user))
    return int(user.max()) + 1, int(image.max()) + 1, Ratings(user=user, image=image, rating=rating)


@pytest.mark.parametrize(
    "name", ["3 users, 5 images", "one user", "every image rated once", "one rating", "all the same"]
)
def test_little_to_learn_from_gives_small_tastes_and_not_nonsense(name: str) -> None:
    users, count, ratings = few_ratings(name)
    taste, tastes, levels = learnt(seen(count), ratings, users)
    scores = taste.config.level + personal((taste, tastes, levels))
    assert np.isfinite(scores).all()
    assert -0.5 < scores.min() <= scores.max() < 1.5
    assert 0 < taste.config.noise < 0.3
    found, level = inferred(taste, taste.features(seen(3, seed=5)), torch.tensor([0.1, 0.5, 0.9]))
    assert found.isfinite().all() and np.isfinite(level)


def test_fewer_landmarks_than_images_come_close_to_the_exact_model() -> None:
    images = seen(300, seed=1)
    ratings = rated_by(20, images, 0.2)
    exact, fewer = (learnt(images, ratings, 20, landmarks=landmarks) for landmarks in (300, 150))
    assert fewer[0].config.landmarks == 150
    assert np.corrcoef(personal(exact).ravel(), personal(fewer).ravel())[0, 1] > 0.98
    new = seen(30, seed=7)
    assert (exact[0].features(new).generic - fewer[0].features(new).generic).abs().max() < 0.03


def test_features_of_images_one_by_one_are_those_of_all_together_to_nine_digits(
    model: tuple[Taste, Tensor, Tensor],
) -> None:
    new = seen(30, seed=7)
    together = model[0].features(new)
    for row in range(30):
        alone = model[0].features(new[row : row + 1])
        assert torch.allclose(alone.generic, together.generic[row], atol=1e-12)
        assert torch.allclose(alone.values, together.values[row], atol=1e-11)


def test_a_saved_model_has_the_same_features_and_infers_the_same(
    model: tuple[Taste, Tensor, Tensor], tmp_path: Path
) -> None:
    save_file(model[0].state_dict(), tmp_path / "taste.safetensors")
    loaded = Taste(model[0].config)
    loaded.load_state_dict(load_file(tmp_path / "taste.safetensors"))
    features = [taste.features(seen(5, seed=3)) for taste in (model[0], loaded)]
    assert torch.equal(features[0].generic, features[1].generic) and torch.equal(features[0].values, features[1].values)
    rating = torch.tensor([0.1, 0.9, 0.4, 0.3, 0.8])
    assert torch.equal(inferred(model[0], features[0], rating)[0], inferred(loaded, features[1], rating)[0])


def test_two_way_means_are_least_squares_where_everybody_rated_little() -> None:
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(30), 3)
    image = np.concatenate([rng.choice(100, 3, replace=False) for _ in range(30)])
    image = np.unique(image, return_inverse=True)[1]
    rating = rng.random(len(user))
    liking, level = two_way_means(Ratings(user=user, image=image, rating=rating), image, 30)
    design = np.zeros((len(user), 30 + len(liking)))
    design[np.arange(len(user)), user] = design[np.arange(len(user)), 30 + image] = 1
    fitted = design @ np.linalg.lstsq(design, rating)[0]
    assert np.allclose(level[user] + liking[image], fitted, atol=1e-4)


def test_the_noise_is_at_least_a_hundredth_of_the_scale() -> None:
    rating = np.linspace(0.1, 0.9, 6)
    ratings = Ratings(user=np.arange(6), image=np.zeros(6, int), rating=rating)
    assert learnt(seen(1), ratings, 6)[0].config.noise >= 1e-4


def test_many_images_are_learnt_from_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    images = seen(300, seed=1)
    ratings = rated_by(20, images, 0.2)
    whole = learnt(images, ratings, 20)
    monkeypatch.setattr("predictor.taste.nystroem.BLOCK", 150)  # half of the images have to do for the moments
    in_blocks = learnt(images, ratings, 20)
    assert in_blocks[0].config.landmarks == whole[0].config.landmarks == 300
    assert np.corrcoef(personal(whole).ravel(), personal(in_blocks).ravel())[0, 1] > 0.98
    new = seen(40, seed=7)
    at_once = whole[0].features(new)
    monkeypatch.setattr("predictor.taste.hierarchical._AT_ONCE", 7)
    assert torch.allclose(whole[0].features(new).values, at_once.values, atol=1e-11)


def test_landmarks_grow_with_the_square_root_of_the_images() -> None:
    assert [landmark_count(images) for images in (528, 65_536, 300_000, 1_200_000)] == [1024, 1024, 2190, 4381]


def test_where_a_datasets_ratings_lie_on_their_scale_says_nothing_of_tastes() -> None:
    images = seen(120, seed=3)
    one, other = rated_by(12, images[:70], 0.4, seed=1), rated_by(10, images[70:], 0.4, seed=2)
    user, image = np.concatenate([one.user, other.user + 12]), np.concatenate([one.image, other.image + 70])
    dataset = np.repeat([0, 1], [12, 10])

    def joint(offset: float) -> tuple[Taste, Tensor, Tensor]:
        rating = np.concatenate([one.rating, other.rating + offset])
        ratings = Ratings(user=user, image=image, rating=rating)
        taste, found = fit_taste(images, ratings, users=22, parts=(IMAGE,), seed=0, dataset=dataset)
        return taste, found.tastes, found.levels

    plain, shifted = joint(0.0), joint(0.3)
    new = seen(30, seed=7)
    assert torch.allclose(plain[0].features(new).generic, shifted[0].features(new).generic, atol=1e-6)
    assert torch.allclose(plain[1], shifted[1], atol=1e-5)
    assert plain[0].config.level_variance == pytest.approx(shifted[0].config.level_variance, abs=1e-9)
    moved = (shifted[2] + shifted[0].config.level) - (plain[2] + plain[0].config.level)
    assert torch.allclose(moved, 0.3 * torch.from_numpy(dataset).double(), atol=1e-6)


def test_the_generic_error_is_that_of_images_of_other_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    images = seen(150, seed=1)
    twins = Images(
        image=images.image.repeat(2, 1), prompt=images.prompt.repeat(2, 1), metadata=images.metadata.repeat(2, 1)
    )
    group, plain = np.tile(np.arange(150), 2), rated_by(20, twins, 0.3)
    liked = 0.15 * np.random.default_rng(3).normal(size=150)  # what their vectors do not tell of other pairs of twins
    ratings = replace(plain, rating=plain.rating + liked[group[plain.image]])

    def error(of: np.ndarray | None) -> float:
        taste, _ = fit_taste(twins, ratings, users=20, parts=(IMAGE,), seed=0, group=of)
        return taste.config.generic_error

    ungrouped, together = error(None), error(group)
    assert error(np.arange(300)) == pytest.approx(ungrouped, rel=1e-9)
    assert together > 1.2 * ungrouped  # its twin, which tells what to expect of an image, is left out with it
    monkeypatch.setattr("predictor.taste.nystroem.BLOCK", 300)
    assert error(group) == pytest.approx(together, rel=1e-9)
