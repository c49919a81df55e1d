"""Train the tutorial's three models again and again, and print whether the bits are the same: docs/reproducibility.md.

    python tests/stress/same_bits.py

Every training is a process of its own. The first table is runs × threads; the second has everything else that must not
matter; the third shows what does matter: other code in BLAS, Numba or NumPy, as another processor would run it. Ends with
status 1 where bits differ in the first two.
"""

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
from threadpoolctl import threadpool_info

from minidl import Sequential
from minidl.datasets import mnist
from minidl.layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D, Rescaling

MODELS = ("mlp", "cnn", "cnn_large")
# name → how the training differs from the plain one, as the child's argument
CONDITIONS = {
    "built after other models": "others",
    "beside another training": "beside",
    "without validation": "alone",
    "with progress output": "verbose",
    "in a scattered memory": "memory",
}
NUMPY = sys.modules.get("numpy._core._multiarray_umath") or sys.modules["numpy.core._multiarray_umath"]
# name → environment. Each lets one library believe in another processor.
PROCESSORS = {
    "OpenBLAS: SkylakeX (AVX-512)": {"OPENBLAS_CORETYPE": "SkylakeX"},
    "OpenBLAS: Haswell (AVX2)": {"OPENBLAS_CORETYPE": "Haswell"},
    "OpenBLAS: Sandybridge (AVX)": {"OPENBLAS_CORETYPE": "Sandybridge"},
    "OpenBLAS: Prescott (SSE3)": {"OPENBLAS_CORETYPE": "Prescott"},
    "Numba: AVX2": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"},
    "Numba: no vectors beyond SSE2": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
    "NumPy: no AVX-512": {
        "NPY_DISABLE_CPU_FEATURES": " ".join(
            name for name in NUMPY.__cpu_dispatch__ if "512" in name or name == "X86_V4"
        )
    },
    "NumPy: nothing beyond its baseline": {"NPY_DISABLE_CPU_FEATURES": " ".join(NUMPY.__cpu_dispatch__)},
}
SETTINGS = (
    "OPENBLAS_CORETYPE",
    "NUMBA_CPU_NAME",
    "NUMBA_CPU_FEATURES",
    "NPY_DISABLE_CPU_FEATURES",
    "MINIDL_NUM_THREADS",
)


def build(name: str, seed: int = 1) -> Sequential:
    """One of the tutorial's models, for images (28, 28, 1) of bytes."""
    layers = {
        "mlp": [Flatten(), Dense(784, activation="relu")],
        "cnn": [
            Conv2D(32, (5, 5), activation="relu"),
            MaxPooling2D(),
            Dropout(0.2),
            Flatten(),
            Dense(128, activation="relu"),
        ],
        "cnn_large": [
            Conv2D(30, (5, 5), activation="relu"),
            MaxPooling2D(),
            Conv2D(15, (3, 3), activation="relu"),
            MaxPooling2D(),
            Dropout(0.2),
            Flatten(),
            Dense(128, activation="relu"),
            Dense(50, activation="relu"),
        ],
    }[name]
    model = Sequential(
        [Rescaling(1 / 255, input_shape=(28, 28, 1)), *layers, Dense(10, activation="softmax")], seed=seed
    )
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model


def train(model: Sequential, condition: str) -> dict[str, bytes]:
    """Two epochs of 1,030 digits, the last batch of 30: what came of it."""
    (x, y), (x_test, y_test) = mnist.load_data()
    x, x_test = x[:1030, ..., None], x_test[:300, ..., None]
    validation = None if condition == "alone" else (x_test, y_test[:300])
    history = model.fit(
        x,
        y[:1030],
        batch_size=200,
        epochs=2,
        validation_data=validation,
        verbose=2 if condition == "verbose" else 0,
    )
    training = {name: values for name, values in history.history.items() if not name.startswith("val_")}
    return {
        "weights": b"".join(value.tobytes() for value in model.get_weights()),
        "history": json.dumps(training).encode(),
        "predictions": model.predict(x_test, verbose=0).tobytes(),
    }


def child(condition: str, path: str) -> None:
    """Train all models under this condition and write what came of them to the path."""
    results = {}
    for name in MODELS:
        if (
            condition == "memory"
        ):  # what is allocated from here on lies at other addresses, in memory that was used before
            rng = np.random.default_rng()
            held = [np.full(rng.integers(1, 50_000), np.nan, np.float32) for _ in range(2000)]
            del held[:: rng.integers(2, 5)]
        if condition == "others":
            for seed in range(3):
                other = build(MODELS[seed], seed)
                other.predict(np.zeros((20, 28, 28, 1)), verbose=0)
        if condition == "beside":
            with ThreadPoolExecutor(2) as pool:
                beside = pool.submit(train, build("cnn", 5), "plain")
                result = pool.submit(train, build(name), condition).result()
                beside.result()
        else:
            result = train(build(name), condition)
        results |= {f"{name}/{part}": np.frombuffer(value, np.uint8) for part, value in result.items()}
    np.savez(path, **results)


def run(condition: str = "plain", **environment: str) -> dict[str, bytes]:
    """What came of a training in a process of its own: "model/part" → bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.npz"
        subprocess.run(
            [sys.executable, __file__, "--child", condition, path],
            env={**{key: value for key, value in os.environ.items() if key not in SETTINGS}, **environment},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        with np.load(path) as results:
            return {name: results[name].tobytes() for name in results.files}


def short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


def furthest(one: dict[str, bytes], other: dict[str, bytes], name: str) -> float:
    """The largest difference of two predicted probabilities."""
    first, second = (np.frombuffer(results[f"{name}/predictions"], np.float32) for results in (one, other))
    return float(np.abs(first - second).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return

    first: dict[str, bytes] = {}
    different = 0
    head = "".join(f" | {name}: weights, history, predictions" for name in MODELS)
    print(f"| threads | run{head} |\n|---|---" + "|---" * len(MODELS) + "|")
    for threads in options.threads:
        for i in range(options.runs):
            found = run(MINIDL_NUM_THREADS=str(threads))
            first = first or found
            different += found != first
            hashes = (
                " ".join(short(found[f"{name}/{part}"]) for part in ("weights", "history", "predictions"))
                for name in MODELS
            )
            print(f"| {threads} | {i + 1} | {' | '.join(hashes)} |", flush=True)

    print("\n| training | the same bits |\n|---|---|")
    for text, condition in CONDITIONS.items():
        same = run(condition) == first
        different += not same
        print(f"| {text} | {'yes' if same else 'NO'} |", flush=True)

    print(
        "\n| as on another processor"
        + "".join(f" | {name}" for name in MODELS)
        + " |\n|---"
        + "|---" * len(MODELS)
        + "|"
    )
    for text, environment in PROCESSORS.items():
        found = run(**environment)
        cells = []
        for name in MODELS:
            same = all(
                found[f"{name}/{part}"] == first[f"{name}/{part}"] for part in ("weights", "history", "predictions")
            )
            cells.append(
                "the same bits" if same else f"other bits, probabilities {furthest(found, first, name):.0e} apart"
            )
        print(f"| {text} | {' | '.join(cells)} |", flush=True)

    versions = f"NumPy {np.__version__}, Numba {numba.__version__}"
    blas = [
        (library["internal_api"], library["version"]) for library in threadpool_info() if library["user_api"] == "blas"
    ]
    print(f"\nPython {platform.python_version()}, {versions}, {', '.join(' '.join(map(str, each)) for each in blas)}")
    print(f"{different} trainings with other bits in the first two tables")
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
