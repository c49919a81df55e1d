# Which digits are mistaken for which? A report by class, and the confusion matrix
import numpy as np
from sklearn.metrics import classification_report, confusion_matrix

import keras
from keras.datasets import mnist
from keras.layers import Conv2D, Dense, Flatten, MaxPooling2D
from keras.models import Sequential

keras.utils.set_random_seed(11)

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train = np.expand_dims(x_train[:4000] / 255.0, -1)
x_test = np.expand_dims(x_test[:1000] / 255.0, -1)
y_train, y_test = y_train[:4000], y_test[:1000]

model = Sequential(
    [
        Conv2D(8, kernel_size=(3, 3), activation="relu", input_shape=(28, 28, 1)),
        MaxPooling2D(pool_size=(2, 2)),
        Flatten(),
        Dense(10, activation="softmax"),
    ]
)
model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=64, epochs=3, verbose=0)

y_pred = model.predict(x_test, verbose=0).argmax(axis=-1)
print(classification_report(y_test, y_pred, digits=3))
matrix = confusion_matrix(y_test, y_pred)
print(matrix)
np.fill_diagonal(matrix, 0)
print("most often mistaken (true, predicted):", np.unravel_index(matrix.argmax(), matrix.shape))
print("accuracy: %.3f" % (y_pred == y_test).mean())
