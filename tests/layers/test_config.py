"""What a layer says of its settings: the arguments that make it again, and nothing else."""

import re

import pytest

from minidl.initializers import constant, he_normal
from minidl.layers import Activation, Conv2D, Dense, Dropout, Flatten, Layer, MaxPooling2D, Rescaling

half = constant(0.5)

# Each with every argument away from its default.
CONFIGS = [
    (Rescaling(0.5, offset=1.0, name="a", input_shape=(6, 6, 2)), {"scale": 0.5, "offset": 1.0, "name": "a"}),
    (
        Conv2D(
            3,
            (2, 3),
            (1, 2),
            "same",
            activation="tanh",
            use_bias=False,
            kernel_initializer=he_normal,
            bias_initializer=half,
            name="b",
        ),
        {
            "filters": 3,
            "kernel_size": (2, 3),
            "strides": (1, 2),
            "padding": "same",
            "activation": "tanh",
            "use_bias": False,
            "kernel_initializer": "he_normal",
            "bias_initializer": half,
            "kernel_regularizer": None,
            "name": "b",
        },
    ),
    (
        MaxPooling2D((2, 1), (1, 2), "same", name="c"),
        {"pool_size": (2, 1), "strides": (1, 2), "padding": "same", "name": "c"},
    ),
    (Activation("sigmoid", name="d"), {"activation": "sigmoid", "name": "d"}),
    (Dropout(0.25, name="e"), {"rate": 0.25, "name": "e"}),
    (Flatten(), {"name": None}),
    (
        Dense(2, "relu", False, "zeros", "ones", name="g", input_dim=3),
        {
            "units": 2,
            "activation": "relu",
            "use_bias": False,
            "kernel_initializer": "zeros",
            "bias_initializer": "ones",
            "kernel_regularizer": None,
            "name": "g",
        },
    ),
]


@pytest.mark.parametrize(("layer", "config"), CONFIGS, ids=lambda value: type(value).__name__)
def test_settings(layer, config):
    assert layer.get_config() == config
    assert type(layer)(**config).get_config() == config


class Power(Layer):
    def __init__(self, power, **options):
        super().__init__(**options)
        self.power = power


class Cube(Power):
    """Without an __init__ of its own."""


class Root(Power):
    """Its __init__ takes neither a name nor what the class above takes."""

    def __init__(self, degree=2):
        super().__init__(1 / degree)
        self.degree = degree


def test_settings_of_a_layer_of_ones_own():
    assert Power(3, name="p", input_shape=(2,)).get_config() == {"power": 3, "name": "p"}
    assert Cube(3).get_config() == {"power": 3, "name": None}
    assert Root(3).get_config() == {"degree": 3}
    assert Layer(name="plain").get_config() == {"name": "plain"}


def test_an_argument_that_is_kept_under_another_name():
    class Hidden(Layer):
        def __init__(self, power):
            super().__init__()
            self._power = power

    text = (
        "the settings of Hidden are not known: its __init__ takes 'power' and keeps no attribute of that name. Keep it as "
        "self.power, or write get_config()."
    )
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        Hidden(3).get_config()
