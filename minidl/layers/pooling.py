"""The pooling layers, under the name of the module that older tutorials import them from."""

from .convolutional import MaxPooling2D

__all__ = ["MaxPooling2D"]
