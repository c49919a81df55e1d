"""Small helpers that are not part of a model."""

from minidl.utils.dataset import PyDataset, Sequence
from minidl.utils.np_utils import to_categorical

__all__ = ["PyDataset", "Sequence", "to_categorical"]
