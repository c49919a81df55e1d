"""Where a sliding window goes: output sizes and padding, the same arithmetic for convolution and pooling."""

import numpy as np

from ..contracts import Array, Pair


def window_output(size: int, window: int, stride: int, padding: str) -> tuple[int, int, int]:
    """One axis: (output size, padding before, padding after).

    "valid" places the window only where it fits; "same" gives ceil(size / stride) outputs, and an odd padding puts its extra
    cell at the end, as TensorFlow and Keras do.
    """
    if padding == "valid":
        return (size - window) // stride + 1, 0, 0
    output = -(-size // stride)
    total = max((output - 1) * stride + window - size, 0)
    return output, total // 2, total - total // 2


def transposed_output(size: int, window: int, stride: int, padding: str) -> int:
    """One axis of a transposed convolution: the output size, which a convolution of this window brings back to ``size``."""
    return size * stride + (max(window - stride, 0) if padding == "valid" else 0)


def pad_images(x: Array, window: Pair, strides: Pair, padding: str, value: float = 0.0) -> tuple[Array, Pair, Pair]:
    """The padded images, the output size (OH, OW) and the padding (top, left).

    x: (N, H, W, C). If no padding is needed, x itself is returned, not a copy.
    """
    rows, top, bottom = window_output(x.shape[1], window[0], strides[0], padding)
    columns, left, right = window_output(x.shape[2], window[1], strides[1], padding)
    if top or bottom or left or right:
        x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)
    return x, (rows, columns), (top, left)
