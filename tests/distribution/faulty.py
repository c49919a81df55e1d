"""Programs in which one rank fails, or does something else than the others: mpiexec -n 3 python faulty.py NAME."""

import os
import signal
import sys
import threading
import time

import numpy as np

import minidl
from minidl import Sequential, callbacks
from minidl.engine import runner
from minidl.layers import Dense, Layer

minidl.distribution.initialize()
RANK = minidl.distribution.rank()
runner.WORTH_A_THREAD = 1


def samples(n=300):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 12)).astype(np.float32), rng.integers(0, 3, n)


def model_of(seed=1, *layers, optimizer="sgd"):
    model = Sequential([*layers, Dense(8, activation="relu"), Dense(3, activation="softmax")], seed=seed)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


def fit(model, x=None, y=None, at=None, action=None, **settings):
    """Train; at the given batch call the action in rank 1."""

    def act(batch, logs):
        if RANK == 1 and model.steps_trained == at:
            action()

    own = callbacks.LambdaCallback(on_train_batch_end=act) if at else callbacks.Callback()
    xs, ys = samples()
    return model.fit(
        xs if x is None else x,
        ys if y is None else y,
        **{"batch_size": 100, "epochs": 20, "verbose": 0, "callbacks": [own], **settings},
    )


def fail():
    raise LookupError("the disk is gone")


def raises():
    fit(model_of(), at=7, action=fail)


def raises_outside():
    if RANK == 1:
        fail()
    fit(model_of())


def all_raise():
    fail()


def killed():
    fit(model_of(), at=7, action=lambda: os.kill(os.getpid(), signal.SIGKILL))


def leaves_without_a_word():
    fit(model_of(), at=7, action=lambda: os._exit(0))


def crashes_while_others_compute():
    if RANK == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(1000)


def rank_0_is_killed():
    if RANK == 0:
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)
    fit(model_of())


def leaves_early():
    fit(model_of(), at=7, action=lambda: sys.exit(3))


def ends_early():
    if RANK != 1:
        fit(model_of())


def interrupted():
    fit(model_of(), at=7, action=lambda: os.kill(os.getpid(), signal.SIGINT))


def interrupted_and_caught():
    model = model_of(optimizer="adam")
    try:
        fit(model, at=7, action=lambda: os.kill(os.getpid(), signal.SIGINT))
    except KeyboardInterrupt:
        fit(model, epochs=1)
        if RANK == 0:
            print(f"after {model.steps_trained} steps", flush=True)


def waits_for_ctrl_c():
    """Until the test sends it, to mpiexec."""

    def begin(batch, logs):
        if model.steps_trained == 1:
            print("begins", flush=True)

    model = model_of()
    fit(model, epochs=10**6, callbacks=[callbacks.LambdaCallback(on_train_batch_end=begin)])


class NanOnSomeSamples(Layer):
    """Its output is not finite where a sample's first feature is above 50."""

    def __init__(self):
        super().__init__()

    def build(self, input_shape, rng, dtype):
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        return np.where(x[:, :1] > 50, np.nan, x).astype(x.dtype), None

    def backward(self, dy, cache):
        return dy, {}


def loss_is_nan():
    x, y = samples()
    x[299] = 60  # the last rank's
    fit(model_of(1, NanOnSomeSamples()), x, y, shuffle=False, batch_size=300)


class HugeGradient(NanOnSomeSamples):
    """The loss is finite, and the gradient of the last samples is not."""

    def build(self, input_shape, rng, dtype):
        self.params = {"factor": np.ones(input_shape, dtype)}
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        return x, x

    def backward(self, dy, cache):
        bad = (cache[:, 0] > 50).any()
        return dy, {"factor": np.full(dy.shape[1:], np.nan if bad else 0, dy.dtype)}


def gradient_is_nan():
    x, y = samples()
    x[299] = 60
    fit(model_of(1, HugeGradient()), x, y, shuffle=False, batch_size=300)


def gradient_is_nan_and_accepted():
    x, y = samples()
    x[299] = 60
    model = model_of(1, HugeGradient())
    history = fit(model, x, y, shuffle=False, batch_size=300, callbacks=[callbacks.TerminateOnNaN()])
    if RANK == 0:
        print(history.history, model.steps_trained, flush=True)


def sample_is_nan():
    x, y = samples()
    x[299] = np.nan
    fit(model_of(), x, y, shuffle=False, batch_size=300)


def other_length():
    fit(model_of(), *samples(300 - RANK))


def other_labels():
    x, y = samples()
    fit(model_of(), x, (y + (RANK == 2)) % 3)


def other_seed():
    fit(model_of(seed=RANK))


def other_weights():
    model = model_of()
    model.build((12,))
    model.params["dense/kernel"][0, 0] += RANK
    fit(model)


def other_batch_size():
    fit(model_of(), batch_size=100 if RANK == 0 else 50)


def other_batches():
    def batches():
        rng = np.random.default_rng(RANK)
        while True:
            yield rng.normal(size=(50, 12)), rng.integers(0, 3, 50)

    model_of().fit(batches(), steps_per_epoch=5, verbose=0)


def evaluates_alone():
    model = model_of()
    fit(model, epochs=1)
    if RANK == 0:
        model.evaluate(*samples(), verbose=0)


def evaluates_alone_within_fit():
    model = model_of()
    fit(model, at=7, action=lambda: model.evaluate(*samples(), verbose=0))


def saves_alone_within_fit():
    model = model_of(optimizer="adam")
    model.build((12,))
    fit(model, at=7, action=lambda: model.save(os.devnull + ".safetensors"))


def stops_alone():
    model = model_of()
    fit(model, at=7, action=lambda: setattr(model, "stop_training", True))


def stops_alone_after_an_epoch():
    model = model_of()
    own = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(model, "stop_training", RANK == 1))
    fit(model, callbacks=[own])


def changes_its_rate_alone():
    model = model_of()
    fit(model, at=6, action=lambda: setattr(model.optimizer, "learning_rate", 0.5))


def changes_its_weights_alone():
    model = model_of()
    own = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: model.params["dense/bias"].__setitem__(0, RANK))
    fit(model, callbacks=[own])


def another_call():
    model = model_of()
    fit(model, epochs=1)
    if RANK == 2:
        model.predict(samples()[0], verbose=0)
    else:
        model.evaluate(*samples(), verbose=0)


def in_another_thread():
    caught = []

    def call():
        try:
            fit(model_of())
        except RuntimeError as error:
            caught.append(str(error))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    if RANK == 0:
        print(caught, flush=True)


def a_schedule_fails_in_one_rank():
    """In the middle of a step, when the others wait for parameters."""
    from minidl.optimizers import SGD

    def rate(step):
        if RANK == 1 and step == 7:
            fail()
        return 0.1

    fit(model_of(optimizer=SGD(rate)))


def hangs():
    """A rank that computes for ever, until a second Ctrl-C."""

    def compute():
        print("begins", flush=True)
        while True:
            time.sleep(1)

    fit(model_of(), at=7, action=compute)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    if RANK == 0:
        print("through", flush=True)
