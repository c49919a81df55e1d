"""Small helpers that are not part of a model."""

from minidl.utils.np_utils import to_categorical

__all__ = ["to_categorical"]
