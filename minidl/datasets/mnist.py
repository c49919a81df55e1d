"""MNIST, 70,000 handwritten digits, included in the package: no download, no cache."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minidl.datasets.idx import read_idx

_DATA = Path(__file__).parent / "data"

_Split = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def load_data() -> tuple[_Split, _Split]:
    """Load MNIST.

    Returns (x_train, y_train), (x_test, y_test), all uint8. The images, (60000, 28, 28) and (10000, 28, 28), have 0 for the
    background and 255 for full ink. The labels, (60000,) and (10000,), are the digits 0 to 9. Every call reads the files and
    returns new arrays, which the caller may change.

    Raises FileNotFoundError where the installation lacks a data file, and ValueError where one is damaged.
    """
    x_train = read_idx(_DATA / "train-images-idx3-ubyte.gz")
    y_train = read_idx(_DATA / "train-labels-idx1-ubyte.gz")
    x_test = read_idx(_DATA / "t10k-images-idx3-ubyte.gz")
    y_test = read_idx(_DATA / "t10k-labels-idx1-ubyte.gz")
    return (x_train, y_train), (x_test, y_test)
