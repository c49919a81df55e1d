"""The layers that a model is made of."""

from .activation import Activation, LeakyReLU, ReLU, Softmax
from .augmentation import (
    RandomAffine,
    RandomElasticTransform,
    RandomErasing,
    RandomRotation,
    RandomShear,
    RandomTranslation,
    RandomZoom,
)
from .base import Layer
from .convolutional import Conv2D, Conv2DTranspose, UpSampling2D, ZeroPadding2D
from .core import Dense, Flatten, Input, Rescaling, Reshape
from .dropout import Dropout, GaussianNoise, SpatialDropout2D
from .normalization import BatchNormalization, LayerNormalization
from .pooling import AveragePooling2D, GlobalAveragePooling2D, GlobalMaxPooling2D, MaxPooling2D
from .residual import Residual
from .stack import Stack

# Keras's other names for the same classes.
Convolution2D, Convolution2DTranspose = Conv2D, Conv2DTranspose
MaxPool2D, AvgPool2D = MaxPooling2D, AveragePooling2D
GlobalAvgPool2D, GlobalMaxPool2D = GlobalAveragePooling2D, GlobalMaxPooling2D

ABSENT = {
    "InputLayer": "minidl has no InputLayer: use Input((28, 28, 1)), or input_shape=(28, 28, 1) in the first layer.",
    "RandomFlip": "minidl has no RandomFlip: RandomTranslation, RandomRotation, RandomZoom and RandomShear are here.",
    **dict.fromkeys(
        ("Add", "Concatenate"), "minidl has no graphs: where an input is added to an output, use Residual([…])."
    ),
}


def __getattr__(name: str) -> None:
    """What to use for a name of Keras's that is not here."""
    raise AttributeError(ABSENT.get(name, f"module {__name__!r} has no attribute {name!r}"))


__all__ = [
    "Activation",
    "AveragePooling2D",
    "AvgPool2D",
    "BatchNormalization",
    "Conv2D",
    "Conv2DTranspose",
    "Convolution2D",
    "Convolution2DTranspose",
    "Dense",
    "Dropout",
    "Flatten",
    "GaussianNoise",
    "GlobalAveragePooling2D",
    "GlobalAvgPool2D",
    "GlobalMaxPool2D",
    "GlobalMaxPooling2D",
    "Input",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "MaxPool2D",
    "MaxPooling2D",
    "RandomAffine",
    "RandomElasticTransform",
    "RandomErasing",
    "RandomRotation",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
    "ReLU",
    "Rescaling",
    "Reshape",
    "Residual",
    "Softmax",
    "SpatialDropout2D",
    "Stack",
    "UpSampling2D",
    "ZeroPadding2D",
]
