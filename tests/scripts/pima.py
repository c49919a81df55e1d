# First neural network: diabetes or not, from a CSV file of eight numbers a patient
import numpy as np
from keras.layers import Dense
from keras.models import Sequential
from keras.utils import set_random_seed

set_random_seed(1)

# the file, with synthetic patients in it
rng = np.random.default_rng(0)
patients = rng.normal([4, 120, 70, 20, 80, 32, 0.5, 33], [3, 30, 12, 10, 60, 7, 0.3, 11], (300, 8)).clip(0)
risk = 0.04 * (patients[:, 1] - 120) + 0.1 * (patients[:, 5] - 32) + 0.03 * (patients[:, 7] - 33)
np.savetxt("pima-indians-diabetes.csv", np.column_stack([patients, risk > 0]), delimiter=",", fmt="%.3f")

dataset = np.loadtxt("pima-indians-diabetes.csv", delimiter=",")
X = dataset[:, 0:8]
y = dataset[:, 8]

model = Sequential()
model.add(Dense(12, input_shape=(8,), activation="relu"))
model.add(Dense(8, activation="relu"))
model.add(Dense(1, activation="sigmoid"))
model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])
model.fit(X, y, epochs=100, batch_size=10, verbose=0)

_, accuracy = model.evaluate(X, y, verbose=0)
print("Accuracy: %.2f" % (accuracy * 100))
predictions = (model.predict(X, verbose=0) > 0.5).astype(int)
for i in range(3):
    print("%s => %d (expected %d)" % (X[i].tolist(), predictions[i][0], y[i]))
