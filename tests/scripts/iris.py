# Multi-class classification of the iris flowers
import pandas as pd
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import LabelEncoder, StandardScaler

import keras
from keras.layers import Dense
from keras.models import Sequential
from keras.utils import to_categorical

keras.utils.set_random_seed(7)

iris = load_iris()
df = pd.DataFrame(iris.data, columns=iris.feature_names)
df["species"] = iris.target_names[iris.target]

X = df.drop("species", axis=1)
encoder = LabelEncoder()
y = to_categorical(encoder.fit_transform(df["species"]))
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=0, stratify=y)

scaler = StandardScaler()
X_train = scaler.fit_transform(X_train)
X_test = scaler.transform(X_test)

model = Sequential(
    [
        keras.Input(shape=(4,)),
        Dense(16, activation="relu"),
        Dense(16, activation="relu"),
        Dense(3, activation="softmax"),
    ]
)
model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
model.summary()
model.fit(X_train, y_train, epochs=60, batch_size=8, verbose=0, validation_split=0.1)

loss, accuracy = model.evaluate(X_test, y_test, verbose=0)
print(f"Test loss: {loss:.3f}")
print(f"Test accuracy: {accuracy:.3f}")
print(encoder.inverse_transform(model.predict(X_test[:5], verbose=0).argmax(axis=1)))
