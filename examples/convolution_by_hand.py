"""A small convolution, ReLU and max-pool with plain loops, forward and backward; then with the library, side by side.

You learn what a convolutional network computes and, more interestingly, how a gradient flows back through it, from a loss on
top: the pool passes it to the one place that won, the ReLU passes it on only where it let the value pass, and the convolution
passes it to every weight and every pixel that took part, added up over all places. Neither pass is vectorised: the innermost
line of its loops says how a single number is computed.

    python examples/convolution_by_hand.py
    python examples/convolution_by_hand.py --seed 3 --plot flow.png
"""

import argparse
import importlib.util

import numpy as np

import minidl
from minidl.layers import Conv2D, MaxPooling2D
from minidl.ops import reference
from minidl.optimizers import SGD

parser = argparse.ArgumentParser(description="A convolution, ReLU and pool with loops, and with the library.")
parser.add_argument("--epochs", type=int, default=5, help="steps of gradient descent, each on all images (default: 5)")
parser.add_argument("--batch-size", type=int, default=2, help="how many images to make up (default: 2)")
parser.add_argument("--seed", type=int, default=0, help="determines images, weights and gradients (default: 0)")
parser.add_argument("--threads", type=int, help="number of threads for the library; no effect on results")
parser.add_argument("--plot", metavar="PATH", help="draw the first image's path through both passes to this file")
args = parser.parse_args()
if args.plot and importlib.util.find_spec("matplotlib") is None:
    parser.error("--plot needs matplotlib: pip install 'minidl[plot]'")
if args.threads is not None:
    minidl.set_num_threads(args.threads)

# N images of H x W pixels with C channels; F filters of K x K; a map of OH x OW, one place for each position of the filter;
# a pool of 2 x 2. All made up, in double precision, so that a wrong gradient cannot pass for a rounded one.
N, H, W, C = args.batch_size, 6, 6, 2
K, F = 3, 2
OH, OW = H - K + 1, W - K + 1
PH, PW = OH // 2, OW // 2
rng = np.random.default_rng(args.seed)
x = rng.normal(size=(N, H, W, C))
kernel = rng.normal(size=(K, K, C, F))
bias = rng.normal(size=F)

target = rng.normal(size=(N, PH, PW, F))  # what the pooled maps should be

# ---------------------------------------------------------------------------------------------------------- 1. by hand


def forward(x, kernel, bias):
    """z (N, OH, OW, F), the convolution; y = ReLU(z); pooled (N, PH, PW, F); and where in y each of those was found."""
    z = np.zeros((N, OH, OW, F))
    for n in range(N):
        for i in range(OH):
            for j in range(OW):
                for f in range(F):
                    # The filter lies on the image with its corner at (i, j): multiply what coincides, and add up.
                    z[n, i, j, f] = bias[f]
                    for a in range(K):
                        for b in range(K):
                            for c in range(C):
                                z[n, i, j, f] += x[n, i + a, j + b, c] * kernel[a, b, c, f]
    y = np.maximum(z, 0)  # ReLU

    pooled = np.zeros((N, PH, PW, F))
    winner = np.zeros((N, PH, PW, F, 2), int)  # backward has to know who won
    for n in range(N):
        for i in range(PH):
            for j in range(PW):
                for f in range(F):
                    best = -np.inf
                    for row in (2 * i, 2 * i + 1):
                        for column in (2 * j, 2 * j + 1):
                            if y[n, row, column, f] > best:
                                best = y[n, row, column, f]
                                winner[n, i, j, f] = row, column
                    pooled[n, i, j, f] = best
    return z, y, pooled, winner


def squared_error(pooled):
    """The loss, the mean squared distance from the target, and how it changes with each of the pooled numbers."""
    difference = pooled - target
    return (difference**2).mean(), 2 * difference / difference.size


def backward(dpooled, x, kernel, z, winner):
    """The same way back: dy and dz (N, OH, OW, F), dx like x, dkernel like kernel, dbias like bias."""
    # Pool: only the winner affected the output, so it gets the whole gradient, and the three others get nothing.
    dy = np.zeros((N, OH, OW, F))
    for n in range(N):
        for i in range(PH):
            for j in range(PW):
                for f in range(F):
                    row, column = winner[n, i, j, f]
                    dy[n, row, column, f] += dpooled[n, i, j, f]

    # ReLU: where it gave 0, a small change of z changes nothing. A winner may be 0, too: then its gradient ends here.
    dz = np.where(z > 0, dy, 0)

    dx, dkernel, dbias = np.zeros_like(x), np.zeros_like(kernel), np.zeros_like(bias)
    for n in range(N):
        for i in range(OH):
            for j in range(OW):
                for f in range(F):
                    # Convolution: each product above had two factors, and the gradient of one is dz times the other.
                    # A weight is used at every place, and a pixel by every filter that covers it: hence the +=.
                    dbias[f] += dz[n, i, j, f]
                    for a in range(K):
                        for b in range(K):
                            for c in range(C):
                                dkernel[a, b, c, f] += dz[n, i, j, f] * x[n, i + a, j + b, c]
                                dx[n, i + a, j + b, c] += dz[n, i, j, f] * kernel[a, b, c, f]
    return dy, dz, dx, dkernel, dbias


z, y, pooled, winner = forward(x, kernel, bias)
loss, dpooled = squared_error(pooled)
dy, dz, dx, dkernel, dbias = backward(dpooled, x, kernel, z, winner)

# ---------------------------------------------------------------------------------------------- 2. is it right? Try it

# Move each number a little to both sides and see what the loss does.


def numeric_gradient(array):
    """How the loss changes with each entry of x, kernel or bias, which is changed in place and restored."""
    step = 1e-6
    result = np.zeros_like(array)
    for place in np.ndindex(array.shape):
        value = array[place]
        array[place] = value + step
        above, _ = squared_error(forward(x, kernel, bias)[2])
        array[place] = value - step
        below, _ = squared_error(forward(x, kernel, bias)[2])
        array[place] = value
        result[place] = (above - below) / (2 * step)
    return result


# ----------------------------------------------------------------------------------------------- 3. the same, with minidl

conv = Conv2D(F, K, activation="relu")
pool = MaxPooling2D()
map_shape = conv.build((H, W, C), rng, np.dtype("float64"))  # allocates weights, which we replace with ours
pool.build(map_shape, rng, np.dtype("float64"))
conv.set_weights([kernel, bias])

# forward returns its result and a cache of all that backward will need; the layer itself remembers nothing of the data.
library_y, conv_cache = conv.forward(x)
library_pooled, pool_cache = pool.forward(library_y)
library_dy, _ = pool.backward(dpooled, pool_cache)
library_dx, library_gradients = conv.backward(library_dy, conv_cache)
# The ReLU is a part of the layer: what is inside, z and dz, the library's operations show.
library_z = reference.conv2d_forward(x, kernel, bias, (1, 1), "valid")
library_dz = reference.relu_backward(library_dy, library_y)


def side_by_side(title, ours, theirs):
    """Print two small matrices next to each other."""
    width = 8 * ours.shape[1]
    print(f"\n{title}\n{'by hand':>{width}}   {'library':>{width}}")
    for left, right in zip(ours, theirs, strict=True):
        print("".join(f"{value:8.3f}" for value in left) + "   " + "".join(f"{value:8.3f}" for value in right))


print(f"{N} images of {H} x {W} pixels with {C} channels; {F} filters of {K} x {K}; a pool of 2 x 2.")
print(f"Shown are image 0 and filter 0. The loss is {loss:.6f}.")
side_by_side("Forward: z, the map after the convolution", z[0, :, :, 0], library_z[0, :, :, 0])
side_by_side("Forward: the map after convolution and ReLU", y[0, :, :, 0], library_y[0, :, :, 0])
side_by_side("Forward: the map after the pool", pooled[0, :, :, 0], library_pooled[0, :, :, 0])
side_by_side(
    "Backward: dpooled, from the loss", dpooled[0, :, :, 0], 2 * (library_pooled - target)[0, :, :, 0] / target.size
)
side_by_side("Backward: dy, to the winner of each pool", dy[0, :, :, 0], library_dy[0, :, :, 0])
side_by_side("Backward: dz, which is 0 where ReLU gave 0", dz[0, :, :, 0], library_dz[0, :, :, 0])
for c in range(C):
    library = library_gradients["kernel"][:, :, c, 0]
    side_by_side(f"Backward: the gradient of the kernel, channel {c}", dkernel[:, :, c, 0], library)
side_by_side("Backward: the gradient of the image, channel 0", dx[0, :, :, 0], library_dx[0, :, :, 0])

print("\nGreatest difference, over all images, channels and filters, between by hand and")
print(f"{'':10}{'library':>10}{'numeric':>10}")
print(f"{'pooled':10}{np.abs(pooled - library_pooled).max():10.1e}")
for name, ours, theirs, array in (
    ("dx", dx, library_dx, x),
    ("dkernel", dkernel, library_gradients["kernel"], kernel),
    ("dbias", dbias, library_gradients["bias"], bias),
):
    numeric = numeric_gradient(array)
    print(f"{name:10}{np.abs(ours - theirs).max():10.1e}{np.abs(ours - numeric).max():10.1e}")

# ----------------------------------------------------------------------------------------- 4. gradient descent, both ways

# Each step goes against the gradient of the kernel and the bias.
learning_rate = 0.1
model = minidl.Sequential([Conv2D(F, K, activation="relu", input_shape=(H, W, C)), MaxPooling2D()], dtype="float64")
model.set_weights([kernel, bias])
model.compile(loss="mean_squared_error", optimizer=SGD(learning_rate))

print(f"\nGradient descent, learning rate {learning_rate}")
print(f"{'step':10}{'loss by hand':>16}{'library':>16}")
for number in range(1, args.epochs + 1):
    step_z, _, step_pooled, winners = forward(x, kernel, bias)
    loss, step_dpooled = squared_error(step_pooled)
    _, _, _, dkernel, dbias = backward(step_dpooled, x, kernel, step_z, winners)
    kernel -= learning_rate * dkernel
    bias -= learning_rate * dbias

    library_loss = model.train_on_batch(x, target)  # the loss before the step, as above
    print(f"{number:<10}{loss:16.9f}{library_loss:16.9f}")
library_kernel, library_bias = model.get_weights()
difference = max(np.abs(kernel - library_kernel).max(), np.abs(bias - library_bias).max())
print(f"\nGreatest difference between the weights of both in the end: {difference:.1e}")

if args.plot:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 4, figsize=(12, 6), layout="constrained")
    pictures = [
        ("1. image x, channel 0", x[0, :, :, 0]),
        ("2. z, filter 0", z[0, :, :, 0]),
        ("3. y = ReLU(z)", y[0, :, :, 0]),
        ("4. pooled", pooled[0, :, :, 0]),
        ("8. dx, channel 0", dx[0, :, :, 0]),
        ("7. dz: 0 where ReLU gave 0", dz[0, :, :, 0]),
        ("6. dy: to the winners alone", dy[0, :, :, 0]),
        ("5. dpooled, from the loss", dpooled[0, :, :, 0]),
    ]
    for axis, (title, picture) in zip(axes.flat, pictures, strict=True):
        limit = np.abs(picture).max() or 1  # white is 0, red is above, blue is below
        axis.imshow(picture, cmap="RdBu_r", vmin=-limit, vmax=limit)
        axis.set_title(title, fontsize=10)
        axis.set(xticks=[], yticks=[])
    figure.suptitle("forward from left to right, then backward from right to left; red is above 0, blue is below")
    figure.savefig(args.plot, dpi=120)
    print(f"\nWrote {args.plot}")
