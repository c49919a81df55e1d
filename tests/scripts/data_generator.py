# Images that do not fit into memory: a data generator reads them batch by batch
import os

import numpy as np
from PIL import Image

import keras
from keras import layers

keras.utils.set_random_seed(12)

os.makedirs("images", exist_ok=True)
rng = np.random.default_rng(0)
labels = {}
for i in range(240):
    image = rng.integers(0, 80, (16, 16, 3)).astype(np.uint8)
    labels[f"{i}.png"] = i % 3
    image[:, :, i % 3] += 120
    Image.fromarray(image).save(f"images/{i}.png")


class DataGenerator(keras.utils.PyDataset):
    def __init__(self, list_IDs, labels, batch_size=24, dim=(16, 16), n_channels=3, n_classes=3, shuffle=True, **kwargs):
        super().__init__(**kwargs)
        self.dim = dim
        self.batch_size = batch_size
        self.labels = labels
        self.list_IDs = list_IDs
        self.n_channels = n_channels
        self.n_classes = n_classes
        self.shuffle = shuffle
        self.on_epoch_end()

    def __len__(self):
        return int(np.floor(len(self.list_IDs) / self.batch_size))

    def __getitem__(self, index):
        indexes = self.indexes[index * self.batch_size : (index + 1) * self.batch_size]
        return self.__data_generation([self.list_IDs[k] for k in indexes])

    def on_epoch_end(self):
        self.indexes = np.arange(len(self.list_IDs))
        if self.shuffle:
            np.random.shuffle(self.indexes)

    def __data_generation(self, list_IDs_temp):
        X = np.empty((self.batch_size, *self.dim, self.n_channels))
        y = np.empty((self.batch_size), dtype=int)
        for i, ID in enumerate(list_IDs_temp):
            X[i,] = np.asarray(Image.open("images/" + ID)) / 255
            y[i] = self.labels[ID]
        return X, keras.utils.to_categorical(y, num_classes=self.n_classes)


names = list(labels)
training_generator = DataGenerator(names[:192], labels, workers=2)
validation_generator = DataGenerator(names[192:], labels, shuffle=False)

model = keras.Sequential(
    [
        layers.Conv2D(4, 3, activation="relu", input_shape=(16, 16, 3)),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(3, activation="softmax"),
    ]
)
model.compile(optimizer=keras.optimizers.Adam(0.01), loss="categorical_crossentropy", metrics=["accuracy"])
model.fit(training_generator, validation_data=validation_generator, epochs=4, verbose=2)
print("accuracy: %.3f" % model.evaluate(validation_generator, verbose=0)[1])


# the same with a plain Python generator
def generate(names, batch_size=24):
    while True:
        chosen = np.random.choice(names, batch_size)
        X = np.stack([np.asarray(Image.open("images/" + name)) / 255 for name in chosen])
        yield X, keras.utils.to_categorical([labels[name] for name in chosen], 3)


history = model.fit(generate(names[:192]), steps_per_epoch=8, epochs=2, verbose=0)
print("generator: %d epochs" % len(history.epoch))
