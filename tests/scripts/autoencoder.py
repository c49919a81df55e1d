# A convolutional autoencoder that takes the noise out of digits
import numpy as np

import keras
from keras.datasets import mnist
from keras.layers import Conv2D, MaxPooling2D, UpSampling2D
from keras.models import Sequential

keras.utils.set_random_seed(6)

(x_train, _), (x_test, _) = mnist.load_data()
x_train = x_train[:1000].astype("float32") / 255.0
x_test = x_test[:100].astype("float32") / 255.0
x_train = np.reshape(x_train, (len(x_train), 28, 28, 1))
x_test = np.reshape(x_test, (len(x_test), 28, 28, 1))

noise_factor = 0.4
x_train_noisy = x_train + noise_factor * np.random.normal(loc=0.0, scale=1.0, size=x_train.shape)
x_test_noisy = x_test + noise_factor * np.random.normal(loc=0.0, scale=1.0, size=x_test.shape)
x_train_noisy = np.clip(x_train_noisy, 0.0, 1.0)
x_test_noisy = np.clip(x_test_noisy, 0.0, 1.0)

autoencoder = Sequential()
autoencoder.add(Conv2D(8, (3, 3), activation="relu", padding="same", input_shape=(28, 28, 1)))
autoencoder.add(MaxPooling2D((2, 2), padding="same"))
autoencoder.add(Conv2D(8, (3, 3), activation="relu", padding="same"))
autoencoder.add(UpSampling2D((2, 2)))
autoencoder.add(Conv2D(1, (3, 3), activation="sigmoid", padding="same"))
autoencoder.compile(optimizer="adam", loss="binary_crossentropy")
autoencoder.fit(x_train_noisy, x_train, epochs=5, batch_size=32, shuffle=True, verbose=0, validation_data=(x_test_noisy, x_test))

decoded_imgs = autoencoder.predict(x_test_noisy, verbose=0)
before = np.mean((x_test_noisy - x_test) ** 2)
after = np.mean((decoded_imgs - x_test) ** 2)
print("mean squared error before: %.4f" % before)
print("noise that is left: %.3f" % (after / before))
