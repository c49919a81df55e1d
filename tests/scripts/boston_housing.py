# Predicting house prices: a regression, with k-fold validation as there are few samples
import numpy as np

import keras
from keras import layers, models

keras.utils.set_random_seed(5)

rng = np.random.default_rng(0)
data = rng.lognormal(0, 0.5, (200, 13))
targets = 20 + 6 * np.log(data[:, 5]) - 4 * np.log(data[:, 12]) + rng.normal(0, 0.5, 200)
train_data, test_data = data[:160], data[160:]
train_targets, test_targets = targets[:160], targets[160:]

mean = train_data.mean(axis=0)
train_data -= mean
std = train_data.std(axis=0)
train_data /= std
test_data -= mean
test_data /= std


def build_model():
    model = models.Sequential()
    model.add(layers.Dense(64, activation="relu", input_shape=(train_data.shape[1],)))
    model.add(layers.Dense(64, activation="relu"))
    model.add(layers.Dense(1))
    model.compile(optimizer="rmsprop", loss="mse", metrics=["mae"])
    return model


k = 4
num_val_samples = len(train_data) // k
all_mae_histories = []
for i in range(k):
    print("processing fold #", i)
    val_data = train_data[i * num_val_samples : (i + 1) * num_val_samples]
    val_targets = train_targets[i * num_val_samples : (i + 1) * num_val_samples]
    partial_train_data = np.concatenate([train_data[: i * num_val_samples], train_data[(i + 1) * num_val_samples :]], axis=0)
    partial_train_targets = np.concatenate(
        [train_targets[: i * num_val_samples], train_targets[(i + 1) * num_val_samples :]], axis=0
    )
    model = build_model()
    history = model.fit(
        partial_train_data,
        partial_train_targets,
        validation_data=(val_data, val_targets),
        epochs=40,
        batch_size=16,
        verbose=0,
    )
    all_mae_histories.append(history.history["val_mae"])

average_mae_history = [np.mean([x[i] for x in all_mae_histories]) for i in range(40)]
print("first and last epoch:", average_mae_history[0], average_mae_history[-1])

model = build_model()
model.fit(train_data, train_targets, epochs=100, batch_size=16, verbose=0)
test_mse_score, test_mae_score = model.evaluate(test_data, test_targets, verbose=0)
print("Test MAE: %.2f" % test_mae_score)
print(model.predict(test_data[:2], verbose=0).flatten(), test_targets[:2])
