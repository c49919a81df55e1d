"""Metrics: counts worked out by hand, and parts that add up."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl import Sequential, load_model, losses, metrics, set_num_threads
from minidl.callbacks import BackupAndRestore, Callback, EarlyStopping
from minidl.engine.runner import shards
from minidl.layers import Dense
from minidl.metrics import accuracy

# The classes with the largest entry are 2, 0, 1 and 0.
PREDICTIONS = np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2], [-3.0, -1.0, -2.0], [9.0, 8.0, 8.5]])


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_accuracy_by_hand(dtype):
    """Labels 2, 1, 1, 0: all right but the second."""
    labels = np.array([2, 1, 1, 0])
    for y_true in (labels.astype(dtype), labels[:, None].astype(dtype), np.eye(3)[labels].astype(dtype)):
        assert accuracy(y_true, PREDICTIONS) == (3, 4)


@pytest.mark.parametrize("labels", [[2, 0, 1, 0], [0, 1, 2, 1]], ids=["all right", "all wrong"])
def test_accuracy_of_all_and_of_none(labels):
    expected = 4 if labels[0] == 2 else 0
    assert accuracy(np.array(labels), PREDICTIONS) == (expected, 4)
    assert accuracy(np.eye(3)[labels], PREDICTIONS) == (expected, 4)


def test_accuracy_of_one_probability():
    """Above 0.5 is class 1: 0.9, 0.5, 0.1 and 0.51 are the classes 1, 0, 0 and 1."""
    y_pred = np.array([[0.9], [0.5], [0.1], [0.51]])
    for labels, right in (([1, 0, 0, 1], 4), ([1, 1, 0, 0], 2), ([0, 1, 1, 0], 0)):
        assert accuracy(np.array(labels), y_pred) == (right, 4)
        assert accuracy(np.array(labels)[:, None], y_pred) == (right, 4)
        assert accuracy(np.array(labels, bool), y_pred) == (right, 4)


def test_of_equal_predictions_the_first_class_counts():
    assert accuracy(np.array([0, 1]), np.array([[0.5, 0.5], [0.5, 0.5]])) == (1, 2)


@given(n=st.integers(1, 30), cut=st.integers(0, 30), seed=st.integers(0, 2**32 - 1))
def test_parts_add_up_and_equal_a_count_by_hand(n, cut, seed):
    random = np.random.default_rng(seed)
    labels, y_pred = random.integers(0, 4, n), random.normal(size=(n, 4))
    total, count = accuracy(labels, y_pred)
    right = sum(max(range(4), key=row.__getitem__) == label for row, label in zip(y_pred.tolist(), labels, strict=True))
    assert (total, count) == (right, n)
    parts = [accuracy(np.eye(4)[labels[part]], y_pred[part]) for part in (slice(0, cut), slice(cut, None))]
    assert tuple(map(sum, zip(*parts, strict=True))) == (total, count)


def test_predictions_that_are_not_classes():
    text = "accuracy expects predictions of shape (n, classes), received shape (4,)."
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        accuracy(np.zeros(4), np.zeros(4))


@pytest.mark.parametrize("shape", [(3,), (4, 2), (5, 3), (4, 3, 1), ()])
def test_labels_of_another_shape(shape):
    text = f"received shape {shape}."
    with pytest.raises(ValueError, match="^accuracy expects .*" + re.escape(text) + "$"):
        accuracy(np.zeros(shape), PREDICTIONS)


# ---------------------------------------------------------------------------------------------------- accuracies and errors


def test_binary_accuracy():
    """Above the threshold is 1. Of a sample with several answers it is the share of right ones."""
    y_pred = np.array([[0.9], [0.5], [0.1], [0.51]])
    np.testing.assert_array_equal(metrics.binary_accuracy([1, 1, 0, 1], y_pred), [1, 0, 1, 1])
    np.testing.assert_array_equal(metrics.binary_accuracy([1, 1, 0, 1], y_pred, threshold=0.05), [1, 1, 0, 1])
    np.testing.assert_array_equal(metrics.binary_accuracy([[1, 0, 1, 1]], y_pred.T), [0.75])
    assert value(metrics.BinaryAccuracy(threshold=0.6), [[1], [1], [0], [1]], y_pred) == 0.5


def test_categorical_accuracies():
    """The largest are the classes 2, 0, 1 and 0; the two largest 2, 1 / 0, 1 / 1, 2 / 0, 2."""
    labels = np.array([2, 1, 0, 0])
    one_hot = np.eye(3)[labels]
    np.testing.assert_array_equal(metrics.sparse_categorical_accuracy(labels, PREDICTIONS), [1, 0, 0, 1])
    np.testing.assert_array_equal(metrics.sparse_categorical_accuracy(labels[:, None], PREDICTIONS), [1, 0, 0, 1])
    np.testing.assert_array_equal(metrics.categorical_accuracy(one_hot, PREDICTIONS), [1, 0, 0, 1])
    np.testing.assert_array_equal(metrics.sparse_top_k_categorical_accuracy(labels, PREDICTIONS, k=2), [1, 1, 0, 1])
    np.testing.assert_array_equal(metrics.top_k_categorical_accuracy(one_hot, PREDICTIONS, k=2), [1, 1, 0, 1])
    assert value(metrics.TopKCategoricalAccuracy(), one_hot, PREDICTIONS) == 1  # of 5 there are but 3
    assert value(metrics.TopKCategoricalAccuracy(1), one_hot, PREDICTIONS) == 0.5


def test_a_prediction_that_is_not_a_number_is_not_among_the_largest():
    y_pred = np.array([[np.nan, np.nan, np.nan], [np.nan, 0.2, 0.1], [np.nan, 0.2, 0.1], [np.inf, 0.2, 0.1]])
    labels, one_hot = np.array([0, 1, 1, 0]), np.eye(3)[[0, 1, 1, 0]]
    for k, expected in {1: [0, 0, 0, 1], 2: [0, 1, 1, 1], 3: [0, 1, 1, 1], 5: [0, 1, 1, 1]}.items():
        np.testing.assert_array_equal(metrics.sparse_top_k_categorical_accuracy(labels, y_pred, k=k), expected)
        np.testing.assert_array_equal(metrics.top_k_categorical_accuracy(one_hot, y_pred, k=k), expected)


def test_accuracy_chooses_by_the_shapes():
    """Of images: pixels with one output are answers yes or no, those with several outputs classes."""
    yes_or_no = np.array([[[[0.9], [0.2]]], [[[0.7], [0.8]]]])  # (2, 1, 2, 1)
    assert accuracy(np.array([[[[1], [1]]], [[[1], [1]]]]), yes_or_no) == (1.5, 2)
    classes = PREDICTIONS[None, None]  # (1, 1, 4, 3)
    assert accuracy(np.array([[[2, 1, 1, 0]]]), classes) == (0.75, 1)
    assert accuracy(np.eye(3)[[[[2, 1, 1, 0]]]], classes) == (0.75, 1)


def test_errors():
    """Errors 1, −2 and 0, 3."""
    y_true, y_pred = [[0.0, 0.0], [1.0, 1.0]], [[1.0, -2.0], [1.0, 4.0]]
    assert value(metrics.MeanAbsoluteError(), y_true, y_pred) == 1.5
    assert value(metrics.MeanSquaredError(), y_true, y_pred) == 3.5
    assert value(metrics.RootMeanSquaredError(), y_true, y_pred) == math.sqrt(3.5)
    np.testing.assert_array_equal(metrics.mean_squared_error(y_true, y_pred), [2.5, 4.5])
    assert value(metrics.get("bce")[1], [1, 0], [[0.5], [0.5]]) == pytest.approx(math.log(2))


# ------------------------------------------------------------------------------------------------------------------ counts

# Positives are predicted 0.9, 0.6, 0.4; negatives 0.8, 0.3, 0.2, 0.1.
TRUTH, SCORES = np.array([1, 1, 1, 0, 0, 0, 0]), np.array([[0.9], [0.6], [0.4], [0.8], [0.3], [0.2], [0.1]])


def test_precision_and_recall():
    """Above ½: 0.9, 0.6 and 0.8, two of them true; two of three found. Above 0.7: 0.9 and 0.8."""
    assert value(metrics.Precision(), TRUTH, SCORES) == pytest.approx(2 / 3)
    assert value(metrics.Recall(), TRUTH, SCORES) == pytest.approx(2 / 3)
    assert value(metrics.Precision(0.7), TRUTH, SCORES) == 1 / 2
    assert value(metrics.Recall(thresholds=0.7), TRUTH, SCORES) == pytest.approx(1 / 3)
    assert value(metrics.Precision(0.95), TRUTH, SCORES) == 0  # none is predicted positive
    assert value(metrics.Recall(), 0 * TRUTH, SCORES) == 0  # none is positive


def test_f1_score():
    """Classes 0, 1, 2 are right 1, 1, 1 times, predicted 2, 1, 1 times, and there 1, 2, 1 times: 2 · 1 / 3, 2 / 3 and 1."""
    labels = np.array([2, 1, 1, 0])
    for y_true in (labels, np.eye(3)[labels]):
        assert value(metrics.F1Score("macro"), y_true, PREDICTIONS) == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
        assert value(metrics.F1Score("weighted"), y_true, PREDICTIONS) == pytest.approx((2 / 3 + 2 * 2 / 3 + 1) / 4)
        assert value(metrics.F1Score("micro"), y_true, PREDICTIONS) == 2 * 3 / 8
    assert value(metrics.F1Score(), TRUTH, SCORES) == pytest.approx(2 / 3)  # precision and recall are 2/3
    assert value(metrics.F1Score(threshold=0.7), TRUTH, SCORES) == pytest.approx(2 * 1 / (2 + 3))
    with pytest.raises(ValueError, match=r"choose how to average them, F1Score\(average='macro'\)"):
        metrics.F1Score().sums(labels, PREDICTIONS)


def test_area_under_the_curve():
    """0.9 is above four negatives, 0.6 and 0.4 above three: 10 of 12 pairs. Equal predictions count half."""
    assert value(metrics.AUC(), TRUTH, SCORES) == pytest.approx(10 / 12)
    assert value(metrics.AUC(), [1, 0], [[0.5], [0.5]]) == 0.5
    assert value(metrics.AUC(), [1, 0, 1, 0], [[1.0], [0.0], [0.9], [0.1]]) == 1
    # thresholds −ε, ½, 1 + ε: above ½ are two of three positives and one of four negatives
    assert value(metrics.AUC(3), TRUTH, SCORES) == pytest.approx(1 / 4 * 1 / 3 + 3 / 4 * (2 / 3 + 1) / 2)


def test_area_under_precision_and_recall():
    """All positives first: 1. Thresholds −ε, ½, 1 + ε: above ½ two of three are true, above −ε three of seven. Between the points
    true positives grow by 1 with four more predicted, so precision is (2 + s) / (3 + 4 s), 0 ≤ s ≤ 1; before, it is 2/3."""
    assert value(metrics.AUC(curve="PR"), [1, 1, 0], [[0.9], [0.8], [0.1]]) == pytest.approx(1)
    s = np.linspace(0, 1, 100_001)
    between = np.trapezoid((2 + s) / (3 + 4 * s), s) / 3
    assert value(metrics.AUC(3, "PR"), TRUTH, SCORES) == pytest.approx(2 / 3 * 2 / 3 + between, rel=1e-8)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 60))
def test_the_area_is_the_share_of_ordered_pairs(seed, n):
    """Predictions are multiples of 1/200 that stand between the thresholds i/199, so that none of these merges two."""
    random = np.random.default_rng(seed)
    y_true, y_pred = random.integers(0, 2, n), random.integers(1, 199, (n, 1)) / 200
    y_true[:2] = 0, 1
    above = y_pred[y_true == 1][:, None, 0] - y_pred[y_true == 0][None, :, 0]
    assert value(metrics.AUC(), y_true, y_pred) == pytest.approx((np.sign(above) + 1).mean() / 2)


@pytest.mark.parametrize("y_pred", [[[1.5], [0.5]], [[-0.1], [0.5]], [[np.nan], [0.5]]])
def test_an_area_of_what_is_no_probability(y_pred):
    with pytest.raises(ValueError, match="auc expects probabilities from 0 to 1, received"):
        metrics.AUC().sums(np.array([0, 1]), np.array(y_pred))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: metrics.AUC(1), "auc num_thresholds must be an integer above 1, received 1."),
        (lambda: metrics.AUC(curve="roc"), "auc curve must be 'ROC' or 'PR', received 'roc'."),
        (
            lambda: metrics.F1Score("mean"),
            "f1_score average must be 'micro' or 'macro' or 'weighted', received 'mean'.",
        ),
        (
            lambda: metrics.Precision([0.5, 0.6]),
            "precision thresholds must be a number in [0, ∞), received [0.5, 0.6].",
        ),
    ],
)
def test_settings(make, text):
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        make()


# --------------------------------------------------------------------------------------------------------------- the contract


def value(metric, y_true, y_pred):
    return metric.result(metric.sums(np.asarray(y_true), np.asarray(y_pred)))


EVERY = [
    name for name in metrics.METRICS if name not in ("f1_score", "categorical_crossentropy", "categorical_accuracy")
]


@pytest.mark.parametrize("name", EVERY)
@given(cut=st.integers(1, 11), seed=st.integers(0, 2**32 - 1))
def test_sums_add_up(name, cut, seed):
    random = np.random.default_rng(seed)
    sparse = "sparse" in name
    y_true, y_pred = random.integers(0, 2, 12), random.uniform(0.01, 1, (12, 3 if sparse or "top" in name else 1))
    if name == "top_k_categorical_accuracy":
        y_true = np.eye(3)[y_true]
    shown, metric = metrics.get(name)
    assert shown == metric.name == name
    parts = [metric.sums(y_true[:cut], y_pred[:cut]), metric.sums(y_true[cut:], y_pred[cut:])]
    whole = metric.sums(y_true, y_pred)
    assert whole.dtype == np.float64
    assert whole.shape == metric.empty(y_pred.shape[1:]).shape
    np.testing.assert_allclose(metric.empty(y_pred.shape[1:]) + parts[0] + parts[1], whole, rtol=1e-13)


@pytest.mark.parametrize(
    "name", ["binary_accuracy", "mean_absolute_error", "hinge", "sparse_top_k_categorical_accuracy"]
)
def test_get_by_name_function_and_class(name):
    cls = type(metrics.get(name)[1])
    for given_ in (name, getattr(metrics, name), cls, cls()):
        shown, found = metrics.get(given_)
        assert (shown, type(found), found.name) == (name, cls, name)


def test_every_loss_is_a_metric_that_a_file_holds(tmp_path):
    """By its name, as a function, and by its short form."""
    shown, found = metrics.get(losses.huber)
    assert (shown, found.result(found.sums(np.array([[0.0]]), np.array([[0.5]])))) == ("huber", 0.125)
    every = [*sorted({cls.name for cls in losses.LOSSES.values()} - {"sparse_categorical_crossentropy"}), "kld", "MSE"]
    for metric in (*every, losses.huber):
        model = Sequential([Dense(2, "softmax")], seed=1)
        model.compile("sgd", "mse", [metric])
        model.fit(np.ones((4, 3)), np.eye(2)[[0, 1, 1, 0]], verbose=0)
        model.save(tmp_path / "m.safetensors")
        loaded = load_model(tmp_path / "m.safetensors")
        assert [name for name, _ in loaded.metrics] == [name for name, _ in model.metrics]


def test_a_string_is_what_a_metric_is_called_in_the_logs():
    model = Sequential([Dense(1, "sigmoid", input_shape=(3,))], seed=1)
    model.compile("sgd", "binary_crossentropy", ["AUC", "acc"])
    x, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    stop = EarlyStopping("val_AUC", mode="max", patience=1, min_delta=2)
    history = model.fit(x, y, validation_split=0.5, epochs=5, verbose=0, callbacks=[stop]).history
    assert list(history) == ["AUC", "acc", "loss", "val_AUC", "val_acc", "val_loss"]
    assert len(history["AUC"]) == 2


def test_a_loss_object_is_no_metric():
    with pytest.raises(TypeError, match="a metric must be a name, a Metric, or a function"):
        metrics.get(losses.MeanSquaredError())


@pytest.mark.parametrize("base", [losses.Loss, metrics.Metric])
def test_what_a_class_written_for_keras_lacks_is_said(base):
    class Own(base):
        def __init__(self):
            super().__init__(*(["own"] if base is metrics.Metric else []))

        def call(self, y_true, y_pred):
            return (y_true - y_pred) ** 2

        def update_state(self, y_true, y_pred):
            self.total = 0

    model = Sequential([Dense(1)], seed=1)
    model.compile("sgd", Own() if base is losses.Loss else "mse", [Own()] if base is metrics.Metric else [])
    with pytest.raises(NotImplementedError, match=r"Own must define (sums|losses_and_gradients)"):
        model.fit(np.ones((4, 3)), np.ones(4), verbose=0)


# what a Keras script may return, for errors 1, 2 and 6 of three samples: their mean is 3
FORMS = {
    "a number": lambda y_true, y_pred: np.abs(y_true - y_pred).mean(),
    "a number of Python's": lambda y_true, y_pred: float(np.abs(y_true - y_pred).mean()),
    "a number a sample": lambda y_true, y_pred: np.abs(y_true - y_pred).mean(axis=-1),
    "a column": lambda y_true, y_pred: np.abs(y_true - y_pred),
    "a list": lambda y_true, y_pred: np.abs(y_true - y_pred)[:, 0].tolist(),
    "total and count": lambda y_true, y_pred: (np.abs(y_true - y_pred).sum(), len(y_pred)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
@pytest.mark.parametrize("labels", [(41,), (41, 1)])
def test_a_function_is_weighted_by_samples(form, batch_size, labels):
    """Whatever it returns, however the samples are cut into batches and these into shards: the mean over all of them."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(41, 3)), random.normal(size=labels)
    model = Sequential([Dense(1, input_dim=3)], dtype="float64", seed=0)
    model.compile(loss=Own(), metrics=[FORMS[form], "mae"])
    name = model.metrics[0][0]
    expected = np.abs(model.predict(x, verbose=0)[:, 0] - y.reshape(-1)).mean()
    found = model.evaluate(x, y, batch_size=batch_size, verbose=0, return_dict=True)
    assert found[name] == pytest.approx(expected, rel=1e-12)
    assert found["mae"] == pytest.approx(expected, rel=1e-12)
    history = model.fit(x, y, batch_size=batch_size, verbose=0, validation_data=(x, y)).history
    after = model.evaluate(x, y, verbose=0, return_dict=True)
    assert history[f"val_{name}"][0] == pytest.approx(after[name], rel=1e-12)
    assert history[name][0] == pytest.approx(history["mae"][0], rel=1e-12)


class Own(losses.Loss):
    """A loss that leaves labels (n,) as they are."""

    def losses_and_gradients(self, y_true, y_pred):
        difference = y_pred - y_true.reshape(-1, 1)
        return difference[:, 0] ** 2, 2 * difference


def test_a_function_sees_the_whole_batch():
    """The largest error of a batch is no mean of its shards' largest ones."""
    seen = []

    def largest(y_true, y_pred):
        seen.append(len(y_true))
        return np.abs(y_true - y_pred).max()

    x, y = np.zeros((250, 1)), np.arange(250.0)
    model = Sequential([Dense(1, input_dim=1)], dtype="float64")
    model.compile(loss="mse", metrics=[largest])
    assert len(shards(200, 10**9)) == 2
    assert model.evaluate(x, y, batch_size=200, verbose=0)[1] == (200 * 199 + 50 * 249) / 250
    assert seen == [200, 50]


@pytest.mark.parametrize("wrong", [None, "text", (1, 2, 3), np.zeros(5), object()])
def test_what_a_function_must_not_return(wrong):
    model = Sequential([Dense(1, input_dim=1)])

    def metric(y_true, y_pred):
        return wrong

    model.compile(loss="mse", metrics=[metric])
    with pytest.raises(
        TypeError, match="the metric 'metric' must return a number, a number for each of the 3 samples, or"
    ):
        model.evaluate(np.zeros((3, 1)), np.zeros(3), verbose=0)


def test_a_metric_of_a_users_own():
    """With sums that are not (total, count)."""

    class Spread(metrics.Metric):
        def __init__(self):
            super().__init__("spread")

        def empty(self, output_shape):
            return np.zeros(3)

        def sums(self, y_true, y_pred):
            return np.array([len(y_pred), y_pred.sum(), (y_pred**2).sum()])

        def result(self, sums):
            n, total, squares = sums
            return float(np.sqrt(squares / n - (total / n) ** 2))

    x = np.random.default_rng(0).normal(size=(50, 2))
    model = Sequential([Dense(1, input_dim=2)], dtype="float64")
    for given_ in (Spread, Spread()):
        model.compile(loss="mse", metrics=[given_])
        spread = model.predict(x, verbose=0).std()
        assert model.evaluate(x, np.zeros(50), batch_size=20, verbose=0)[1] == pytest.approx(spread)


@pytest.mark.usefixtures("threads_as_before")
def test_the_same_bits_with_any_number_of_threads():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(300, 3)), random.integers(0, 2, 300)
    found = []
    for threads in (1, 3):
        set_num_threads(threads)
        model = Sequential([Dense(1, "sigmoid", input_dim=3)], seed=0)
        model.compile("adam", "bce", [metrics.AUC(), "precision", "mae", metrics.F1Score(), off])
        found.append(model.fit(x, y, batch_size=128, epochs=2, verbose=0).history)
    assert found[0] == found[1]


def test_saved_and_loaded(tmp_path):
    """By name, as objects with settings, and a function of the user's; what evaluate says is the same to the bit."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(50, 3)), random.integers(0, 2, 50)
    model = Sequential([Dense(1, "sigmoid", input_dim=3)], seed=0)
    given_ = ["accuracy", "mse", metrics.AUC(50, "PR", "area"), metrics.Precision(0.25), metrics.F1Score("macro"), off]
    model.compile("adam", "bce", given_)
    model.save(tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors", {"off": off})
    assert [name for name, _ in loaded.metrics] == ["accuracy", "mse", "area", "precision", "f1_score", "off"]
    assert loaded.metrics[2][1].get_config() == {"num_thresholds": 50, "curve": "PR", "name": "area"}
    assert loaded.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)


def off(y_true, y_pred):
    return np.abs(y_true - y_pred).max()


def test_a_resumed_training_comes_to_the_same_bits(tmp_path):
    """It is stopped in the middle of an epoch; the sums of the metrics so far are in the backup."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(60, 3)), random.integers(0, 2, 60)

    def train(*callbacks):
        model = Sequential([Dense(1, "sigmoid", input_dim=3)], seed=0)
        model.compile("adam", "bce", [metrics.AUC(), "recall", metrics.F1Score(), "accuracy", off])
        return model.fit(x, y, batch_size=10, epochs=2, verbose=0, callbacks=list(callbacks)).history

    class Stop(Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 3:
                raise SystemExit

    expected = train()
    with pytest.raises(SystemExit):
        train(BackupAndRestore(tmp_path, save_freq=1), Stop())
    assert train(BackupAndRestore(tmp_path, save_freq=1)) == expected


def test_get():
    for name in ("accuracy", "acc"):
        shown, found = metrics.get(name)
        assert (shown, type(found), found.name) == (name, metrics.ChosenAccuracy, name)
    for name, plain in {
        "AUC": "auc",
        "Precision": "precision",
        "F1Score": "f1_score",
        "Accuracy": "accuracy",
        "MSE": "mse",
        "RootMeanSquaredError": "root_mean_squared_error",
    }.items():
        shown, found = metrics.get(name)  # in the logs it is called as it was asked for, as in Keras
        assert (shown, type(found), found.name) == (name, metrics.METRICS[plain], name)
    shown, found = metrics.get(accuracy)
    assert (shown, found.function) == ("accuracy", accuracy)

    class Own:
        def __call__(self, y_true, y_pred):
            return 0.0, len(y_pred)

    own = Own()
    shown, found = metrics.get(own)
    assert (shown, found.function) == ("Own", own)
    with pytest.raises(ValueError, match=re.escape("unknown metric 'acuracy'. Did you mean 'accuracy'")):
        metrics.get("acuracy")
    text = (
        "a metric must be a name, a Metric, or a function (y_true, y_pred) → a number, a number for each sample or (total, "
        "count), received 3."
    )
    with pytest.raises(TypeError, match="^" + re.escape(text) + "$"):
        metrics.get(3)
