"""PyTorch trains the same networks: with minidl's weights, its adapter gives minidl's probabilities."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks.contestants import minidl as ours  # noqa: E402
from benchmarks.contestants import torch as adapter  # noqa: E402
from benchmarks.models import Conv, Dense, Flatten, Model, Pool  # noqa: E402
from benchmarks.worker import random_data  # noqa: E402

LAYERS = (Conv(4, 3, 2, "same"), Conv(5, 3, 1, "same"), Pool(2), Conv(6, 2, 1, "valid"), Flatten(), Dense(3, "softmax"))
MODEL = Model("", 4, LAYERS, (10, 9, 2))  # 10 needs one zero more behind than before, 9 as many


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_same_weights_give_the_same_probabilities(channels_last: bool) -> None:
    theirs, own = adapter.Trainer(MODEL, 1, 1, channels_last=channels_last), ours.Trainer(MODEL, 1, 1)
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=w.shape).astype(np.float32) / 3 for w in own.model.get_weights()]
    own.model.set_weights(weights)
    *convolutions, kernel, bias = weights
    height, width, filters = own.model.layers[3].output_shape
    kernel = (
        kernel.reshape(height, width, filters, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
    )  # channels come first
    values = [w.transpose(3, 2, 0, 1) if w.ndim == 4 else w for w in convolutions] + [kernel.T, bias]
    with torch.no_grad():
        for parameter, value in zip(theirs.model.parameters(), values, strict=True):
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)))
    x, y = random_data(MODEL.shape, 3, 7, 0)
    tensor, _ = theirs.prepare(x, y)
    np.testing.assert_allclose(theirs.predict(tensor), own.predict(x), rtol=1e-4, atol=1e-6)
