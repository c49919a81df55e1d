"""Data sets in MNIST's format that a user has on disk: Fashion-MNIST, KMNIST, EMNIST, QMNIST, and MNIST itself."""

import os
import re
from typing import Any

from numpy.typing import NDArray

from minidl.datasets.idx import read_idx

_Split = tuple[NDArray[Any], NDArray[Any]]

# train-images-idx3-ubyte.gz, emnist-letters-test-labels-idx1-ubyte, qmnist-train-labels-idx2-int.gz, t10k-images.idx3-ubyte
_NAME = re.compile(r"(?:(.*)-)?(train|t10k|test)-(images|labels)[-.]idx\d-(?:ubyte|int)(?:\.gz)?")


def load_idx_folder(
    path: str | os.PathLike[str], name: str | None = None, *, max_ratio: float | None = 200
) -> tuple[_Split, _Split]:
    """Load a data set of images from the four files in this folder, which keep the names under which they are distributed.

    path: the folder. name: where it holds several data sets, what stands before "-train-images" in the names of their files,
    such as "emnist-balanced". max_ratio: as for ``read_idx``.

    Returns (x_train, y_train), (x_test, y_test): images (N, H, W) and labels (N,), as the files hold them, with two exceptions.
    EMNIST's files hold each image transposed (Cohen et al. 2017, converted from MATLAB); here it is upright. QMNIST's labels are
    rows of eight numbers, of which the first is the digit (Yadav and Bottou 2019); here they are the digits. EMNIST's letters are
    numbered from 1: use y - 1.

    Raises FileNotFoundError where the folder or a file is missing, and ValueError where a file is damaged, images and labels
    differ in number, or the name has to be chosen.
    """
    found: dict[str, dict[str, str]] = {}
    for file in sorted(os.listdir(path), reverse=True):  # an unpacked file comes after its .gz, and is preferred
        match = _NAME.fullmatch(file)
        if match and os.path.isfile(
            os.path.join(path, file)
        ):  # some archives have a folder of that name around each file
            split = "train" if match[2] == "train" else "test"
            found.setdefault(match[1] or "", {})[f"{split} {match[3]}"] = os.path.join(path, file)
    if name is None and len(found) > 1:
        raise ValueError(
            f"'{os.fspath(path)}' holds several data sets: choose one, with name={' or name='.join(map(repr, sorted(found)))}."
        )
    name = next(iter(found), "") if name is None else name
    parts = ("train images", "train labels", "test images", "test labels")
    missing = [part for part in parts if part not in found.get(name, {})]
    if missing:
        raise FileNotFoundError(
            f"'{os.fspath(path)}' has no {missing[0]} of {name or 'a data set'}: expected files named as MNIST's are, such as "
            f"'{name + '-' if name else ''}train-images-idx3-ubyte.gz'. There are: {', '.join(sorted(os.listdir(path))[:10])}."
        )
    x_train, y_train, x_test, y_test = (read_idx(found[name][part], max_ratio=max_ratio) for part in parts)
    return _split(x_train, y_train, name, "train"), _split(x_test, y_test, name, "test")


def _split(images: NDArray[Any], labels: NDArray[Any], name: str, split: str) -> _Split:
    if name.startswith("qmnist") and labels.ndim == 2:
        labels = labels[:, 0]
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"the {split} images and labels do not belong together: expected shapes (N, H, W) and (N,), found {images.shape} "
            f"and {labels.shape}."
        )
    return images.swapaxes(1, 2).copy() if name.startswith("emnist") else images, labels
