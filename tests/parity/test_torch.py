"""minidl and PyTorch, given the same weights and the same digits, compute the same numbers, step after step."""

import math

import numpy as np
import pytest
from parity.twins import BATCH, MODELS, STEPS, agree, changes, digits, give_biases, normalized

import minidl
from minidl.layers import (
    Activation,
    AveragePooling2D,
    Conv2D,
    Conv2DTranspose,
    Dense,
    Dropout,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    LayerNormalization,
    LeakyReLU,
    MaxPooling2D,
    ReLU,
    Softmax,
    UpSampling2D,
    ZeroPadding2D,
)
from minidl.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    Huber,
    KLDivergence,
    MeanAbsoluteError,
    MeanSquaredError,
    SparseCategoricalCrossentropy,
)
from minidl.ops import OPERATIONS, reference
from minidl.ops.random import FORWARD, RandomKey, derive_key
from minidl.optimizers import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Nadam, RMSprop, schedules
from minidl.utils import to_categorical

torch = pytest.importorskip("torch", reason="the twins need PyTorch: pip install 'minidl[parity]'")
functional = torch.nn.functional

DTYPES = ["float64", "float32"]
WAYS = {"fused": {}, "not fused": {"fuse": False}, "reference": {"ops": "reference"}}
both_dtypes = pytest.mark.parametrize("dtype", DTYPES)
both_sets = pytest.mark.parametrize("ops", OPERATIONS)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """PyTorch's threads wait for each other by spinning: on a busy machine these small batches would take minutes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# ----------------------------------------------------------------------------------------------------------- the twins


class Masked(torch.nn.Module):
    """Dropout with a given mask, (N, C, H, W); nothing without one."""

    mask = None

    def forward(self, x):
        return x if self.mask is None else x * self.mask


class Rows(torch.nn.Module):
    """Flatten with the channels last, as minidl has them: so the next layer's weights stand in the same order."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)


def torch_mlp():
    return torch.nn.Sequential(torch.nn.Linear(784, 784), torch.nn.ReLU(), torch.nn.Linear(784, 10))


def torch_cnn():
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 32, 5),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        Masked(),
        Rows(),
        torch.nn.Linear(32 * 12 * 12, 128),
        torch.nn.ReLU(),
        torch.nn.Linear(128, 10),
    )


def torch_cnn_large():
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 30, 5),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(30, 15, 3),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        Masked(),
        Rows(),
        torch.nn.Linear(15 * 5 * 5, 128),
        torch.nn.ReLU(),
        torch.nn.Linear(128, 50),
        torch.nn.ReLU(),
        torch.nn.Linear(50, 10),
    )


TWINS = {"mlp": torch_mlp, "cnn": torch_cnn, "cnn_large": torch_cnn_large}


def tensor(array, dtype="float64"):
    """An array as a tensor; images (N, H, W, C) become (N, C, H, W)."""
    array = np.asarray(array, dtype)
    return torch.tensor(array.transpose(0, 3, 1, 2).copy() if array.ndim == 4 else array)


def array(tensor):
    """A tensor as an array; images (N, C, H, W) become (N, H, W, C)."""
    values = tensor.detach().numpy()
    return values.transpose(0, 2, 3, 1) if values.ndim == 4 else values


def to_torch(weight):
    """kernel (KH, KW, C, F) → (F, C, KH, KW); kernel (D, U) → (U, D); a bias stays."""
    return weight.transpose(3, 2, 0, 1) if weight.ndim == 4 else weight.T


def from_torch(weight):
    """The way back; of a copy, because the optimizer changes a parameter in place."""
    values = weight.detach().numpy().copy()
    return values.transpose(2, 3, 1, 0) if values.ndim == 4 else values.T


def make(name, dtype, rate=0.2, optimizer="adam", **way):
    """The model and its twin."""
    model = minidl.Sequential(MODELS[name](minidl.layers, rate), seed=1, dtype=dtype, **way)
    give_biases(model)
    model.compile(loss="sparse_categorical_crossentropy", optimizer=optimizer)
    twin = TWINS[name]().to(getattr(torch, dtype))
    with torch.no_grad():
        for parameter, weight in zip(twin.parameters(), model.get_weights(), strict=True):
            parameter.copy_(torch.tensor(to_torch(weight)))
    return model, twin


def twin_gradients(twin, x, y):
    """The twin's loss, and the gradients, left in its parameters and returned in minidl's form."""
    twin.zero_grad()
    loss = functional.cross_entropy(twin(x), torch.tensor(y))
    loss.backward()
    return loss.item(), [from_torch(each.grad) for each in twin.parameters() if each.requires_grad]


def set_mask(model, twin, samples):
    """Give the twin the mask that the model's next step will draw for its Dropout."""
    (dropout,) = (layer for layer in model.layers if isinstance(layer, Dropout))
    step = derive_key(model.seed, FORWARD, model.optimizer.iterations)
    key = RandomKey(step, 0).layer(model.layers.index(dropout))
    mask = reference.dropout(np.ones((samples, *dropout.output_shape)), dropout.rate, key)
    assert 0 < np.count_nonzero(mask) < mask.size
    (masked,) = (module for module in twin if isinstance(module, Masked))
    masked.mask = tensor(mask, model.dtype)


# ---------------------------------------------------------------------------------------------------- the whole models


@pytest.mark.parametrize("way", WAYS)
@both_dtypes
@pytest.mark.parametrize("name", MODELS)
def test_outputs_loss_and_every_gradient(name, dtype, way):
    """On 33 samples, which are not cut into equal shards."""
    model, twin = make(name, dtype, **WAYS[way])
    x, y = digits(name, 33)
    label = f"{name} {way}: "
    agree(label + "outputs", model.predict(x, verbose=0), array(twin(tensor(x, dtype)).softmax(1)), dtype, "values")
    loss, gradients = model.loss_and_gradients(x, y)
    twin_loss, expected = twin_gradients(twin, tensor(x, dtype), y)
    agree(label + "loss", loss, twin_loss, dtype, "values")
    agree(label + "gradients", list(gradients.values()), expected, dtype, "gradients")


@pytest.mark.parametrize("way", WAYS)
@both_dtypes
@pytest.mark.parametrize("name", ["cnn", "cnn_large"])
def test_gradients_with_dropout_on(name, dtype, way):
    model, twin = make(name, dtype, **WAYS[way])
    x, y = digits(name, 33)
    set_mask(model, twin, len(x))
    loss, gradients = model.loss_and_gradients(x, y, training=True)
    twin_loss, expected = twin_gradients(twin, tensor(x, dtype), y)
    label = f"{name} {way}, dropout on: "
    agree(label + "loss", loss, twin_loss, dtype, "values")
    agree(label + "gradients", list(gradients.values()), expected, dtype, "gradients")


class KerasAdam(torch.optim.AdamW):
    """PyTorch's Adam with ε where Keras and minidl put it.

    PyTorch divides by √v / √(1 − β₂ᵗ) + ε, Keras by (√v + ε) / √(1 − β₂ᵗ): the same, when before each step PyTorch is given
    ε / √(1 − β₂ᵗ) as its ε.
    """

    iterations = 0

    def step(self):
        self.iterations += 1
        (group,) = self.param_groups
        group["eps"] = 1e-7 / math.sqrt(1 - group["betas"][1] ** self.iterations)
        super().step()


class KerasRMSprop(torch.optim.RMSprop):
    """PyTorch's RMSprop with ε where Keras and minidl put it.

    PyTorch divides by √s + ε, Keras by √(v + ε): the same with an ε of 0 in PyTorch, when its running mean s is v + ε. After
    s ← ρ · s + (1 − ρ) · grad² it is, if before that it was v + ε / ρ.
    """

    def __init__(self, parameters, lr):
        super().__init__(parameters, lr=lr, alpha=0.9, eps=0)

    def step(self):
        (group,) = self.param_groups
        for parameter in group["params"]:
            state = self.state[parameter]
            if not state:
                state.update(step=torch.zeros(()), square_avg=torch.full_like(parameter, 1e-7, requires_grad=False))
            state["square_avg"] += 1e-7 / group["alpha"] - 1e-7
        super().step()


# PyTorch's momentum holds the learning rate apart from the velocity: the same steps, as long as the rate stays what it is.
OPTIMIZERS = {
    "adam": (Adam, lambda p: KerasAdam(p, lr=0.001, weight_decay=0)),
    "adam, weight decay": (lambda: Adam(0.002, weight_decay=0.1), lambda p: KerasAdam(p, lr=0.002, weight_decay=0.1)),
    "sgd": (lambda: SGD(0.05), lambda p: torch.optim.SGD(p, lr=0.05)),
    "momentum": (lambda: SGD(0.02, momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9)),
    "nesterov": (
        lambda: SGD(0.02, momentum=0.9, nesterov=True),
        lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True),
    ),
    "rmsprop": (lambda: RMSprop(0.0005), lambda p: KerasRMSprop(p, lr=0.0005)),
}


def train_both(name, dtype, optimizer, label, rate, **way):
    """STEPS steps of both, each with fresh digits; compare the losses on the way and how far every weight went."""
    create, create_twin = OPTIMIZERS[optimizer]
    model, twin = make(name, dtype, rate, create(), **way)
    twin_optimizer = create_twin(twin.parameters())
    before = model.get_weights()
    x, y = digits(name)
    losses, twin_losses = [], []
    for start in range(0, STEPS * BATCH, BATCH):
        images, labels = x[start : start + BATCH], y[start : start + BATCH]
        if rate:
            set_mask(model, twin, BATCH)
        losses.append(model.train_on_batch(images, labels))
        twin_losses.append(twin_gradients(twin, tensor(images, dtype), labels)[0])
        twin_optimizer.step()
    agree(f"{label}: losses of {STEPS} steps", np.array(losses), twin_losses, dtype, "losses")
    after = [from_torch(parameter) for parameter in twin.parameters()]
    agree(f"{label}: after {STEPS} steps", changes(model.get_weights(), before), changes(after, before), dtype, "steps")
    assert sum(losses[-5:]) < sum(losses[:5])  # those were steps that learn


CASES = [
    *((name, optimizer, "float64") for name in MODELS for optimizer in OPTIMIZERS),
    *((name, optimizer, "float32") for name in MODELS for optimizer in ("adam", "momentum")),
]


@pytest.mark.parametrize(("name", "optimizer", "dtype"), CASES)
def test_twenty_steps(name, optimizer, dtype):
    train_both(name, dtype, optimizer, f"{name}, {optimizer}", rate=0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["cnn", "cnn_large"])
def test_twenty_steps_with_dropout_on(name, way):
    """The twin is given each step's mask."""
    train_both(name, "float64", "adam", f"{name} {way}, adam, dropout on", rate=0.2, **WAYS[way])


# ----------------------------------------------------------------------------------- nested and residual networks, whole


class Sum(torch.nn.Module):
    """Two branches, added: what ours calls Residual. The order of the parameters is ours, too: f, and then the projection."""

    def __init__(self, f, projection=None):
        super().__init__()
        self.f = f
        self.projection = torch.nn.Identity() if projection is None else projection

    def forward(self, x):
        return self.projection(x) + self.f(x)


def conv(inputs, filters, size, stride=1):
    return torch.nn.Conv2d(inputs, filters, size, stride, padding=size // 2)


def nested():
    """(ours, PyTorch's): stacks three deep."""
    layers, torch_layers = minidl.layers, torch.nn
    ours = minidl.Sequential(
        [
            layers.Input((28, 28, 1)),
            minidl.Sequential([layers.Conv2D(6, 5, activation="relu"), layers.MaxPooling2D()]),
            minidl.Sequential(
                [
                    layers.Stack([layers.Conv2D(5, 3, activation="tanh"), layers.MaxPooling2D(), layers.Flatten()]),
                    layers.Dense(20, activation="relu"),
                ]
            ),
            minidl.Sequential([minidl.Sequential([layers.Dense(10, activation="softmax")])]),
        ],
        seed=1,
    )
    twin = torch_layers.Sequential(
        torch_layers.Sequential(torch_layers.Conv2d(1, 6, 5), torch_layers.ReLU(), torch_layers.MaxPool2d(2)),
        torch_layers.Sequential(torch_layers.Conv2d(6, 5, 3), torch_layers.Tanh(), torch_layers.MaxPool2d(2), Rows()),
        torch_layers.Sequential(torch_layers.Linear(125, 20), torch_layers.ReLU()),
        torch_layers.Linear(20, 10),
    )
    return ours.get_config(), twin


def residual():
    """(ours, PyTorch's): as a small ResNet, with a plain block, one that halves the image, and one of Dense layers."""
    layers, torch_layers = minidl.layers, torch.nn
    ours = minidl.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(4, 3, strides=3, padding="valid", activation="relu"),
            layers.Residual(
                [layers.Conv2D(4, 3, padding="same", activation="relu"), layers.Conv2D(4, 3, padding="same")]
            ),
            layers.Activation("relu"),
            layers.Residual(
                [layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")],
                projection=layers.Conv2D(6, 1, strides=2, use_bias=False),
            ),
            layers.Flatten(),
            layers.Dense(16, activation="tanh"),
            layers.Residual([layers.Dense(8, activation="tanh"), layers.Residual([layers.Dense(8)]), layers.Dense(16)]),
            layers.Dense(10, activation="softmax"),
        ],
        seed=1,
    )
    relu, tanh = torch_layers.ReLU, torch_layers.Tanh
    linear = torch_layers.Linear
    twin = torch_layers.Sequential(
        torch_layers.Conv2d(1, 4, 3, 3),
        relu(),
        Sum(torch_layers.Sequential(conv(4, 4, 3), relu(), conv(4, 4, 3))),
        relu(),
        Sum(torch_layers.Sequential(conv(4, 6, 3, 2), relu()), torch_layers.Conv2d(4, 6, 1, 2, bias=False)),
        Rows(),
        linear(150, 16),
        tanh(),
        Sum(torch_layers.Sequential(linear(16, 8), tanh(), Sum(linear(8, 8)), linear(8, 16))),
        linear(16, 10),
    )
    return ours.get_config(), twin


NETWORKS = {"nested": nested, "residual": residual}


@pytest.mark.parametrize("way", WAYS)
@both_dtypes
@pytest.mark.parametrize("name", NETWORKS)
def test_twenty_steps_of_networks_with_stacks_inside(name, dtype, way):
    """Outputs, every gradient and 20 steps of momentum; the first layers frozen in the last ten."""
    config, twin = NETWORKS[name]()
    settings = {"ops": "kernels", "fuse": True, **WAYS[way]}
    model = minidl.Sequential.from_config(config | {"dtype": dtype} | settings)
    twin = twin.to(getattr(torch, dtype))
    give_biases(model)
    with torch.no_grad():
        for parameter, weight in zip(twin.parameters(), model.get_weights(), strict=True):
            parameter.copy_(torch.tensor(to_torch(weight).copy()))
    model.compile(SGD(0.02, momentum=0.9), "sparse_categorical_crossentropy")
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.02, momentum=0.9)
    x, y = digits("cnn")
    label = f"{name} {way}"
    expected = array(twin(tensor(x[:33], dtype)).softmax(1))
    agree(f"{label}: outputs", model.predict(x[:33], verbose=0), expected, dtype, "values")
    _, gradients = model.loss_and_gradients(x[:33], y[:33])
    _, expected = twin_gradients(twin, tensor(x[:33], dtype), y[:33])
    agree(f"{label}: gradients", list(gradients.values()), expected, dtype, "gradients")
    before, losses, twin_losses = model.get_weights(), [], []
    for step in range(STEPS):
        if step == STEPS // 2:
            model.layers[0].trainable = False
            frozen = len(model.layers[0].get_weights())
            optimizer = without(optimizer, list(twin.parameters())[:frozen])
        part = slice(step * BATCH, (step + 1) * BATCH)
        losses.append(model.train_on_batch(x[part], y[part]))
        twin_losses.append(twin_gradients(twin, tensor(x[part], dtype), y[part])[0])
        optimizer.step()
    agree(f"{label}: losses of {STEPS} steps", np.array(losses), twin_losses, dtype, "losses")
    after = [from_torch(parameter) for parameter in twin.parameters()]
    agree(f"{label}: after {STEPS} steps", changes(model.get_weights(), before), changes(after, before), dtype, "steps")
    assert sum(losses[-5:]) < sum(losses[:5])


class KerasNorm(torch.nn.Module):
    """PyTorch's batch normalization, except that the variance that it remembers is not the unbiased one, as in Keras and here.

    (Ioffe and Szegedy's is the unbiased one; between m and m − 1 there is little, and it shows after training only.)
    """

    def __init__(self, of, channels, momentum, epsilon):
        super().__init__()
        self.norm = of(channels, eps=epsilon, momentum=1 - momentum)

    def forward(self, x):
        before, m = self.norm.running_var.clone(), x.numel() / x.shape[1]
        y = self.norm(x)
        if self.training:
            kept = (1 - self.norm.momentum) * before
            self.norm.running_var = kept + (self.norm.running_var - kept) * (m - 1) / m
        return y


@pytest.mark.parametrize("way", WAYS)
@both_dtypes
def test_twenty_steps_with_batch_normalization(way, dtype):
    """Every gradient in training; the losses and the weights of 20 steps, with the moving averages; then evaluation."""
    model = minidl.Sequential(normalized(minidl.layers), seed=1, dtype=dtype, **WAYS[way])
    random, nn = np.random.default_rng(1), torch.nn
    model.set_weights([w if w.ndim > 1 else random.uniform(0.5, 1, w.shape) for w in model.get_weights()])
    model.compile(SGD(0.02, momentum=0.9), "sparse_categorical_crossentropy")
    norms = [
        KerasNorm(nn.BatchNorm2d, 6, 0.875, 2**-10),
        KerasNorm(nn.BatchNorm2d, 5, 0.75, 2**-10),
        KerasNorm(nn.BatchNorm1d, 12, 0.5, 2**-5),
    ]
    twin = nn.Sequential(
        *(nn.Conv2d(1, 6, 5, 2, bias=False), norms[0], nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 5, 3, padding=1), norms[1], Rows()),
        *(nn.Linear(180, 12), nn.Tanh(), norms[2], nn.Linear(12, 10)),
    ).to(getattr(torch, dtype))
    norms[1].norm.weight.requires_grad = False  # scale=False
    parameters = [parameter for parameter in twin.parameters() if parameter.requires_grad]

    def state():
        return [from_torch(each) for norm in norms for each in (norm.norm.running_mean, norm.norm.running_var)]

    with torch.no_grad():
        for parameter, weight in zip(parameters, model.params.values(), strict=True):
            parameter.copy_(torch.tensor(to_torch(weight).copy()))
        for norm, layer in zip(norms, (model.layers[1], model.layers[5], model.layers[8]), strict=True):
            norm.norm.running_mean.copy_(torch.tensor(layer.state["moving_mean"]))
            norm.norm.running_var.copy_(torch.tensor(layer.state["moving_variance"]))
    x, y = digits("cnn")
    optimizer = torch.optim.SGD(parameters, lr=0.02, momentum=0.9)
    label, zero = f"normalized {way}", "conv2d_1/bias"  # before a normalization: its gradient is 0, but for rounding

    twin.eval()
    expected = array(twin(tensor(x[:33], dtype)).softmax(1))
    agree(f"{label}: outputs", model.predict(x[:33], verbose=0), expected, dtype, "values")
    twin.train()
    _, gradients = model.loss_and_gradients(x[:33], y[:33], training=True)
    before, states = {name: value.copy() for name, value in model.weights.items()}, state()
    _, expected = twin_gradients(twin, tensor(x[:33], dtype), y[:33])
    kept = [place for place, name in enumerate(gradients) if name != zero]
    gradients = list(gradients.values())
    agree(f"{label}: gradients", [gradients[i] for i in kept], [expected[i] for i in kept], dtype, "gradients")
    with torch.no_grad():
        for norm, mean, variance in zip(norms, states[::2], states[1::2], strict=True):
            norm.norm.running_mean.copy_(torch.tensor(mean))
            norm.norm.running_var.copy_(torch.tensor(variance))

    losses, twin_losses = [], []
    for start in range(0, STEPS * BATCH, BATCH):
        images, labels = x[start : start + BATCH], y[start : start + BATCH]
        losses.append(model.train_on_batch(images, labels))
        twin_losses.append(twin_gradients(twin, tensor(images, dtype), labels)[0])
        optimizer.step()
    agree(f"{label}: losses of {STEPS} steps", np.array(losses), twin_losses, dtype, "losses")
    ours = [value - before[name] for name, value in model.params.items()]
    theirs = [from_torch(parameter) - before[name] for parameter, name in zip(parameters, model.params, strict=True)]
    agree(f"{label}: after {STEPS} steps", [ours[i] for i in kept], [theirs[i] for i in kept], dtype, "steps")
    went = [value - before[name] for name, value in model.state.items()]
    agree(f"{label}: moving averages", went, changes(state(), states), dtype, "steps")
    twin.eval()
    expected = array(twin(tensor(x[:33], dtype)).softmax(1))
    agree(f"{label}: outputs then", model.predict(x[:33], verbose=0), expected, dtype, "steps")
    assert sum(losses[-5:]) < sum(losses[:5])


def without(optimizer, frozen):
    """The same optimizer, with its velocities, which leaves these parameters alone."""
    (group,) = optimizer.param_groups
    group["params"] = [parameter for parameter in group["params"] if not any(parameter is other for other in frozen)]
    return optimizer


# ----------------------------------------------------------------------------------------------- layer by layer, float64


def layer_parity(layer, ops, x, function):
    """Outputs, dx and the parameters' gradients of a layer; function(x, *weights) is PyTorch's, all in its own axes."""
    random = np.random.default_rng(2)
    layer.ops = OPERATIONS[ops]
    layer.build(x.shape[1:], random, np.dtype(np.float64))
    for value in layer.params.values():
        value[...] = random.normal(size=value.shape)
    y, cache = layer.forward(x)
    dy = random.normal(size=y.shape)
    dx, gradients = layer.backward(dy, cache)

    leaf = tensor(x).requires_grad_()
    weights = [torch.tensor(to_torch(value).copy(), requires_grad=True) for value in layer.params.values()]
    expected = function(leaf, *weights)
    expected.backward(tensor(dy))
    agree(f"{layer}: outputs", y, array(expected), "float64", "values")
    agree(f"{layer}: dx", dx, array(leaf.grad), "float64", "gradients")
    for (name, gradient), weight in zip(gradients.items(), weights, strict=True):
        agree(f"{layer}: {name}", gradient, from_torch(weight.grad), "float64", "gradients")


def same(x, window, strides, value=0.0):
    """x (N, C, H, W) with the padding of Keras's "same": ⌈size / stride⌉ windows, the odd cell at the bottom and right."""
    sides = []
    for size, width, stride in zip(x.shape[:1:-1], window[::-1], strides[::-1], strict=True):  # the last axis first
        total = max((math.ceil(size / stride) - 1) * stride + width - size, 0)
        sides += [total // 2, total - total // 2]
    return functional.pad(x, sides, value=value)


@both_sets
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("size", "window", "strides"),
    [
        ((7, 9), (3, 3), (1, 1)),
        ((7, 9), (3, 2), (2, 3)),
        ((6, 8), (5, 3), (2, 2)),
        ((9, 7), (2, 4), (3, 1)),
        ((8, 5), (1, 1), (2, 2)),
        ((5, 11), (2, 2), (3, 4)),  # strides beyond the window leave pixels unseen
    ],
)
def test_conv2d(size, window, strides, padding, ops):
    x = np.random.default_rng(0).normal(size=(3, *size, 4))

    def convolve(x, kernel, bias):
        return functional.conv2d(same(x, window, strides) if padding == "same" else x, kernel, bias, strides)

    layer_parity(Conv2D(5, window, strides, padding), ops, x, convolve)


@both_sets
@pytest.mark.filterwarnings(
    "ignore:Using padding='same' with even kernel:UserWarning"
)  # it only says that PyTorch copies
@pytest.mark.parametrize("window", [(3, 3), (2, 3), (4, 4)])
def test_conv2d_same_is_pytorch_s_own(window, ops):
    """PyTorch has a "same" of its own where the stride is 1."""
    x = np.random.default_rng(0).normal(size=(3, 6, 7, 4))
    layer_parity(Conv2D(5, window, padding="same"), ops, x, lambda x, k, b: functional.conv2d(x, k, b, padding="same"))


@both_sets
@pytest.mark.parametrize("ties", [False, True], ids=["apart", "ties"])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("pool", "strides"),
    [((2, 2), None), ((3, 2), None), ((3, 3), (1, 1)), ((3, 3), (2, 2)), ((3, 4), (2, 1)), ((2, 2), (3, 3))],
)
def test_max_pooling2d(pool, strides, padding, ties, ops):
    """Windows that touch, overlap and leave gaps. Of equal values both take the first one; all negative, as padding is not."""
    random = np.random.default_rng(0)
    shape = (3, 7, 10, 4)
    x = random.integers(-3, 0, shape).astype(np.float64) if ties else random.uniform(-2, -1, shape)
    steps = strides or pool

    def pooled(x):
        return functional.max_pool2d(same(x, pool, steps, -math.inf) if padding == "same" else x, pool, steps)

    layer_parity(MaxPooling2D(pool, strides, padding), ops, x, pooled)


@both_sets
@pytest.mark.parametrize("padding", [1, (2, 0), ((0, 3), (1, 2))])
def test_zero_padding2d(padding, ops):
    (top, bottom), (left, right) = ZeroPadding2D(padding).padding
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 2))
    layer_parity(ZeroPadding2D(padding), ops, x, lambda x: functional.pad(x, (left, right, top, bottom)))


@both_sets
@pytest.mark.parametrize(
    ("window", "strides"), [((3, 3), (1, 1)), ((2, 3), (2, 1)), ((4, 4), (2, 2)), ((1, 2), (3, 2))]
)
def test_conv2d_transpose(window, strides, ops):
    """PyTorch's output of a window smaller than its stride ends with the last window; there output_padding adds the rest."""
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 2))
    rest = [max(stride - size, 0) for size, stride in zip(window, strides, strict=True)]

    def transposed(x, kernel, bias):
        return functional.conv_transpose2d(x, kernel, bias, strides, output_padding=rest)

    layer_parity(Conv2DTranspose(3, window, strides), ops, x, transposed)


@both_sets
def test_conv2d_transpose_same(ops):
    """A 4×4 window with stride 2 has one padded cell on each side: the image becomes twice as large."""
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 2))
    layer_parity(
        Conv2DTranspose(3, 4, 2, padding="same"),
        ops,
        x,
        lambda x, kernel, bias: functional.conv_transpose2d(x, kernel, bias, 2, padding=1),
    )


@both_sets
@pytest.mark.parametrize(("pool", "strides"), [((2, 2), None), ((3, 2), (1, 1)), ((3, 4), (2, 1)), ((2, 2), (3, 3))])
def test_average_pooling2d(pool, strides, ops):
    x = np.random.default_rng(0).normal(size=(3, 7, 10, 4))
    layer_parity(AveragePooling2D(pool, strides), ops, x, lambda x: functional.avg_pool2d(x, pool, strides))


@both_sets
def test_average_pooling2d_does_not_count_padding(ops):
    """The odd window of "same" with stride 1 has one padded cell on each side, as PyTorch's padding=1."""
    x = np.random.default_rng(0).normal(size=(3, 6, 5, 2))
    layer_parity(
        AveragePooling2D(3, 1, "same"),
        ops,
        x,
        lambda x: functional.avg_pool2d(x, 3, 1, padding=1, count_include_pad=False),
    )


@both_sets
def test_pools_of_whole_images_and_upsampling(ops):
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 2))
    layer_parity(GlobalAveragePooling2D(), ops, x, lambda x: x.mean((2, 3)))
    layer_parity(GlobalMaxPooling2D(), ops, x, lambda x: x.amax((2, 3)))
    layer_parity(GlobalMaxPooling2D(keepdims=True), ops, x, lambda x: functional.adaptive_max_pool2d(x, 1))
    layer_parity(UpSampling2D((3, 2)), ops, x, lambda x: functional.interpolate(x, scale_factor=(3, 2)))


@both_sets
def test_layer_normalization(ops):
    x = np.random.default_rng(0).normal(size=(4, 6)) * 5 + 2
    layer_parity(LayerNormalization(), ops, x, lambda x, g, b: functional.layer_norm(x, (6,), g, b, 1e-3))
    layer_parity(
        LayerNormalization(epsilon=0.5, center=False), ops, x, lambda x, g: functional.layer_norm(x, (6,), g, None, 0.5)
    )


@both_sets
def test_relus(ops):
    x = np.random.default_rng(0).normal(size=(5, 6)) * 5
    layer_parity(LeakyReLU(), ops, x, lambda x: functional.leaky_relu(x, 0.3))
    layer_parity(ReLU(6), ops, x, functional.relu6)
    layer_parity(Softmax(), ops, x, lambda x: x.softmax(-1))


ACTIVATIONS = {
    "linear": lambda z: z,
    "relu": functional.relu,
    "leaky_relu": lambda z: functional.leaky_relu(z, 0.2),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softmax": lambda z: z.softmax(-1),
    "log_softmax": lambda z: z.log_softmax(-1),
    "elu": functional.elu,
    "selu": functional.selu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "swish": functional.silu,
    "softplus": lambda z: torch.logaddexp(z, torch.zeros_like(z)),  # its softplus is z above 20
    "relu6": functional.relu6,
    "hard_sigmoid": lambda z: functional.relu6(z + 3) / 6,  # its own slope is 1/6 in float32
}


@both_sets
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name, ops):
    """Of a layer of its own, with 0 and saturated inputs among the others, and of a Dense."""
    x = np.random.default_rng(0).normal(size=(5, 6)) * 3
    x[0] = [0, -0.0, 40, -40, 800, -800]
    layer_parity(Activation(name), ops, x, ACTIVATIONS[name])
    layer_parity(
        Dense(7, name), ops, x[1:], lambda x, kernel, bias: ACTIVATIONS[name](functional.linear(x, kernel, bias))
    )


# ------------------------------------------------------------------------------------------------------ losses, float64


def loss_parity(loss, y_true, y_pred, function):
    """A loss and its gradient, with and without weights; function(y_pred) is PyTorch's and gives the loss of each sample."""
    for weights in (None, np.random.default_rng(3).uniform(0, 3, len(y_pred))):
        value, cache = loss.forward(y_true, y_pred, sample_weight=weights)
        leaf = torch.tensor(y_pred, requires_grad=True)
        losses = function(leaf) if weights is None else function(leaf) * torch.tensor(weights)
        losses.mean().backward()
        agree(f"{type(loss).__name__}: loss", value, losses.mean().item(), "float64", "values")
        agree(f"{type(loss).__name__}: gradient", loss.backward(cache), leaf.grad.numpy(), "float64", "gradients")


LABELS = np.array([3, 0, 4, 4, 1, 2])
ONE_HOT = to_categorical(LABELS, 5)
SOFT = np.random.default_rng(1).dirichlet(np.ones(5), 6)


@pytest.mark.parametrize("size", [4, 1200], ids=["small", "exp overflows"])
def test_crossentropy_of_logits(size):
    logits = np.random.default_rng(0).normal(size=(6, 5)) * size

    def expected(target):
        return lambda z: functional.cross_entropy(z, torch.tensor(target), reduction="none")

    loss_parity(SparseCategoricalCrossentropy(from_logits=True), LABELS, logits, expected(LABELS))
    loss_parity(CategoricalCrossentropy(from_logits=True), ONE_HOT, logits, expected(LABELS))
    loss_parity(CategoricalCrossentropy(from_logits=True), SOFT, logits, expected(SOFT))


def test_crossentropy_of_probabilities():
    """They are divided by their sum: not only the label's entry has a gradient."""
    p = np.random.default_rng(1).uniform(0.1, 2, (6, 5))

    def expected(p):
        return functional.nll_loss((p / p.sum(1, keepdim=True)).log(), torch.tensor(LABELS), reduction="none")

    loss_parity(SparseCategoricalCrossentropy(), LABELS, p, expected)
    loss_parity(CategoricalCrossentropy(), ONE_HOT, p, expected)


@pytest.mark.parametrize("shape", [(6, 1), (6, 5), (6, 2, 3, 4)])
def test_mean_squared_error(shape):
    y_true, y_pred = np.random.default_rng(1).normal(size=(2, *shape))

    def expected(y):
        return functional.mse_loss(y, torch.tensor(y_true), reduction="none").flatten(1).mean(1)

    loss_parity(MeanSquaredError(), y_true, y_pred, expected)


def test_the_other_losses():
    """KL divergence as PyTorch has it, without the clip, which these numbers do not reach; hinge has no function there."""
    random = np.random.default_rng(1)
    y_true, y_pred = random.normal(size=(2, 6, 5)) * 2
    for loss, function in (
        (MeanAbsoluteError(), lambda y: functional.l1_loss(y, torch.tensor(y_true), reduction="none").mean(1)),
        (Huber(0.75), lambda y: functional.huber_loss(y, torch.tensor(y_true), reduction="none", delta=0.75).mean(1)),
    ):
        loss_parity(loss, y_true, y_pred, function)
    p = random.uniform(0.05, 0.95, (6, 5))

    def bce(function, t):
        return lambda y: function(y, torch.tensor(t), reduction="none").mean(1)

    loss_parity(BinaryCrossentropy(), SOFT, p, bce(functional.binary_cross_entropy, SOFT))
    smooth = SOFT * 0.8 + 0.1
    loss_parity(BinaryCrossentropy(label_smoothing=0.2), SOFT, p, bce(functional.binary_cross_entropy, smooth))
    logits = bce(functional.binary_cross_entropy_with_logits, SOFT)
    loss_parity(BinaryCrossentropy(from_logits=True), SOFT, y_pred * 300, logits)
    loss_parity(
        CategoricalCrossentropy(from_logits=True, label_smoothing=0.2),
        ONE_HOT,
        y_pred,
        lambda z: functional.cross_entropy(z, torch.tensor(LABELS), reduction="none", label_smoothing=0.2),
    )
    divergence = functional.kl_div
    loss_parity(KLDivergence(), SOFT, p, lambda y: divergence(y.log(), torch.tensor(SOFT), reduction="none").sum(1))


# ------------------------------------------------------------------------------------ optimizers and schedules, float64


@pytest.mark.parametrize(
    ("optimizer", "twin"),
    [
        (Adagrad(0.1, 0.5, 0), lambda w: torch.optim.Adagrad(w, 0.1, initial_accumulator_value=0.5, eps=0)),
        (Adadelta(2.0, 0.9, 1e-6), lambda w: torch.optim.Adadelta(w, 2.0, 0.9, 1e-6)),
        (Adamax(0.01, epsilon=0), lambda w: torch.optim.Adamax(w, 0.01, eps=0)),
        (Nadam(0.01), lambda w: torch.optim.NAdam(w, 0.01, eps=1e-7, momentum_decay=1)),
        (AdamW(0.01, 0.1, epsilon=0), lambda w: torch.optim.AdamW(w, 0.01, weight_decay=0.1, eps=0)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_optimizers(optimizer, twin):
    """50 steps of a vector. Where the two add ε in other places, it is 0."""
    random = np.random.default_rng(0)
    params = {"w": random.normal(size=10)}
    other = torch.nn.Parameter(torch.tensor(params["w"].copy()))
    stepper = twin([other])
    for _ in range(50):
        grad = random.normal(size=10) * 10.0 ** random.integers(-3, 3, 10)
        optimizer.step(params, {"w": grad})
        other.grad = torch.tensor(grad)
        stepper.step()
    agree(type(optimizer).__name__, params["w"], other.detach().numpy(), "float64", "steps")  # its Π μ is float32


@pytest.mark.parametrize("pct_start", [0.3, 0.5])
def test_one_cycle(pct_start):
    ours = schedules.OneCycle(0.5, 40, pct_start)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, 40, pct_start=pct_start, cycle_momentum=False)
    rates = []
    for _ in range(40):
        rates.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step() if len(rates) < 40 else None
    agree("OneCycle", [ours(step) for step in range(40)], rates, "float64", "losses")


# ------------------------------------------------------------------------------- gradcheck of another framework's operator


class Operator:
    """An operator of PyTorch's, with its autograd, by minidl's contract: what forward must remember is the graph."""

    def __init__(self, function, factor=1):
        self.function, self.factor = function, factor
        self.params = {"weight": np.random.default_rng(1).normal(size=(4, 4))}

    def forward(self, x, *, training=False, rng=None):
        leaves = [torch.tensor(value, requires_grad=True) for value in (x, self.params["weight"])]
        y = self.function(*leaves)
        return y.detach().numpy(), (y, leaves)

    def backward(self, dy, cache):
        y, leaves = cache
        dx, dweight = torch.autograd.grad(y, leaves, torch.tensor(dy), retain_graph=True)
        return dx.numpy(), {"weight": self.factor * dweight.numpy()}


def test_gradcheck_of_an_operator_of_pytorch():
    x = np.random.default_rng(0).normal(size=(3, 4))
    report = minidl.gradcheck(Operator(lambda x, weight: functional.gelu(x @ weight)), x)
    assert report.passed, str(report)
    assert [record.proved for record in report.records] == [12, 16]
    report = minidl.gradcheck(Operator(lambda x, weight: functional.gelu(x @ weight), factor=2), x)
    assert [record.failed for record in report.records] == [0, 16]
    assert "twice too large" in report.hints["weight"]
