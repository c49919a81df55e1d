"""Small helpers that are not part of a model."""

from minidl.utils.dataset import PyDataset, Sequence
from minidl.utils.np_utils import to_categorical
from minidl.utils.seeds import set_random_seed

__all__ = ["PyDataset", "Sequence", "set_random_seed", "to_categorical"]
