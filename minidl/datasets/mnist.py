"""MNIST, 70,000 handwritten digits, all of it in the package: no download, no cache."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minidl.datasets.idx import read_idx

_DATA = Path(__file__).parent / "data"

_Split = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def load_data() -> tuple[_Split, _Split]:
    """Load MNIST.

    Every call reads the files and returns new arrays, which are the caller's to change.

    Returns:
        `(x_train, y_train), (x_test, y_test)`, all uint8. The images, of shapes (60000, 28, 28) and (10000, 28, 28),
        have 0 for the background and 255 for full ink. The labels, of shapes (60000,) and (10000,), are the
        digits 0 to 9.

    Raises:
        FileNotFoundError: the installation lost a data file.
        ValueError: the installation has a damaged data file.
    """
    x_train = read_idx(_DATA / "train-images-idx3-ubyte.gz")
    y_train = read_idx(_DATA / "train-labels-idx1-ubyte.gz")
    x_test = read_idx(_DATA / "t10k-images-idx3-ubyte.gz")
    y_test = read_idx(_DATA / "t10k-labels-idx1-ubyte.gz")
    return (x_train, y_train), (x_test, y_test)
