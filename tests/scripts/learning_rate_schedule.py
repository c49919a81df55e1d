# Three ways to let the learning rate fall
import math

import numpy as np

import keras
from keras.callbacks import LearningRateScheduler, ReduceLROnPlateau
from keras.layers import Dense
from keras.models import Sequential
from keras.optimizers import SGD

keras.utils.set_random_seed(13)
rng = np.random.default_rng(0)
X = rng.normal(size=(300, 8))
y = (X[:, :3].sum(axis=1) > 0).astype(int)


def build(optimizer):
    model = Sequential([Dense(16, activation="relu", input_shape=(8,)), Dense(2, activation="softmax")])
    model.compile(loss="sparse_categorical_crossentropy", optimizer=optimizer, metrics=["accuracy"])
    return model


# 1: by steps, with a callback
def step_decay(epoch):
    initial_lrate = 0.1
    drop = 0.5
    epochs_drop = 5.0
    return initial_lrate * math.pow(drop, math.floor((1 + epoch) / epochs_drop))


model = build(SGD(learning_rate=0.0, momentum=0.9))
history = model.fit(X, y, epochs=15, batch_size=28, callbacks=[LearningRateScheduler(step_decay)], verbose=0)
print("rates:", [round(float(rate), 4) for rate in history.history["learning_rate"]])

# 2: on a plateau
model = build(SGD(learning_rate=0.1))
model.fit(X, y, validation_split=0.3, epochs=15, callbacks=[ReduceLROnPlateau(patience=2, min_lr=1e-4)], verbose=0)

# 3: a schedule in the optimizer
schedule = keras.optimizers.schedules.ExponentialDecay(initial_learning_rate=0.1, decay_steps=100, decay_rate=0.9)
model = build(SGD(learning_rate=schedule))
model.fit(X, y, epochs=15, batch_size=28, verbose=0)
print("accuracy: %.3f" % model.evaluate(X, y, verbose=0)[1])
