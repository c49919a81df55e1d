import hashlib
import inspect
import socket
import struct

import numpy as np
import pytest

from minidl.datasets import mnist

# Of the IDX files, decompressed.
SHA256 = {
    "x_train": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "y_train": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "x_test": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "y_test": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
SHAPES = {"x_train": (60000, 28, 28), "y_train": (60000,), "x_test": (10000, 28, 28), "y_test": (10000,)}


@pytest.fixture(scope="module")
def arrays():
    (x_train, y_train), (x_test, y_test) = mnist.load_data()
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


@pytest.mark.parametrize("name", SHA256)
class TestEachArray:
    def test_shape_and_dtype(self, arrays, name):
        assert arrays[name].shape == SHAPES[name]
        assert arrays[name].dtype == np.uint8

    def test_is_the_published_one(self, arrays, name):
        array = arrays[name]
        idx = struct.pack(f">BBBB{array.ndim}i", 0, 0, 0x08, array.ndim, *array.shape) + array.tobytes()
        assert hashlib.sha256(idx).hexdigest() == SHA256[name]

    def test_can_be_written_in(self, arrays, name):
        assert arrays[name].flags.writeable


def test_labels_are_the_ten_digits(arrays):
    assert np.unique(arrays["y_train"]).tolist() == list(range(10))
    assert np.unique(arrays["y_test"]).tolist() == list(range(10))


def test_every_call_gives_new_arrays():
    (x, y), _ = mnist.load_data()
    x[:], y[:] = 0, 0
    (x, y), _ = mnist.load_data()
    assert x.any()
    assert y.any()


def test_needs_no_network_and_no_argument(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("the data is in the package")

    monkeypatch.setattr(socket, "socket", refuse)
    mnist.load_data()
    assert not inspect.signature(mnist.load_data).parameters
