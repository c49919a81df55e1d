"""A name that nobody would read, an argument or an attribute, is an error that says which one to use."""

import copy
import pickle
import re

import numpy as np
import pytest

import minidl
from minidl import Sequential, callbacks, layers
from minidl.callbacks import Callback, EarlyStopping
from minidl.layers import Conv2D, Dense, Layer
from minidl.optimizers import SGD, Adam, Adamax, Optimizer, RMSprop
from minidl.utils.names import explained

X, Y = np.zeros((4, 3)), np.zeros((4, 2))


def model():
    made = Sequential([Dense(2, input_dim=3)], seed=0)
    made.compile(loss="mse", optimizer="sgd")
    return made


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: SGD(lr=0.1), "SGD.__init__() got an unexpected keyword argument 'lr'. It is called learning_rate now."),
        (lambda: Adam(beta1=0.9), "'beta1'. Did you mean beta_1?"),
        (lambda: model().fit(X, Y, nb_epoch=3), "Sequential.fit() got an unexpected keyword argument 'nb_epoch'. It is "
                                                "called epochs now."),
        (lambda: model().fit(X, Y, epoch=3), "'epoch'. Did you mean epochs?"),
        (lambda: model().fit(X, Y, samples_per_epoch=3), "'samples_per_epoch'. It is called steps_per_epoch now."),
        (lambda: model().evaluate(X, Y, batchsize=3), "'batchsize'. Did you mean batch_size?"),
        (lambda: model().predict(X, verbos=0), "'verbos'. Did you mean verbose?"),
        (lambda: model().compile(loss="mse", metric=["accuracy"]), "'metric'. Did you mean metrics?"),
        (lambda: Dense(output_dim=3), "Dense.__init__() got an unexpected keyword argument 'output_dim'. It is called units "
                                      "now."),
        (lambda: Dense(3, init="zeros"), "'init'. It is called kernel_initializer now."),
        (lambda: Dense(3, activaton="relu"), "'activaton'. Did you mean activation?"),
        (lambda: Conv2D(3, 3, border_mode="same"), "'border_mode'. It is called padding now."),
        (lambda: Conv2D(nb_filter=3, kernel_size=3), "'nb_filter'. It is called filters now."),
        (lambda: layers.LeakyReLU(alpha=0.1), "'alpha'. It is called negative_slope now."),
        (lambda: layers.Dropout(0.1, xyz=3), "'xyz'. There are: rate, "),
        (lambda: EarlyStopping(monitors="loss"), "'monitors'. Did you mean monitor?"),
        (lambda: callbacks.ReduceLROnPlateau(epsilon=0.1), "'epsilon'. It is called min_delta now."),
        (lambda: callbacks.ModelCheckpoint("a.safetensors", period=2), "'period'. It is called save_freq now."),
        (lambda: callbacks.TerminateOnNaN(strict=True), "'strict'. There are: raise_error."),
    ],
)  # fmt: skip
def test_an_unknown_argument_is_an_error_that_names_the_present_one(call, text):
    with pytest.raises(TypeError, match=re.escape(text)):
        call()


@pytest.mark.parametrize(
    ("make", "rate"),
    [
        (lambda: SGD(learning_rate=0.5, momentum=0.9, decay=1e-3), 0.5),
        (lambda: SGD(0.5, 0.9, decay=1e-3), 0.5),
        (lambda: SGD(decay=1e-3, lr=0.5), 0.5),
        (lambda: SGD(decay=1e-3), 0.01),
        (lambda: Adam(decay=1e-3), 0.001),
        (lambda: Adamax(decay=1e-3), 0.001),  # which has the arguments of Adam
        (lambda: RMSprop(0.25, decay=1e-3), 0.25),
    ],
)
def test_the_decay_of_old_optimizers_is_a_schedule_that_can_be_saved(make, rate, tmp_path):
    with pytest.raises(TypeError, match="unexpected keyword argument 'decay'") as caught:
        make()
    code = re.search("use learning_rate=(minidl.*)\\.$", str(caught.value))[1]
    schedule = eval(code, {"minidl": minidl})
    assert [schedule(0), schedule(1000)] == [rate, rate / 2]
    made = model()
    made.compile(SGD(schedule), "mse")
    made.save(tmp_path / "model.safetensors")
    loaded = minidl.load_model(tmp_path / "model.safetensors")
    assert loaded.optimizer.learning_rate(1000) == rate / 2


def test_arguments_that_are_right_pass_and_keep_their_signature():
    @explained
    def area(width, height=2):
        """w · h"""
        return width * height

    assert (area(3), area(3, 4), area(width=3, height=5)) == (6, 12, 15)
    assert area.__doc__ == "w · h"
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        area()


# --------------------------------------------------------------------------------------------------------- attributes

OURS = [SGD(), Dense(2), EarlyStopping(), Sequential(), callbacks.LambdaCallback(), layers.Residual([Dense(2)])]


@pytest.mark.parametrize("thing", OURS, ids=lambda thing: type(thing).__name__)
def test_our_objects_refuse_attributes_that_nobody_reads(thing):
    for each in (thing, copy.deepcopy(thing), copy.copy(thing), pickle.loads(pickle.dumps(thing))):
        with pytest.raises(
            AttributeError, match=f"^{type(thing).__name__} has no attribute 'qqqq', and setting it would"
        ):
            each.qqqq = 3
        assert not hasattr(each, "qqqq")


@pytest.mark.parametrize(
    ("thing", "name", "hint"),
    [
        (SGD(), "learning_rte", "Did you mean learning_rate?"),
        (SGD(), "momentun", "Did you mean momentum?"),
        (Dense(2), "trainble", "Did you mean trainable?"),
        (Dense(2), "use_bais", "Did you mean use_bias?"),
        (Sequential(), "trainble", "Did you mean trainable?"),
        (Sequential(), "stop_trainng", "Did you mean stop_training?"),
        (EarlyStopping(), "patiense", "Did you mean patience?"),
        (layers.Dropout(0.1), "p", "It is called rate now."),
    ],
)
def test_a_typo_gets_the_name_that_was_meant(thing, name, hint):
    with pytest.raises(AttributeError, match=re.escape(hint)):
        setattr(thing, name, 1)


def test_attributes_that_there_are_can_be_set():
    layer = Dense(2)
    layer.trainable, layer.name, layer.use_bias = False, "head", False
    layer.forward = lambda x, **_: (x, None)  # so that a test can replace a method
    stopping = EarlyStopping()
    stopping.patience = 4
    assert (layer.name, stopping.patience) == ("head", 4)


def test_subclasses_are_free():
    class MyLayer(Layer):
        pass

    class MyDense(Dense):
        pass

    class MyCallback(Callback):
        def __init__(self):
            self.seen = []

    class MyOptimizer(SGD):
        def __init__(self):
            super().__init__()
            self.later = 1

    class MyModel(Sequential):
        pass

    for thing in (MyLayer(), MyDense(3), MyCallback(), MyOptimizer(), MyModel(), type("Mine", (Optimizer,), {})(0.1)):
        thing.anything = 3
        assert thing.anything == 3


def test_lr_is_the_learning_rate_with_a_warning():
    optimizer = SGD(0.1)
    with pytest.warns(UserWarning, match=r"^optimizer\.lr is called optimizer\.learning_rate now\.$"):
        optimizer.lr = 0.5
    assert optimizer.learning_rate == 0.5
    with pytest.warns(UserWarning, match="learning_rate") as caught:
        assert optimizer.lr == 0.5
    assert caught[0].filename == __file__
    with pytest.raises(ValueError, match="learning_rate must be"), pytest.warns(UserWarning, match="learning_rate"):
        optimizer.lr = -1


def test_every_attribute_of_ours_that_a_training_sets_exists_before(tmp_path):
    """A whole training with every callback, summary, files and copies: no attribute comes late."""
    made = model()
    every = [
        callbacks.BackupAndRestore(tmp_path / "backup"),
        callbacks.CSVLogger(tmp_path / "log.csv"),
        EarlyStopping("loss", restore_best_weights=True),
        callbacks.ModelCheckpoint(tmp_path / "best.safetensors", "loss", save_best_only=True),
        callbacks.ReduceLROnPlateau("loss", patience=1),
        callbacks.TerminateOnNaN(),
    ]
    made.fit(X, Y, epochs=3, callbacks=every, verbose=0)
    made.fit(X, Y, callbacks=[callbacks.LearningRateScheduler(lambda epoch: 0.1)], verbose=0)
    made.save(tmp_path / "model.safetensors")
    for thing in (*every, made, made.optimizer, *made.layers):
        if "_made" in vars(thing):
            assert type(thing).__module__.startswith("minidl.")
