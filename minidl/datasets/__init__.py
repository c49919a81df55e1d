"""The data that comes with the library, and readers for other data in the same format."""

from minidl.datasets import mnist
from minidl.datasets.folders import load_idx_folder
from minidl.datasets.idx import read_idx

__all__ = ["load_idx_folder", "mnist", "read_idx"]
