"""What rank 0 sends in one training step: bytes of the parameters, of messages, and of everything. mpiexec -n 2 python …"""

import numpy as np

import minidl
from minidl import Sequential, ranks
from minidl.callbacks import LambdaCallback
from minidl.engine import runner
from minidl.layers import Dense

runner.WORTH_A_THREAD = 1
minidl.distribution.initialize()
model = Sequential([Dense(301, activation="relu"), Dense(3, activation="softmax")], seed=1)
model.compile("adam", "sparse_categorical_crossentropy")
rng = np.random.default_rng(0)
wire, sent = ranks.group.wire, []
note = LambdaCallback(on_train_batch_end=lambda batch, logs: sent.append(wire.sent))
model.fit(rng.normal(size=(800, 50)), rng.integers(0, 3, 800), batch_size=400, verbose=0, callbacks=[note])
if wire.rank == 0:
    size = sum(value.nbytes for value in model.params.values())
    print(size, 1024 * (wire.size - 1), sent[1] - sent[0])
