import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import color, filters, measure

from actors.renderers.darkroom.development import Development, _framed, develop
from actors.renderers.darkroom.photographs import PhotographLibrary
from actors.renderers.darkroom.vocabulary import GRADES, VOCABULARY, GradedTerm, Term, development_of, term_named

SIZE = 128
PHOTOGRAPHS = {photograph.caption: photograph for photograph in PhotographLibrary(None, SIZE).photographs}
TEMPLE = next(photograph for caption, photograph in PHOTOGRAPHS.items() if "temple" in caption)
FLOWER = next(photograph for caption, photograph in PHOTOGRAPHS.items() if "flower" in caption)

amounts = st.floats(-5, 5, allow_nan=False)
developments = st.builds(Development, **dict.fromkeys(Development.__dataclass_fields__, amounts))


def printed(development: Development, seed: int = 7, photograph=TEMPLE) -> Image.Image:
    return develop(photograph.image, development, SIZE, seed, photograph.focus)


def lab(image: Image.Image) -> np.ndarray:
    return color.rgb2lab(np.asarray(image))


def luminance(image: Image.Image) -> float:
    return float(lab(image)[..., 0].mean())


def contrast(image: Image.Image) -> float:
    return float(lab(image)[..., 0].std())


def saturation(image: Image.Image) -> float:
    return float(np.linalg.norm(lab(image)[..., 1:], axis=-1).mean())


def warmth(image: Image.Image) -> float:
    return float(lab(image)[..., 2].mean())


def sharpness(image: Image.Image) -> float:
    return -float(np.mean(measure.blur_effect(lab(image)[..., 0] / 100)))


def fine_detail(image: Image.Image) -> float:
    return float(np.abs(filters.laplace(lab(image)[..., 0])).mean())


def vignetting(image: Image.Image) -> float:
    lightness = lab(image)[..., 0]
    distance = np.hypot(*np.meshgrid(*[np.linspace(-1, 1, SIZE)] * 2))
    return float(lightness[distance < 0.5].mean() - lightness[distance > 1.1].mean())


@pytest.mark.parametrize(
    ("name", "attribute", "direction"),
    [
        ("overexposed", luminance, 1),
        ("underexposed", luminance, -1),
        ("high-key", luminance, 1),
        ("low-key", luminance, -1),
        ("moonlit", luminance, -1),
        ("high contrast", contrast, 1),
        ("low contrast", contrast, -1),
        ("matte", contrast, -1),
        ("foggy", contrast, -1),
        ("vibrant", saturation, 1),
        ("muted", saturation, -1),
        ("warm tones", warmth, 1),
        ("golden hour", warmth, 1),
        ("cool tones", warmth, -1),
        ("blue hour", warmth, -1),
        ("sharp focus", sharpness, 1),
        ("out of focus", sharpness, -1),
        ("shallow depth of field", sharpness, -1),
        ("film grain", fine_detail, 1),
        ("vignette", vignetting, 1),
        ("white vignette", vignetting, -1),
    ],
)
def test_a_term_does_what_it_says_the_more_the_stronger_it_is(name: str, attribute, direction: int) -> None:
    steps = [attribute(printed(grade * term_named(name).effect)) for grade in (0.0, *GRADES)]
    assert all(np.diff(steps) * direction > 0), steps


@pytest.mark.parametrize("photograph", [TEMPLE, FLOWER], ids=["temple", "flower"])
@pytest.mark.parametrize("term", VOCABULARY, ids=lambda term: term.name)
def test_every_term_is_visible_and_plain_more_than_slight(term: Term, photograph) -> None:
    def change(grade: float) -> float:
        after = printed(development_of([GradedTerm(term, grade)]), photograph=photograph)
        return float(np.abs(np.asarray(after, float) - neutral).mean())

    neutral = np.asarray(printed(Development(), photograph=photograph), float)
    assert change(1.0) > change(0.5) > 1
    assert change(1.0) > 3  # of 255, averaged over every pixel


def test_a_close_up_shows_less_and_a_wide_angle_more_of_the_scene() -> None:
    target = np.zeros((400, 400, 3), np.uint8)
    target[150:250, 150:250] = 255
    square = Image.fromarray(target)
    shares = [
        np.asarray(develop(square, Development(zoom=zoom), SIZE, 1)).mean() / 255 for zoom in (-0.4, -0.2, 0, 0.5, 1)
    ]
    assert all(np.diff(shares) > 0), shares


def test_seen_from_below_verticals_meet_at_the_top_and_from_above_at_the_bottom() -> None:
    target = np.zeros((400, 400, 3), np.uint8)
    target[:, 150:250] = 255
    column = Image.fromarray(target)
    for keystone in (0.5, -0.5):
        widths = np.asarray(develop(column, Development(keystone=keystone), SIZE, 1).convert("L")).mean(1)
        assert (widths[-10:].mean() - widths[:10].mean()) * keystone > 0


def test_a_monochrome_print_has_no_colour_even_with_a_warm_cast() -> None:
    assert saturation(printed(Development(saturation=-1, warmth=2))) < 0.5


def test_shallow_depth_of_field_keeps_the_subject_sharper_than_its_surroundings() -> None:
    plain, shallow = (np.asarray(printed(Development(depth_blur=amount)).convert("L"), float) for amount in (0, 1.5))
    lost = np.abs(plain - shallow)
    assert lost[48:80, 48:80].mean() < 0.5 * lost[:24].mean()


def test_the_seed_decides_grain_and_moves_the_frame_by_little() -> None:
    grainy = Development(grain=1)
    assert printed(grainy, seed=1) != printed(grainy, seed=2)
    one, other = (np.asarray(printed(Development(), seed), float) for seed in (1, 2))
    assert 0 < np.abs(one - other).mean() < 25


@settings(max_examples=40, deadline=None)
@given(developments, st.integers(0, 2**32), st.floats(0, 1), st.floats(0, 1))
def test_any_amounts_give_the_same_square_print_twice(development: Development, seed: int, x: float, y: float) -> None:
    one, other = (develop(TEMPLE.image, development, 48, seed, (x, y)) for _ in range(2))
    assert one.size == (48, 48)
    assert one.mode == "RGB"
    assert one == other


@given(developments)
def test_clipping_is_idempotent_and_bounds_every_amount(development: Development) -> None:
    assert development.clipped().clipped() == development.clipped()


@pytest.mark.parametrize("shape", [(90, 400), (400, 90), (20, 20)])
def test_photographs_of_any_shape_are_developed(shape: tuple[int, int]) -> None:
    wild = Development(zoom=1, roll_degrees=30, keystone=0.9, shift=0.3, depth_blur=2, band_blur=1, motion=1)
    assert develop(TEMPLE.image.resize(shape), wild, SIZE, 3).size == (SIZE, SIZE)


@given(developments, developments)
@settings(max_examples=15)
def test_a_print_does_not_depend_on_what_was_developed_before_it(one: Development, other: Development) -> None:
    _framed.cache_clear()
    alone = printed(one)
    printed(other)
    printed(Development())
    assert printed(one).tobytes() == alone.tobytes()
