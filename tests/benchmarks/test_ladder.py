"""All rungs of the ladder compute the same convolution."""

import numpy as np
import pytest

from benchmarks import ladder

SMALL = [ladder.Convolution("one channel", 8, 1, 3, 3), ladder.Convolution("odd sizes, many channels", 7, 4, 5, 2)]


@pytest.mark.parametrize("shape", SMALL, ids=lambda shape: shape.title)
def test_all_rungs_are_equal(shape: ladder.Convolution) -> None:
    ladder.check(shape, images=3)


def test_the_first_rung_is_the_definition() -> None:
    x = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    kernel, bias = np.ones((2, 2, 1, 1), np.float32), np.array([-10], np.float32)
    # the sums of the four windows are 8, 12, 20 and 24
    np.testing.assert_array_equal(ladder.convolve(x, kernel, bias).ravel(), [0, 2, 10, 14])
    np.testing.assert_array_equal(ladder.python_loops(x, kernel, bias), [[[[14]]]])


def test_tiles_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "TILE", 2 * 36 * 9)  # two images of the first shape
    ladder.check(SMALL[0], images=5)


def test_a_wrong_rung_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "rungs", lambda: {"wrong": lambda x, kernel, bias: np.zeros(1, np.float32)})
    with pytest.raises(ValueError, match="rung 'wrong' must equal the first one within"):
        ladder.check(SMALL[0])
