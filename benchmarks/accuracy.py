"""Test error of the tutorial's three models after its 10 epochs at batch 200, for several seeds.

    python -m benchmarks.accuracy --seeds 3

One run proves nothing at 1 % of 10,000 images, where the sampling error is 0.1 points: look at the mean.
"""

import argparse
import statistics

from minidl.datasets import mnist

from .models import MODELS, compiled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 on")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=200)
    options = parser.parse_args()
    (x_train, y_train), (x_test, y_test) = mnist.load_data()
    x_train, x_test = (x[..., None].astype("float32") / 255 for x in (x_train, x_test))
    for name in options.models:
        errors = []
        for seed in range(options.seeds):
            model = compiled(name, seed)
            model.fit(x_train, y_train, batch_size=options.batch_size, epochs=options.epochs, verbose=0)
            errors.append(100 * (1 - model.evaluate(x_test, y_test, verbose=0)[1]))
            print(f"{name}, seed {seed}: {errors[-1]:.2f} % test error", flush=True)
        print(f"{name}: mean {statistics.mean(errors):.2f} % of {options.seeds} seeds", flush=True)


if __name__ == "__main__":
    main()
