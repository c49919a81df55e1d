"""What all layers of images share: the check of their input. Images are (height, width, channels), as in Keras."""

import numpy as np

from ..contracts import Array, Pair, Shape
from .base import Layer

PADDINGS = ("valid", "same")


def check_images(layer: Layer, input_shape: Shape, window: Pair, padding: str) -> None:
    """Raise a ValueError that names the fix where the layer's window cannot slide over such samples."""
    height, width = window if padding == "valid" else (1, 1)
    expects = f"{layer} expects input (height, width, channels)"
    if len(input_shape) == 2:
        raise ValueError(
            f"{expects}, received {input_shape}. The channel axis is missing: use input_shape={(*input_shape, 1)} "
            "and give the data as np.expand_dims(x, -1)."
        )
    if len(input_shape) != 3:
        raise ValueError(f"{expects}, received {input_shape}.")
    if input_shape[0] < height or input_shape[1] < width:
        message = f"{expects} at least {height}×{width}, received {input_shape}."
        channels, rows, columns = input_shape  # if the data is channels-first
        if channels <= 4 and rows >= height and columns >= width:
            message += f" If the images are channels-first, use input_shape={(rows, columns, channels)}; otherwise make"
            message += " the window smaller, or use padding='same'."
        else:
            message += " Make the window smaller, or use padding='same'."
        raise ValueError(message)


def check_batch(layer: Layer, x: Array) -> None:
    """Raise a ValueError where x is no batch of images: inside a model it is one, but a layer can be called alone."""
    if np.ndim(x) != 4:
        advice = " One image is a batch of one as x[np.newaxis]." if np.ndim(x) == 3 else ""
        raise ValueError(f"{layer} expects images (N, height, width, channels), received shape {np.shape(x)}.{advice}")
