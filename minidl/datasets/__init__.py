"""The data that comes with the library, and readers for other data in the same format."""

from minidl.datasets import mnist
from minidl.datasets.folders import load_idx_folder
from minidl.datasets.idx import read_idx

FILES = "minidl brings no data but MNIST: of files in the same format, give their folder to datasets.load_idx_folder."
ARRAYS = "minidl brings no data but MNIST: load the arrays, with np.load for one, and give them to fit."
ABSENT = {
    "fashion_mnist": FILES,
    **dict.fromkeys(("cifar10", "cifar100", "imdb", "reuters", "california_housing"), ARRAYS),
}


def __getattr__(name: str) -> None:
    """What to use for a name of Keras's that is not here."""
    raise AttributeError(ABSENT.get(name, f"module {__name__!r} has no attribute {name!r}"))


__all__ = ["load_idx_folder", "mnist", "read_idx"]
