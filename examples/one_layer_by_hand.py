"""A dense layer, its loss and its gradient with nothing but NumPy; then the same with the library, side by side.

You learn what "backpropagation" is in the smallest case that has everything: a few samples with three features each, one
Dense layer, a softmax and a cross-entropy. Everything that the library does for this layer is done here in ten lines; then
a numeric check shows, without any calculus, that the gradient is right; then gradient descent is run both ways.

    python examples/one_layer_by_hand.py
    python examples/one_layer_by_hand.py --batch-size 40 --epochs 20 --plot losses.png
"""

import argparse
import importlib.util

import numpy as np

import minidl
from minidl.layers import Dense
from minidl.optimizers import SGD

parser = argparse.ArgumentParser(description="A dense layer and its gradient, by hand and with the library.")
parser.add_argument("--epochs", type=int, default=5, help="steps of gradient descent, each on all samples (default: 5)")
parser.add_argument("--batch-size", type=int, default=4, help="how many samples to make up (default: 4)")
parser.add_argument("--seed", type=int, default=0, help="determines samples and weights (default: 0)")
parser.add_argument(
    "--threads", type=int, help="number of threads for the library; no effect on results (default: one per core)"
)
parser.add_argument("--plot", metavar="PATH", help="draw the losses of both ways to this file, e.g. losses.png")
args = parser.parse_args()
if args.plot and importlib.util.find_spec("matplotlib") is None:
    parser.error("--plot needs matplotlib: pip install 'minidl[plot]'")
if args.threads is not None:
    minidl.set_num_threads(args.threads)

# N samples x with D features, each with a label that says which of K classes it belongs to, all made up. Double precision:
# single precision has about seven digits, too few to tell a wrong gradient from a rounded one.
N, D, K = args.batch_size, 3, 3
rng = np.random.default_rng(args.seed)
x = rng.normal(size=(N, D))
labels = rng.integers(K, size=N)
kernel = rng.normal(size=(D, K))
bias = rng.normal(size=K)


# ---------------------------------------------------------------------------------------------------------- 1. by hand


def forward(kernel, bias):
    """The loss, and the probabilities p (N, K) that it comes from."""
    z = x @ kernel + bias  # the Dense layer: a score for each sample and class, (N, K)
    z = z - z.max(axis=1, keepdims=True)  # changes no probability, but keeps exp from overflowing
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)  # softmax: each row is positive and adds up to 1
    p_of_label = p[np.arange(N), labels]  # the probability given to each sample's true class
    return -np.log(p_of_label).mean(), p  # cross-entropy: 0 where that probability is 1, large where it is small


def gradient(p):
    """How the loss changes with each entry of kernel and bias. This is the whole of backpropagation for one layer."""
    # Through the mean, the logarithm and the softmax at once. The three derivatives together collapse to "probability minus
    # truth": a class that got 0.3 and should have 0 is pushed down by 0.3, the true class is pushed up by what it lacks.
    one_hot = np.eye(K)[labels]
    dz = (p - one_hot) / N  # (N, K)
    # Through z = x @ kernel + bias. kernel[i, k] is multiplied by x[n, i] and lands in z[n, k], in every sample n; so its
    # gradient is the sum over n of x[n, i] * dz[n, k], and that is a matrix product.
    dkernel = x.T @ dz  # (D, K)
    dbias = dz.sum(axis=0)  # (K,): the bias is added to every sample
    return dkernel, dbias


loss, p = forward(kernel, bias)
dkernel, dbias = gradient(p)

# ---------------------------------------------------------------------------------------------- 2. is it right? Try it

# Move one weight a little to both sides and look at what the loss does: the definition of a derivative, and slow, with two
# forward passes for each weight. It needs no calculus, so it cannot share a mistake with the code above.
step = 1e-5
numeric_dkernel = np.zeros_like(kernel)
for i in range(D):
    for k in range(K):
        nudge = np.zeros_like(kernel)
        nudge[i, k] = step
        rise = forward(kernel + nudge, bias)[0] - forward(kernel - nudge, bias)[0]
        numeric_dkernel[i, k] = rise / (2 * step)
numeric_dbias = np.zeros_like(bias)
for k in range(K):
    nudge = np.zeros_like(bias)
    nudge[k] = step
    numeric_dbias[k] = (forward(kernel, bias + nudge)[0] - forward(kernel, bias - nudge)[0]) / (2 * step)

# ----------------------------------------------------------------------------------------------- 3. the same, with minidl

model = minidl.Sequential([Dense(K, activation="softmax", input_shape=(D,))], dtype="float64")
model.set_weights([kernel, bias])
learning_rate = 0.2
model.compile(loss="sparse_categorical_crossentropy", optimizer=SGD(learning_rate))
library_loss, library_gradients = model.loss_and_gradients(x, labels)

print(f"{N} samples of {D} features, {K} classes\n")
print(f"{'':13}{'by hand':>14}{'numeric':>14}{'library':>14}")
print(f"{'loss':13}{loss:14.9f}{'':14}{library_loss:14.9f}")
print("gradient of")
for i in range(D):
    for k in range(K):
        library = library_gradients["dense/kernel"][i, k]
        print(f"kernel[{i}, {k}] {dkernel[i, k]:14.9f}{numeric_dkernel[i, k]:14.9f}{library:14.9f}")
for k in range(K):
    library = library_gradients["dense/bias"][k]
    print(f"bias[{k}]      {dbias[k]:14.9f}{numeric_dbias[k]:14.9f}{library:14.9f}")
difference = max(np.abs(dkernel - numeric_dkernel).max(), np.abs(dbias - numeric_dbias).max())
print(f"\nGreatest difference between by hand and numeric: {difference:.1e}")
difference = max(
    np.abs(dkernel - library_gradients["dense/kernel"]).max(), np.abs(dbias - library_gradients["dense/bias"]).max()
)
print(f"Greatest difference between by hand and library: {difference:.1e}")

# ----------------------------------------------------------------------------------------- 4. gradient descent, both ways

# The gradient points to where the loss grows fastest, so a small step against it makes the loss smaller. That is all there is
# to training: this loop, with more layers and different samples each time.
print(f"\nGradient descent, learning rate {learning_rate}")
print(f"{'step':13}{'loss by hand':>14}{'':14}{'library':>14}")
by_hand, by_library = [loss], [library_loss]
print(f"{0:<13}{loss:14.9f}{'':14}{library_loss:14.9f}")
for number in range(1, args.epochs + 1):
    dkernel, dbias = gradient(p)
    kernel -= learning_rate * dkernel
    bias -= learning_rate * dbias
    loss, p = forward(kernel, bias)

    model.train_on_batch(x, labels)
    library_loss = model.evaluate(x, labels, verbose=0)

    by_hand.append(loss)
    by_library.append(library_loss)
    print(f"{number:<13}{loss:14.9f}{'':14}{library_loss:14.9f}")
library_kernel, library_bias = model.get_weights()
difference = max(np.abs(kernel - library_kernel).max(), np.abs(bias - library_bias).max())
print(f"\nGreatest difference between the weights of both in the end: {difference:.1e}")

if args.plot:
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(5, 3.6), layout="constrained")
    axis.plot(by_hand, linewidth=5, alpha=0.4, label="by hand")
    axis.plot(by_library, color="black", linewidth=1, label="with minidl")
    axis.set(title="gradient descent", xlabel="step", ylabel="loss")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(args.plot, dpi=120)
    print(f"Wrote {args.plot}")
