"""Augmentation: images that are a little different each time, so that a network learns what of them does not matter.

All layers here do nothing outside training. What happens to a sample follows from ``rng`` and the sample's place in the batch, as
with Dropout. Factors are Keras's: one number f stands for the range from −f to f, a pair for the range between its two numbers.
Images are (height, width, channels), of any channels.
"""

import math
from typing import Unpack

import numpy as np

from ..checks import check_choice, check_number, check_range, is_number
from ..contracts import Array, DType, Gradients, Pair, Shape
from ..ops.floats import floating
from ..ops.random import RandomKey
from .base import Layer, LayerSettings
from .images import check_batch, check_images

Factor = float | tuple[float, float]

FILL_MODES = ("reflect", "wrap", "constant", "nearest")
INTERPOLATIONS = ("nearest", "bilinear")


class Augmentation(Layer):
    """What all of them share: images of any size go through, and in training each is changed in a random way."""

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: DType) -> Shape:
        check_images(self, input_shape, (1, 1), "same")
        return input_shape

    def _drawn(self, rng: RandomKey | None, samples: int, count: int) -> Array:
        """Random numbers between 0 and 1, (samples, count)."""
        if rng is None:
            raise ValueError(
                f"{self}: in training, forward needs rng=RandomKey(key, first_sample) to draw its numbers."
            )
        drawn: Array = self.ops.uniform(rng, samples, count)
        return drawn


class Warp(Augmentation):
    """An image that is read at other places than its pixels': what the layers share that move, turn, bend or resize.

    Forward:  y[n, i, j] = x[n] at (row, column) = places[n, :, i, j], a weighted mean of the four pixels around it.
    Backward: dx: every dy goes back to those pixels, with the same weights.

    Arguments: fill_mode: what is seen outside the image: "reflect", its mirror image, "wrap", the image once more, "nearest", its
    outermost pixels, "constant", fill_value. interpolation: "bilinear", or "nearest", the nearest pixel alone.

    Input shape: (H, W, C). Output shape: the same.
    """

    def __init__(self, fill_mode: str, interpolation: str, fill_value: float, **common: Unpack[LayerSettings]) -> None:
        super().__init__(**common)
        self.fill_mode = check_choice(fill_mode, FILL_MODES, f"{self} fill_mode")
        self.interpolation = check_choice(interpolation, INTERPOLATIONS, f"{self} interpolation")
        self.fill_value = check_number(fill_value, f"{self} fill_value")

    def places(self, samples: int, size: Pair, rng: RandomKey | None) -> Array:
        """Where each pixel of each image is read, (samples, 2, H, W)."""
        raise NotImplementedError

    def _affine(self, matrix: Array, offset: Array, size: Pair) -> Array:
        places: Array = self.ops.affine_places(matrix, offset, size)
        return places

    def forward(self, x: Array, *, training: bool = False, rng: RandomKey | None = None) -> tuple[Array, Array | None]:
        check_batch(self, x)
        if not training:
            return floating(x).copy(), None
        samples, height, width, _ = x.shape
        places = self.places(samples, (height, width), rng)
        return self.ops.resample_forward(x, places, self.interpolation, self.fill_mode, self.fill_value), places

    def backward(self, dy: Array, cache: Array | None) -> tuple[Array, Gradients]:
        if cache is None:
            return floating(dy).copy(), {}
        return self.ops.resample_backward(dy, cache, self.interpolation, self.fill_mode), {}


class RandomTranslation(Warp):
    """Move each image by a random share of its height and of its width.

    places = (i − height_factor · H, j − width_factor · W): a positive factor moves the image down, or to the right.

    Arguments: height_factor, width_factor: within ±1. The others: see Warp.
    """

    def __init__(
        self,
        height_factor: Factor,
        width_factor: Factor,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        *,
        fill_value: float = 0.0,
        **common: Unpack[LayerSettings],
    ) -> None:
        super().__init__(fill_mode, interpolation, fill_value, **common)
        self.height_factor = check_range(height_factor, f"{self} height_factor", -1, 1)
        self.width_factor = check_range(width_factor, f"{self} width_factor", -1, 1)

    def places(self, samples: int, size: Pair, rng: RandomKey | None) -> Array:
        drawn = self._drawn(rng, samples, 2)
        offset = -_between(drawn, self.height_factor, self.width_factor) * size
        return self._affine(np.tile(np.eye(2), (samples, 1, 1)), offset, size)


class RandomRotation(Warp):
    """Turn each image about its centre by a random share of a full circle.

    places = R · ((i, j) − centre) + centre, R = ((cos, sin), (−sin, cos)) of 2π · factor: a positive factor turns the image
    counter-clockwise.

    Arguments: factor: within ±1. The others: see Warp.
    """

    def __init__(
        self,
        factor: Factor,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        *,
        fill_value: float = 0.0,
        **common: Unpack[LayerSettings],
    ) -> None:
        super().__init__(fill_mode, interpolation, fill_value, **common)
        self.factor = check_range(factor, f"{self} factor", -1, 1)

    def places(self, samples: int, size: Pair, rng: RandomKey | None) -> Array:
        (turn,) = _between(self._drawn(rng, samples, 1), self.factor).T
        return self._affine(_rotation(turn), np.zeros((samples, 2)), size)


class RandomZoom(Warp):
    """Make each image smaller or larger by a random share of its size.

    places = ((1 + height_factor) · (i − centre) + centre, likewise of j): a positive factor makes the image smaller.

    Arguments: height_factor, width_factor: above −1 and at most 1; without width_factor, both are one number, and the image keeps
    its proportions. The others: see Warp.
    """

    def __init__(
        self,
        height_factor: Factor,
        width_factor: Factor | None = None,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        *,
        fill_value: float = 0.0,
        **common: Unpack[LayerSettings],
    ) -> None:
        super().__init__(fill_mode, interpolation, fill_value, **common)
        self.height_factor = _check_zoom(height_factor, f"{self} height_factor")
        self.width_factor = None if width_factor is None else _check_zoom(width_factor, f"{self} width_factor")

    def places(self, samples: int, size: Pair, rng: RandomKey | None) -> Array:
        drawn = self._drawn(rng, samples, 2)
        if self.width_factor is None:
            drawn = drawn[:, [0, 0]]
        zoom = 1 + _between(drawn, self.height_factor, self.width_factor or self.height_factor)
        return self._affine(_diagonal(zoom), np.zeros((samples, 2)), size)


class RandomShear(Warp):
    """Slant each image: move each row sideways, or each column up or down, the more the further it is from the first one.

    places = (i + y_factor · j, j + x_factor · i), from the corner (0, 0); in half of the images both factors change their signs.

    Arguments: x_factor, y_factor: within ±1. The others: see Warp.
    """

    def __init__(
        self,
        x_factor: Factor = 0.0,
        y_factor: Factor = 0.0,
        interpolation: str = "bilinear",
        fill_mode: str = "reflect",
        fill_value: float = 0.0,
        **common: Unpack[LayerSettings],
    ) -> None:
        super().__init__(fill_mode, interpolation, fill_value, **common)
        self.x_factor = check_range(x_factor, f"{self} x_factor", -1, 1)
        self.y_factor = check_range(y_factor, f"{self} y_factor", -1, 1)

    def places(self, samples: int, size: Pair, rng: RandomKey | None) -> Array:
        drawn = self._drawn(rng, samples, 3)
        sign = np.where(drawn[:, :1] > 0.5, -1, 1)
        down, right = (sign * _between(drawn[:, 1:], self.y_factor, self.x_factor)).T
        centre = (np.array(size) - 1) / 2
        offset = np.stack([down * centre[1], right * centre[0]], axis=-1)  # the corner stays, not the centre
        return self._affine(_slant(down, right), offset, size)


class RandomAffine(Warp):
    """Turn, slant, resize and move each image at once, so that its pixels are interpolated only once.

    places = zoom · shear · rotation · ((i, j) − centre) + centre − translation · (H, W), with matrices as in the layers of these
    names. Keras has no such layer.

    Arguments: rotation: a share of a full circle, as in RandomRotation. translation: of the height, and independently of the
    width, as in RandomTranslation. zoom: of both, independently, as in RandomZoom. shear: how far a row moves sideways for each
    row that it is from the centre. The others: see Warp.
    """

    def __init__(
        self,
        rotation: Factor = 0.0,
        translation: Factor = 0.0,
        zoom: Factor = 0.0,
        shear: Factor = 0.0,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        fill_value: float = 0.0,
        **common: Unpack[LayerSettings],
    ) -> None:
        super().__init__(fill_mode, interpolation, fill_value, **common)
        self.rotation = check_range(rotation, f"{self} rotation", -1, 1)
        self.translation = check_range(translation, f"{self} translation", -1, 1)
        self.zoom = _check_zoom(zoom, f"{self} zoom")
        self.shear = check_range(shear, f"{self} shear", -1, 1)

    def places(self, samples: int, size: Pair, rng: RandomKey | None) -> Array:
        drawn = self._drawn(rng, samples, 6)
        turn, right = _between(drawn[:, :2], self.rotation, self.shear).T
        zoom = 1 + _between(drawn[:, 2:4], self.zoom, self.zoom)
        matrix = _diagonal(zoom) @ _slant(np.zeros(samples), right) @ _rotation(turn)
        offset = -_between(drawn[:, 4:], self.translation, self.translation) * size
        return self._affine(matrix, offset, size)


class RandomElasticTransform(Warp):
    """Bend each image as if it were drawn on rubber (Simard, Steinkraus and Platt 2003).

    Each pixel is read at its own place moved by smooth random numbers, whose size and smoothness follow from the strength of the
    distortion: see ops.reference.elastic_places.

    Arguments: factor: the probability that an image is bent; the number is drawn from this range, where one number f stands for
    (0, f), as in Keras. scale: the strength, between 0 and 1, likewise drawn for each image. The others: see Warp.
    """

    def __init__(
        self,
        factor: Factor = 1.0,
        scale: Factor = 1.0,
        interpolation: str = "bilinear",
        fill_mode: str = "reflect",
        fill_value: float = 0.0,
        **common: Unpack[LayerSettings],
    ) -> None:
        super().__init__(fill_mode, interpolation, fill_value, **common)
        self.factor = check_range(factor, f"{self} factor", 0, 1, from_zero=True)
        self.scale = check_range(scale, f"{self} scale", 0, 1, from_zero=True)

    def places(self, samples: int, size: Pair, rng: RandomKey | None) -> Array:
        drawn = self._drawn(rng, samples, 3 + 2 * math.prod(size))
        probability, strength = _between(drawn[:, :2], self.factor, self.scale).T
        strength = np.where(drawn[:, 2] < probability, strength, 0)
        noise = (drawn[:, 3:] - 0.5) * math.sqrt(
            12
        )  # of variance 1; what is left of it after the blur is nearly normal
        places: Array = self.ops.elastic_places(noise.reshape(samples, 2, *size), strength)
        return places


class RandomErasing(Augmentation):
    """Replace a random rectangle of each image, so that the network does not rely on one part of it (Zhong et al. 2020).

    Forward:  y = fill inside the rectangle, x elsewhere. Backward: dx = 0 inside, dy elsewhere.

    Arguments: factor: the probability that an image is changed; the number is drawn from this range, where one number f stands
    for (0, f), as in Keras. scale: the height and the width of the rectangle are those of the image times the square root of a
    number from this range, each drawn on its own. fill_value: a number; None: a normal random number for each entry, times
    value_range[1]. value_range: (lowest, highest) of the images; the fill is clipped to it.

    Input shape: (H, W, C). Output shape: the same.
    """

    def __init__(
        self,
        factor: Factor = 1.0,
        scale: Factor = (0.02, 0.33),
        fill_value: float | None = None,
        value_range: tuple[float, float] = (0, 255),
        **common: Unpack[LayerSettings],
    ) -> None:
        super().__init__(**common)
        self.factor = check_range(factor, f"{self} factor", 0, 1, from_zero=True)
        self.scale = check_range(scale, f"{self} scale", 0, 1, from_zero=True)
        self.fill_value = None if fill_value is None else check_number(fill_value, f"{self} fill_value")
        ends = value_range if isinstance(value_range, tuple | list) else ()
        if len(ends) != 2 or not all(is_number(end) and math.isfinite(end) for end in ends):
            raise ValueError(
                f"{self} value_range must be two finite numbers, (lowest, highest), received {value_range!r}."
            )
        self.value_range = (float(min(ends)), float(max(ends)))

    def forward(self, x: Array, *, training: bool = False, rng: RandomKey | None = None) -> tuple[Array, Array | None]:
        check_batch(self, x)
        x = floating(x)
        if not training:
            return x.copy(), None
        erased = self._erased(len(x), x.shape[1:3], rng)
        if self.fill_value is None:
            assert rng is not None  # _erased has drawn from it
            fill = self.ops.gaussian_noise(np.zeros(x.shape, x.dtype), self.value_range[1], rng.layer(1))
        else:
            fill = np.full((), self.fill_value, x.dtype)
        return np.where(erased, fill.clip(*map(x.dtype.type, self.value_range)), x), erased

    def backward(self, dy: Array, cache: Array | None) -> tuple[Array, Gradients]:
        dy = floating(dy)
        return dy.copy() if cache is None else np.where(cache, dy.dtype.type(0), dy), {}

    def _erased(self, samples: int, size: tuple[int, ...], rng: RandomKey | None) -> Array:
        """Which pixels are replaced, bool (samples, H, W, 1)."""
        drawn = self._drawn(rng, samples, 6)
        lengths = np.sqrt(_between(drawn[:, :2], self.scale, self.scale)) * size
        starts = drawn[:, 2:4] * (size - lengths)
        (probability,) = _between(drawn[:, 4:5], self.factor).T
        rows, columns = (
            (starts[:, [k]] <= np.arange(size[k])) & (np.arange(size[k]) < (starts + lengths)[:, [k]]) for k in (0, 1)
        )
        changed = drawn[:, 5] < probability
        erased: Array = (rows & changed[:, None])[:, :, None, None] & columns[:, None, :, None]
        return erased


def _between(drawn: Array, *ranges: tuple[float, float]) -> Array:
    """Random numbers between 0 and 1, brought into one range for each column.  (N, K)"""
    low, high = np.array(ranges).T
    found: Array = low + (high - low) * drawn
    return found


def _check_zoom(value: object, what: str) -> tuple[float, float]:
    lower, upper = check_range(value, what, -1, 1)
    if lower == -1:
        raise ValueError(f"{what} must be above -1, where an image would be infinitely large, received {value!r}.")
    return lower, upper


def _rotation(turn: Array) -> Array:
    """(N,), shares of a full circle → (N, 2, 2)."""
    cos, sin = np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)
    return np.moveaxis(np.array([[cos, sin], [-sin, cos]]), -1, 0)


def _slant(down: Array, right: Array) -> Array:
    """(N,), rows per column and columns per row → (N, 2, 2)."""
    one = np.ones_like(down)
    return np.moveaxis(np.array([[one, down], [right, one]]), -1, 0)


def _diagonal(zoom: Array) -> Array:
    """(N, 2), of rows and of columns → (N, 2, 2)."""
    found: Array = zoom[:, :, None] * np.eye(2)
    return found
