# What does the network see? The output of a layer in the middle, with the functional API
import numpy as np

import keras
from keras import layers
from keras.models import Model

model = keras.Sequential(
    [
        keras.Input((28, 28, 1)),
        layers.Conv2D(4, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(10, activation="softmax"),
    ]
)
activation_model = Model(inputs=model.inputs, outputs=[layer.output for layer in model.layers[:2]])
activations = activation_model.predict(np.zeros((1, 28, 28, 1)))
print([activation.shape for activation in activations])
