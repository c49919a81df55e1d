"""The data that comes with the library, and a reader for other data in the same format."""

from minidl.datasets import mnist
from minidl.datasets.idx import read_idx

__all__ = ["mnist", "read_idx"]
