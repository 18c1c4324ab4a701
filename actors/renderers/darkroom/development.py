"""How a photograph is developed: the controls of the darkroom, and the one order in which they act.

Invariant: the same image, development, focus, size and seed give the same pixels, and a control at zero costs
nothing and changes nothing. What words turn which control is the vocabulary's business.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter
from skimage import exposure

from predictor.simulation.cielab import cielab, srgb

Plane = NDArray[np.floating]
"""float32 throughout: twice as fast, and finer than any print."""

NEUTRAL_CROP = 0.72
"""Part of the largest square that a development without zoom shows, so that there is room to step back."""
JITTER = 0.01
"""Most that the seed moves the frame in any direction, as a part of its side."""
DESIGN_SIZE = 256
"""Pixels for which blur radii are given; other sizes scale them."""


def _control(low: float, high: float) -> float:
    return field(default=0.0, metadata={"range": (low, high)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Development:
    """Amounts of every control; 0 is neutral, and about 1 is what one plain word asks for.

    Example:

        Development(warmth=1, exposure_ev=0.3) + 0.5 * Development(grain=1)
    """

    zoom: float = _control(-0.47, 1.2)
    """Octaves; above 0 closer, below 0 wider, until the photograph ends."""
    shift: float = _control(-0.4, 0.4)
    """Frame to the right of the subject, as a part of the frame's side."""
    roll_degrees: float = _control(-35, 35)
    keystone: float = _control(-1.0, 1.0)
    """Above 0 verticals meet at the top (seen from below), below 0 at the bottom (seen from above)."""
    depth_blur: float = _control(0, 2.5)
    """Blur away from the subject."""
    band_blur: float = _control(0, 2.5)
    """Blur above and below a horizontal band, as a tilted lens gives."""
    bokeh: float = _control(0, 2.0)
    """Lights in the blur grow into discs."""
    sharpness: float = _control(-3.0, 3.0)
    motion: float = _control(0, 3.0)
    """Horizontal blur, least at the subject."""
    exposure_ev: float = _control(-2.0, 2.0)
    shadows: float = _control(-1.6, 1.6)
    """Above 0 shadows open, below 0 they close."""
    backlight: float = _control(0, 2.0)
    sidelight: float = _control(-1.5, 1.5)
    """Above 0 light falls from the left, below 0 from the right."""
    warmth: float = _control(-2.5, 2.5)
    tint: float = _control(-2.0, 2.0)
    """Above 0 magenta, below 0 green."""
    saturation: float = _control(-1.0, 1.8)
    """Chroma is multiplied by 1 + saturation."""
    toning: float = _control(-2.0, 2.0)
    """A dye over the finished colours: above 0 sepia, below 0 cyan."""
    split_tone: float = _control(0, 2.0)
    """Shadows towards teal, lights towards orange."""
    clarity: float = _control(0, 1.6)
    """Local contrast."""
    contrast: float = _control(-1.5, 2.0)
    matte: float = _control(0, 2.0)
    """Blacks lifted, whites held back."""
    fog: float = _control(0, 2.0)
    bloom: float = _control(0, 2.0)
    grain: float = _control(0, 3.0)
    vignette: float = _control(-2.0, 2.0)
    """Above 0 dark corners, below 0 white ones."""

    def __add__(self, other: "Development") -> "Development":
        return self._map(lambda name: getattr(self, name) + getattr(other, name))

    def __rmul__(self, factor: float) -> "Development":
        return self._map(lambda name: factor * getattr(self, name))

    def clipped(self) -> "Development":
        """Hold every amount within what its control can do and still look like a photograph."""
        return self._map(lambda name: min(max(getattr(self, name), _RANGES[name][0]), _RANGES[name][1]))

    def asks_for(self, *names: str) -> bool:
        """Tell whether any of these controls is off neutral."""
        return any(getattr(self, name) for name in names)

    def _map(self, amount: Callable[[str], float]) -> "Development":
        return Development(**{name: amount(name) for name in _RANGES})


_RANGES: dict[str, tuple[float, float]] = {control.name: control.metadata["range"] for control in fields(Development)}
_TONES = ("exposure_ev", "shadows", "backlight", "sidelight", "clarity", "contrast", "matte")
_COLOURS = ("warmth", "tint", "saturation", "toning", "split_tone")
_FINISH = ("fog", "bloom", "grain", "vignette")


def develop(
    image: Image.Image,
    development: Development,
    size: int,
    seed: int,
    focus: tuple[float, float] = (0.5, 0.5),
) -> Image.Image:
    """Develop an RGB photograph into a square print, as a photographer would go about it.

    Parameters
    ----------
    image : PIL.Image.Image
        RGB, of any shape.
    development : Development
        Amounts beyond a control's range are clipped to it.
    size : int
        Side of the print in pixels.
    seed : int
        Decides the grain, and moves the frame by at most `JITTER`.
    focus : tuple of float
        Where the subject is, as parts of width and height.
    """
    controls = development.clipped()
    chance = np.random.default_rng(seed)
    frame, subject = _frame(image, controls, size, focus, chance.uniform(-JITTER, JITTER, 2))
    print_ = _lens(frame.image, controls, subject)
    if not controls.asks_for(*_TONES, *_COLOURS, *_FINISH):
        return print_.copy()
    lab = frame.lab if print_ is frame.image else cielab(np.asarray(print_))  # (H, W, 3)
    lightness = _light(lab[..., 0] / 100, controls, subject)
    a, b = _colour(lightness, lab[..., 1], lab[..., 2], controls)
    lightness = _contrast(lightness, controls)
    return _to_image(*_finish(lightness, a, b, controls, chance))


@dataclass(frozen=True)
class _Frame:
    """What of a photograph a print shows."""

    image: Image.Image

    @cached_property
    def lab(self) -> Plane:
        """Its CIELAB, of which most developments begin; (H, W, 3)."""
        return cielab(np.asarray(self.image))


class _Photograph:
    """The same as itself alone: images are compared pixel by pixel."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Photograph) and self.image is other.image

    def __hash__(self) -> int:
        return id(self.image)


def _frame(
    image: Image.Image, controls: Development, size: int, focus: tuple[float, float], jitter: NDArray[np.float64]
) -> tuple[_Frame, tuple[float, float]]:
    """Crop, roll and tilt; returns the frame and where the subject lies in it, from its centre in sides."""
    roll = np.deg2rad(controls.roll_degrees)
    margin = float((np.cos(roll) + abs(np.sin(roll))) / (1 - abs(controls.keystone) / 2))
    limit = min(image.size)
    reach = min(limit * NEUTRAL_CROP * 2**-controls.zoom * margin, limit)  # side of the square that is read
    side = reach / margin
    wanted = np.array(focus) * image.size
    centre = wanted + (jitter + np.array([controls.shift, 0])) * side
    centre = np.clip(centre, reach / 2, np.array(image.size) - reach / 2)
    left, top, right, bottom = map(float, (*(centre - reach / 2), *(centre + reach / 2)))
    x, y = (wanted - centre) / side
    frame = _framed(
        _Photograph(image),
        (left, top, right, bottom),
        size=size,
        pixels=round(size * margin),
        roll=float(roll),
        keystone=controls.keystone,
    )
    return frame, (float(x), float(y))


@lru_cache(maxsize=16)
def _framed(
    photograph: _Photograph,
    box: tuple[float, float, float, float],
    *,
    size: int,
    pixels: int,
    roll: float,
    keystone: float,
) -> _Frame:
    """A box of a photograph at the size of the print.

    Kept for the latest frames: most candidates of a prompt differ in light and colour alone.
    """
    patch = photograph.image.resize((pixels, pixels), Image.Resampling.LANCZOS, box=box)
    if pixels != size or roll or keystone:
        patch = patch.transform(
            (size, size),
            Image.Transform.PERSPECTIVE,
            _perspective(size, pixels, roll, keystone),
            Image.Resampling.BICUBIC,
        )
    return _Frame(patch)


def _perspective(size: int, pixels: int, roll: float, keystone: float) -> tuple[float, ...]:
    """Pillow's eight coefficients: from a pixel of the frame to the pixel of the patch that it shows."""
    to_centre = np.array([[1 / size, 0, -0.5], [0, 1 / size, -0.5], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, 1, 0], [0, keystone, 1]])
    turn = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    to_patch = np.array([[size, 0, pixels / 2], [0, size, pixels / 2], [0, 0, 1]])
    matrix = to_patch @ turn @ tilt @ to_centre
    return tuple((matrix / matrix[2, 2]).ravel()[:8])


def _lens(image: Image.Image, controls: Development, subject: tuple[float, float]) -> Image.Image:
    scale = image.width / DESIGN_SIZE
    if controls.asks_for("depth_blur", "band_blur"):
        away = np.zeros((image.width, image.width), np.float32)
        if controls.depth_blur:
            away = _ramp(_distance(image.width, subject), 0.18, 0.5)
        if controls.band_blur:
            rows = np.abs(_axis(image.width) - subject[1])[:, None]
            away = np.maximum(away, _ramp(rows, 0.12, 0.34))
        radius = scale * (1 + 3.5 * max(controls.depth_blur, controls.band_blur))
        image = Image.composite(_blurred(image, radius, controls.bokeh), image, _mask(away))
    if controls.motion:
        away = _ramp(_distance(image.width, subject), 0.0, 0.5)
        smeared = image.filter(ImageFilter.BoxBlur((9 * scale * controls.motion, 0)))
        image = Image.composite(smeared, image, _mask(0.45 + 0.55 * away))
    if controls.sharpness > 0:
        # An unsharp mask, at a third of the cost of Pillow's own.
        image = Image.blend(image.filter(ImageFilter.BoxBlur(1.2 * scale)), image, 1 + 1.8 * controls.sharpness)
    elif controls.sharpness < 0:
        image = image.filter(ImageFilter.GaussianBlur(-1.6 * scale * controls.sharpness))
    return image


def _blurred(image: Image.Image, radius: float, bokeh: float) -> Image.Image:
    """Blur at half size, where nothing that the blur leaves is lost and every filter costs a quarter."""
    small = image.reduce(2)
    if bokeh:
        small = Image.blend(small, _discs(small, max(1, round(radius / 2))), min(0.65 * bokeh, 1.0))
    return small.filter(ImageFilter.GaussianBlur(radius / 2)).resize(image.size, Image.Resampling.BILINEAR)


def _discs(image: Image.Image, radius: int) -> Image.Image:
    """Grow every light into a disc (Pillow's MaxFilter grows squares, at forty times the cost)."""
    grown = image
    for angle in np.arange(0, 2 * np.pi, np.pi / 6):
        x, y = round(radius * np.cos(angle)), round(radius * np.sin(angle))
        grown = ImageChops.lighter(grown, ImageChops.offset(image, x, y))
    return grown


def _light(lightness: Plane, controls: Development, subject: tuple[float, float]) -> Plane:
    size = len(lightness)
    if controls.exposure_ev:
        # A gamma on L* moves the middle and clips no lights; but less light also makes white grey.
        white = 2 ** min(0.4 * controls.exposure_ev, 0)
        lightness = white * np.clip(lightness, 0, 1) ** 2 ** (-0.8 * controls.exposure_ev)
    if controls.sidelight:
        lightness = lightness * np.clip(1 - 1.3 * controls.sidelight * _axis(size), 0.12, 1.8)
    if controls.backlight:
        silhouette = 1 - _ramp(_distance(size, subject), 0.1, 0.75)
        halo = _ramp(_distance(size, (subject[0], subject[1] - 0.35)), 0.0, 0.8)
        lightness = lightness * (1 - 0.45 * controls.backlight * silhouette * (1 - lightness))
        spill = min(0.7 * controls.backlight, 1.0) * (1 - halo) * (1 - silhouette)
        lightness = lightness + spill * (1 - lightness)
    if controls.shadows:
        lightness = lightness + 0.6 * controls.shadows * lightness * (1 - lightness) ** 2
    return lightness


def _colour(lightness: Plane, a: Plane, b: Plane, controls: Development) -> tuple[Plane, Plane]:
    """Cast, then saturation, then dye: a monochrome print has no cast, but it can be toned."""
    if not controls.asks_for(*_COLOURS):
        return a, b
    body = 0.3 + 2.8 * lightness * np.clip(1 - lightness, 0.12, 1)  # deep black and paper white take little colour
    a = a + (4 * controls.warmth + 12 * controls.tint) * body
    b = b + 17 * controls.warmth * body
    a, b = a * (1 + controls.saturation), b * (1 + controls.saturation)
    if controls.split_tone:
        a = a + 26 * controls.split_tone * (lightness - 0.5) * body
        b = b + 46 * controls.split_tone * (lightness - 0.47) * body
    if controls.toning:
        a = a + 5 * controls.toning * body
        b = b + 20 * controls.toning * body
    return a, b


def _contrast(lightness: Plane, controls: Development) -> Plane:
    if controls.clarity:
        local = _spread(lightness, 0.06)
        lightness = local + (lightness - local) * (1 + 0.75 * controls.clarity)
        lightness = lightness + 0.35 * controls.clarity * (0.5 - local)  # and less contrast between the regions
    if controls.contrast:
        middle = float(np.clip(np.median(lightness), 0.25, 0.7))
        if controls.contrast > 0:
            curve = exposure.adjust_sigmoid(np.clip(lightness, 0, 1), cutoff=middle, gain=8)
            lightness = lightness + min(0.5 * controls.contrast, 1.0) * (curve - lightness)
        else:
            lightness = middle + (lightness - middle) * (1 + 0.5 * controls.contrast)
    if controls.matte:
        lightness = 0.13 * controls.matte + lightness * (1 - 0.2 * controls.matte)
    return lightness


def _finish(
    lightness: Plane, a: Plane, b: Plane, controls: Development, chance: np.random.Generator
) -> tuple[Plane, Plane, Plane]:
    size = len(lightness)
    if controls.fog:
        depth = 0.85 - 0.35 * _axis(size)[:, None]  # thicker towards the horizon than at one's feet
        air = np.exp(-0.9 * controls.fog * depth)
        lightness, a, b = 0.84 - air * (0.84 - lightness), air * a, air * b
    if controls.bloom:
        glow = _spread(np.clip(lightness, 0, 1) ** 2, 0.047) * min(0.5 * controls.bloom, 1.0)
        lightness = 1 - (1 - lightness) * (1 - glow)
    if controls.grain:
        noise = chance.standard_normal(lightness.shape, np.float32)
        lightness = lightness + 0.07 * controls.grain * noise * (0.35 + 2.6 * lightness * (1 - lightness))
    if controls.vignette:
        edge = 0.0 if controls.vignette > 0 else 1.0
        kept = 1 - min(0.62 * abs(controls.vignette), 0.97) * _corners(size)
        lightness, a, b = edge - kept * (edge - lightness), kept * a, kept * b
    return lightness, a, b


def _to_image(lightness: Plane, a: Plane, b: Plane) -> Image.Image:
    lightness = np.clip(lightness, 0, 1)
    ceiling = 172 * lightness + 27  # more b* than this has no XYZ
    return Image.fromarray(srgb(100 * lightness, a, np.minimum(b, ceiling)))


def _spread(values: Plane, radius: float) -> Plane:
    """Blur by a radius in sides, at a quarter of the size."""
    small = Image.fromarray((255 * np.clip(values, 0, 1)).astype(np.uint8)).reduce(4)
    blurred = small.filter(ImageFilter.GaussianBlur(radius * len(values) / 4))
    return np.asarray(blurred.resize(values.shape[::-1], Image.Resampling.BICUBIC), np.float32) / 255


def _axis(size: int) -> Plane:
    """Pixel positions from the frame's centre, in sides; shape (size,)."""
    return (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5


def _distance(size: int, point: tuple[float, float]) -> Plane:
    axis = _axis(size)
    return np.hypot(axis - np.float32(point[0]), (axis - np.float32(point[1]))[:, None])


@lru_cache(maxsize=4)
def _corners(size: int) -> Plane:
    return _ramp(_distance(size, (0, 0)), 0.22, 0.68)


def _ramp(values: Plane, low: float, high: float) -> Plane:
    """Smooth step from 0 at `low` to 1 at `high`."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _mask(values: Plane) -> Image.Image:
    size = values.shape[0]
    return Image.fromarray(np.broadcast_to(255 * values, (size, size)).astype(np.uint8))
