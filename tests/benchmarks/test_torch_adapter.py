"""PyTorch trains the same networks: with minidl's weights, its adapter gives minidl's probabilities."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks.contestants import minidl as ours  # noqa: E402
from benchmarks.contestants import torch as adapter  # noqa: E402
from benchmarks.models import Conv, Dense, Flatten, Model, Norm, Pool  # noqa: E402
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


@pytest.mark.parametrize("channels_last", [False, True])
def test_batch_normalization_has_the_same_settings(channels_last: bool) -> None:
    """Of maps and of rows: a moving average keeps 0.99, and the ε is the same."""
    model = Model("", 4, (Norm(), Flatten(), Norm(), Dense(3, "softmax")), (2, 3, 2))
    theirs, own = adapter.Trainer(model, 1, 1, channels_last=channels_last), ours.Trainer(model, 1, 1)
    x, _ = random_data(model.shape, 3, 8, 0)
    tensor, _ = theirs.prepare(x, np.zeros(8, np.int64))
    with torch.no_grad():
        for batch in (slice(0, 4), slice(4, 8)):
            theirs.model(theirs.images(tensor[batch]))
    expected = 0.01 * (0.99 * x[:4].mean(axis=(0, 1, 2)) + x[4:].mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(theirs.model[0].running_mean, expected, rtol=1e-5)
    for k in (0, 2):
        layer, module = own.model.layers[k], theirs.model[k]
        assert (layer.epsilon, layer.momentum) == (module.eps, 1 - module.momentum)
