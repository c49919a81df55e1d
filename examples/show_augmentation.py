"""Look at what augmentation does to digits.

You learn what a network is told not to care about. Each row is one layer, each column one digit, the first row the digits as they
are. In training, a network never sees the same image twice, and what it cannot rely on it does not learn. A layer that makes
your own digits unreadable teaches it nothing: look before you train.

    python examples/show_augmentation.py --plot augmentation.png
"""

import argparse
import importlib.util

import minidl
from minidl.datasets import mnist
from minidl.layers import (
    RandomAffine,
    RandomElasticTransform,
    RandomErasing,
    RandomRotation,
    RandomShear,
    RandomTranslation,
    RandomZoom,
)
from minidl.ops.random import RandomKey

parser = argparse.ArgumentParser(description="Draw digits as the augmentation layers change them.")
parser.add_argument("--seed", type=int, default=0, help="determines all random numbers (default: 0)")
parser.add_argument("--digits", type=int, default=12, help="how many columns (default: 12)")
parser.add_argument("--plot", metavar="PATH", default="augmentation.png", help="(default: augmentation.png)")
args = parser.parse_args()
if importlib.util.find_spec("matplotlib") is None:
    parser.error("this needs matplotlib: pip install 'minidl[plot]'")

dark = {"fill_mode": "constant", "fill_value": 0}  # outside of a digit there is no ink
LAYERS = {
    "RandomTranslation(0.15, 0.15)": RandomTranslation(0.15, 0.15, **dark),
    "RandomRotation(0.08)": RandomRotation(0.08, **dark),
    "RandomZoom(0.3, 0.3)": RandomZoom(0.3, 0.3, **dark),
    "RandomShear(0.3)": RandomShear(0.3, **dark),
    "RandomElasticTransform((1, 1), (1, 1))": RandomElasticTransform((1, 1), (1, 1), **dark),
    "RandomErasing((1, 1), (0.02, 0.15), 128)": RandomErasing((1, 1), (0.02, 0.15), 128),
    "RandomAffine(0.04, 0.09, 0.12, 0.15)": RandomAffine(0.04, 0.09, 0.12, 0.15, **dark),
}

(x_train, _), _ = mnist.load_data()
digits = x_train[: args.digits, :, :, None]

# A layer outside of a model is a function: in training, its random numbers follow from the key.
rows = {"as they are": digits}
for place, (name, layer) in enumerate(LAYERS.items()):
    rows[name], _ = layer.forward(digits, training=True, rng=RandomKey(args.seed, 0).layer(place))

import matplotlib.pyplot as plt  # noqa: E402 (an error message comes first where it is missing)

figure, axes = plt.subplots(
    len(rows), len(digits), figsize=(max(4, len(digits)), 1.3 * len(rows)), squeeze=False, layout="constrained"
)
for row, (name, images) in zip(axes, rows.items(), strict=True):
    for axis, image in zip(row, images[..., 0], strict=True):
        axis.imshow(image, cmap="gray_r", vmin=0, vmax=255)
        axis.axis("off")
    row[0].set_title(name, loc="left", fontsize=10).set_in_layout(False)
figure.suptitle(f"minidl {minidl.__version__}: one key, {len(LAYERS)} layers")
figure.savefig(args.plot, dpi=100)
print(f"Wrote {args.plot}")
