"""The layers that a model is made of."""

from .activation import Activation
from .base import Layer
from .convolutional import Conv2D, MaxPooling2D, ZeroPadding2D
from .core import Dense, Flatten, Input, Rescaling
from .dropout import Dropout
from .residual import Residual
from .stack import Stack

__all__ = [
    "Activation",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "Input",
    "Layer",
    "MaxPooling2D",
    "Rescaling",
    "Residual",
    "Stack",
    "ZeroPadding2D",
]
