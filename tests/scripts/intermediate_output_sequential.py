# What does the network see? The output of a layer in the middle, with a second Sequential that shares its layers
import numpy as np

import keras
from keras import layers
from keras.datasets import mnist

keras.utils.set_random_seed(14)
(x_train, y_train), _ = mnist.load_data()
x = (x_train[:1000] / 255.0).reshape(-1, 28, 28, 1)

model = keras.Sequential(
    [
        keras.Input((28, 28, 1)),
        layers.Conv2D(4, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x, y_train[:1000], epochs=2, verbose=0)

for layer in model.layers:
    print(layer.name, layer.output_shape, layer.count_params())

feature_extractor = keras.Sequential(model.layers[:2])
features = feature_extractor.predict(x[:5], verbose=0)
print("features:", features.shape)
whole = model.predict(x[:5], verbose=0)
rest = keras.Sequential(model.layers[2:]).predict(features, verbose=0)
print("largest difference: %.6f" % np.abs(whole - rest).max())
