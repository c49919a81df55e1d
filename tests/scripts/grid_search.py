# Search for good hyperparameters by hand
import itertools

import numpy as np

import keras
from keras import layers, optimizers

rng = np.random.default_rng(0)
X = rng.uniform(-1, 1, (600, 2)).astype("float32")
y = ((X**2).sum(axis=1) > 0.6).astype("int64")

param_grid = {
    "units": [4, 16],
    "activation": ["relu", "tanh"],
    "learning_rate": [0.001, 0.02],
    "batch_size": [32],
}
results = []
for values in itertools.product(*param_grid.values()):
    params = dict(zip(param_grid, values))
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((2,)),
            layers.Dense(params["units"], activation=params["activation"], kernel_initializer="he_uniform"),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile(
        optimizer=optimizers.Adam(params["learning_rate"]), loss="sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    history = model.fit(X, y, epochs=12, batch_size=params["batch_size"], validation_split=0.25, verbose=0)
    best = max(history.history["val_accuracy"])
    results.append((best, params))
    print(f"{best:.3f} with {params}")
    del model

best, params = max(results, key=lambda result: result[0])
print("Best: %.3f using %s" % (best, params))
