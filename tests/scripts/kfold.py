# Stratified 5-fold cross validation of a network
import numpy as np
from sklearn.datasets import load_wine
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

import keras
from keras.layers import Dense, Dropout
from keras.models import Sequential

seed = 7
keras.utils.set_random_seed(seed)
X, Y = load_wine(return_X_y=True)


def create_model():
    model = Sequential()
    model.add(Dense(16, input_dim=13, activation="relu"))
    model.add(Dropout(0.1))
    model.add(Dense(3, activation="softmax"))
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model


kfold = StratifiedKFold(n_splits=5, shuffle=True, random_state=seed)
cvscores = []
for train, test in kfold.split(X, Y):
    scaler = StandardScaler().fit(X[train])
    model = create_model()
    model.fit(scaler.transform(X[train]), Y[train], epochs=40, batch_size=10, verbose=0)
    scores = model.evaluate(scaler.transform(X[test]), Y[test], verbose=0)
    print("accuracy in this fold: %.2f%%" % (scores[1] * 100))
    cvscores.append(scores[1] * 100)
print("mean: %.2f%% (+/- %.2f%%)" % (np.mean(cvscores), np.std(cvscores)))
