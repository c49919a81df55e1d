"""Sequential: the model that users write, a stack of layers trained with fit."""

import contextlib
import operator
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import losses, optimizers, ranks, summary
from . import metrics as metric_functions
from .callbacks import Callback, CallbackList, History, check_verbose
from .checks import check_count, check_positive, is_integer
from .contracts import (
    Array,
    ArraySource,
    ClassWeight,
    DType,
    LayerLike,
    Logs,
    LossLike,
    MetricFunction,
    MetricLike,
    Samples,
    Shape,
    StackedLayer,
)
from .engine.arrays import check_array, check_input, collected
from .engine.batches import Batches, Cut, Stream, check_left_out, is_stream
from .engine.blas import SingleThreadedBlas
from .engine.data import Data, Parts, collect, collect_batch, unpacked
from .engine.engine import Engine, is_view
from .engine.interrupts import Uninterrupted
from .engine.plan import doubt
from .engine.runner import Runner
from .engine.steps import may_call_blas
from .engine.vector import followed
from .home import Home
from .layers.inside import build_layer, home, settle
from .model_files import Storable
from .ops import OPERATIONS
from .ops.random import FORWARD, INITIALIZE, derive_key, generator
from .optimizers import Optimizer
from .passes import evaluate, means, predict, trace, watched, whole_gradient
from .tracing import Trace
from .training import Stepper, Training
from .utils.forks import fork_safe
from .utils.lookup import by_name
from .utils.names import explained
from .utils.seeds import draw_seed

# Samples; apart from rounding, the result does not depend on it. It is cut into eight shards, so that two or four threads have
# as much to do as each other.
EVALUATION_BATCH = 800
STATISTICS_BATCH = 500  # samples, of which each has its own moments

# One for all models, because a model that holds a lock cannot be copied; a layer's build may build a model in turn.
_building = fork_safe()


class Sequential(Storable):
    """A stack of layers: the output of each is the input of the next.

    Arguments: layers: the layers to add at once. name: shown in messages and in the summary. seed: an integer ≥ 0 that
    determines the initial weights, the shuffling and the dropout; None draws one, kept in ``model.seed``. dtype: "float32", or
    "float64" for proofs. ops: "kernels" (fast) or "reference" (NumPy, to read and to step through). fuse: False runs every layer
    as its own step, even where a fused kernel could run several. trainable: False freezes all layers.

    A model is built, its weights allocated, as soon as it knows the shape of a sample: from Input(shape) or the first layer's
    ``input_shape``; otherwise from the first data that it sees.

    A Sequential may be a layer of another one; then seed, dtype, ops, fuse and optimizer are those of the outermost. (If it
    knows the shape of its samples, it is already built, from its own seed, and keeps its weights.)
    Built layers keep their weights. They belong to the model that was compiled last with them and at least one layer of its
    own: that one trains them, and the one before can only predict. A model that consists of another model's layers alone, like
    Sequential(model.layers[:3]), is a view: it can only predict.
    """

    def __init__(
        self,
        layers: Sequence[LayerLike] | None = None,
        name: str | None = None,
        *,
        seed: int | None = None,
        dtype: str = "float32",
        ops: str = "kernels",
        fuse: bool = True,
        trainable: bool = True,
    ) -> None:
        if name is not None and not isinstance(name, str):
            raise ValueError(f"a model's name must be a string or None, received {name!r}.")
        if seed is None:
            seed = draw_seed()
        if dtype not in ("float32", "float64"):
            raise ValueError(f"dtype must be 'float32' or 'float64', received {dtype!r}.")
        if not is_integer(seed) or seed < 0:
            raise ValueError(f"seed must be an integer ≥ 0 or None, received {seed!r}.")
        self.seed = int(seed)
        self.dtype = np.dtype(dtype)
        self.fuse = bool(fuse)
        self.optimizer: Optimizer | None = None
        self.loss: LossLike | None = None
        self.metrics: list[tuple[str, MetricLike]] = []
        self.stop_training = False
        self.history: History | None = None  # of the last fit, or of the running one
        # In the model's life: a second fit, or compile, repeats neither the shuffles nor the dropout of the first.
        self.epochs_trained = 0
        self.steps_trained = 0
        self._engine = Engine()
        # The layers, and those of them that are no stacks by address, as they were when the model last looked.
        self._known: list[StackedLayer] = []
        self._places: list[tuple[str, StackedLayer]] = []
        super().__init__(trainable=trainable)
        self.name = name or "sequential"
        self._given_name = name or None
        self.ops = by_name(OPERATIONS, ops, "set of operations")
        if layers is not None and not isinstance(layers, Sequence):
            raise TypeError(f"{self} layers must be a list of layers, received {layers!r}.")
        for layer in layers or []:
            self.add(layer)
        if not trainable:
            self.trainable = False  # on all layers within
        self._engine.gather(self)

    def __str__(self) -> str:
        return f"model {self.name!r}"

    @property
    def given_name(self) -> str | None:
        return self._given_name

    def add(self, layer: LayerLike) -> None:
        """Put a layer on top: one of the library's, a stack, or any object with params, build, forward and backward.

        A layer that is built keeps its weights. Raises TypeError for anything else, ValueError where it does not fit the
        layers below or its name is in use; the model is then unchanged.
        """
        self.notice_changes()
        super().add(layer)
        self._engine.forget()
        if self.optimizer is not None:
            # here and not when fit begins: code that then holds one of the arrays would be left with a copy
            self._engine.gather(self)
        self._known, self._places = self._inside(), list(self.leaves())

    def pop(self) -> StackedLayer:
        """Take the layer on top away, and return it. Raises ValueError where there is none."""
        if not self.layers:
            raise ValueError(f"{self} has no layer to take away.")
        layer = self.layers.pop()
        self.notice_changes()
        return layer

    def frozen(self) -> set[int]:
        """The ids of the layers within that no training step changes; during ``fit``, those that were frozen when it began."""
        return super().frozen() if self._engine.frozen is None else self._engine.frozen

    def _inside(self) -> list[StackedLayer]:
        return [layer for stack in self.stacks() for layer in stack.layers]

    def notice_changes(self) -> None:
        """Where a list of layers was changed by hand, check that they fit together, and build the new ones."""
        now = self._inside()
        if len(now) == len(self._known) and all(map(operator.is_, now, self._known)):
            return
        self.add_again()
        before, self._known, self._places = self._places, now, list(self.leaves())
        self._engine.forget()
        if self.optimizer is not None:
            self.optimizer.slots = followed(self.optimizer.slots, before, self._places)

    def build(
        self, input_shape: Sequence[int | None], rng: np.random.Generator | None = None, dtype: DType | None = None
    ) -> Shape:
        """Allocate the weights for samples of this shape, and return the output's shape. The first data does the same.

        input_shape: without the batch axis; a leading None, Keras's batch axis, is dropped. rng, dtype: those of
        the enclosing model; without them, the model's own seed and dtype are used. Raises ValueError where it is built already.
        """
        self.notice_changes()
        if self.built and rng is None:
            raise ValueError(f"{self} is already built, for input_shape={self.input_shape}.")
        self.dtype = self.dtype if dtype is None else dtype
        output = super().build(input_shape, rng, self.dtype)
        self._engine.gather(self)
        return output

    def _generators(self, rng: np.random.Generator | None) -> Sequence[np.random.Generator]:
        if rng is not None:
            return super()._generators(rng)
        return [generator(self.seed, INITIALIZE, place) for place in range(len(self.layers))]

    def _build_next(self, layer: StackedLayer, shape: Shape) -> None:
        build_layer(layer, shape, generator(self.seed, INITIALIZE, len(self.layers)), self.dtype)

    def summary(self, print_fn: Callable[[str], object] | None = None) -> None:
        """Print a table of the layers, their output shapes and their weights. print_fn: called with each line instead."""
        self.notice_changes()
        if not self.built:
            raise ValueError(f"{self} is not built: give its first layer an input_shape, or call build(input_shape).")
        summary.show(self, print_fn)

    def _repr_html_(self) -> str | None:
        """The summary, for a notebook; None, for its plain name, before the model is built."""
        return summary.as_html(self) if self.built else None

    @explained
    def compile(
        self,
        optimizer: str | Optimizer = "rmsprop",
        loss: str | LossLike | None = None,
        metrics: Sequence[str | MetricLike | MetricFunction] | None = None,
    ) -> None:
        """Choose how to train.

        optimizer: a name or an Optimizer. loss: a name, a function or class of ``losses``, or an object with forward and
        backward. metrics: names, metrics, or functions (y_true, y_pred) → a number, one for each sample, or (total, count).
        Raises ValueError for an unknown name, suggesting the nearest ones. Warns where loss and last layer do not fit.
        """
        if loss is None:
            raise ValueError("compile needs a loss, e.g. loss='categorical_crossentropy'.")
        if isinstance(metrics, str):
            raise TypeError(f"metrics must be a list, received {metrics!r}. Use metrics=[{metrics!r}].")
        new_optimizer = optimizers.get(optimizer)
        new_loss, new_metrics = losses.get(loss), [metric_functions.get(metric) for metric in metrics or []]
        if new_optimizer.home is not None and new_optimizer.home.owner is not self:
            raise ValueError("this optimizer holds the state of another model: create a new one.")
        names = ["loss", *(name for name, _ in new_metrics)]
        if len(set(names)) < len(names):
            raise ValueError(f"every metric needs a name of its own, and not 'loss', received {names[1:]}.")
        if not is_view(self):  # layers taken from other models are its own from now on
            for stack in self.stacks():
                for layer in stack.layers:
                    if home(layer) is not stack:
                        settle(layer, stack)
        said = doubt(self.layers, new_loss) if self.layers else None
        if said is not None:
            warnings.warn(said, stacklevel=3)
        new_optimizer.home = Home(self)
        self.optimizer, self.loss, self.metrics = new_optimizer, new_loss, new_metrics
        self._engine.forget()
        self._engine.gather(self)

    @explained
    def fit(
        self,
        x: Samples | None = None,
        y: Samples | None = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Sequence[Callback] | Callback | None = None,
        validation_split: float = 0.0,
        validation_data: Sequence[Samples | None] | Any = None,
        shuffle: bool = True,
        class_weight: ClassWeight | None = None,
        sample_weight: Samples | None = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Sequence[int] = 1,
    ) -> History:
        """Train for epochs − initial_epoch passes over the samples.

        x: (N, *input_shape); or what makes batches (x, y) or (x, y, sample_weight): an object with ``__len__`` and
        ``__getitem__``, an iterable, or a generator, see ``engine.batches.Stream``. Each batch is made in a thread while the one
        before it is trained on. y: (N, …), as the loss expects it. batch_size: None means 32. validation_split: the share of the
        samples, the last ones before any shuffling, to validate on instead of training. validation_data: (x, y),
        (x, y, sample_weight), or what makes batches. verbose: 0 silent, 1 or "auto" a bar on a terminal and one line per epoch
        elsewhere, 2 one line per epoch. class_weight: class → weight, the weights of the classes 0, 1, …, or "balanced".
        sample_weight: (N,). steps_per_epoch, validation_steps: how many of the batches that are made are taken; None for all.
        validation_batch_size: None means batch_size. validation_freq: n validates after every n-th epoch; a list, after the
        epochs of these numbers, counted from 1.

        Returns the History, which is ``model.history`` as soon as fit begins. Raises RuntimeError before compile, and where
        another thread is training the model; ValueError or TypeError for data that does not fit; and FloatingPointError, naming
        epoch, batch and layer, when the loss is not finite: the weights are then those from before that batch. A
        KeyboardInterrupt says where it stopped, after a whole step. Ctrl-C waits for the current work: a part of a batch, and
        at first also the compilation of kernels that are not cached.
        """
        epochs = check_positive(epochs, "epochs")
        initial_epoch = check_count(initial_epoch, "initial_epoch")
        verbose = check_verbose(verbose)
        freq = (
            check_positive(validation_freq, "validation_freq")
            if not isinstance(validation_freq, list | tuple)
            else [check_positive(epoch, "each epoch of validation_freq") for epoch in validation_freq]
        )
        passes = epochs - initial_epoch
        validation: Batches | None = None
        if validation_data is not None:
            stream = is_stream(validation_data)
            held_out = (validation_data,) if stream else unpacked(validation_data)
            size = validation_batch_size
            size = batch_size if size is None and not stream else size
            validation, _ = self._batches(
                *held_out, what="validation_data", size=size, default=32, steps=validation_steps, passes=passes
            )
            validation_split = 0.0
        batches, split = self._batches(
            *(x, y, sample_weight, class_weight),
            size=batch_size,
            default=32,
            steps=steps_per_epoch,
            passes=passes,
            validation_split=validation_split,
        )
        if isinstance(split, Cut) and validation_batch_size is not None:
            split = Cut(split.data, check_positive(validation_batch_size, "validation_batch_size"))
        validation = validation or split
        with self._engine.trained_by_this_thread(self):
            stepper = Stepper(self, self._engine)
            training = Training(
                stepper, batches, validation, shuffle, (initial_epoch, epochs), callbacks, verbose, freq
            )
            self.history = training.history
            training.run()
        return training.history  # self.history may be that of a fit that a callback has made meanwhile

    @explained
    def evaluate(
        self,
        x: Samples | None = None,
        y: Samples | None = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        sample_weight: Samples | None = None,
        steps: int | None = None,
        callbacks: Sequence[Callback] | Callback | None = None,
        return_dict: bool = False,
    ) -> Any:
        """The loss, or [loss, metric, …] where there are metrics, or all by name with return_dict=True.

        x: samples, or what makes batches (x, y), as for ``fit``. batch_size: how many samples are processed at once; None leaves
        it to the library. Apart from rounding, the result does not depend on it, unless a metric is a function of yours that is
        no mean over samples, such as a root: it is given batches. steps: how many of the batches that are made are taken; None
        for all.
        """
        batches, _ = self._batches(x, y, sample_weight, size=batch_size, default=EVALUATION_BATCH, steps=steps)
        runner, metrics = self._engine.runner(self), self.metrics  # those of this moment, whatever a callback does
        with watched("evaluate", self, batches, verbose, callbacks) as hooks:
            logs = evaluate(runner, batches, metrics, hooks)
        return _result(logs, metrics, return_dict)

    @explained
    def predict(
        self,
        x: Samples,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        steps: int | None = None,
        callbacks: Sequence[Callback] | Callback | None = None,
    ) -> Array:
        """The predictions, (N, *output_shape), for x (N, *input_shape). The model need not be compiled.

        x: samples, or what makes batches of them, as for ``fit``; labels beside them are ignored. batch_size, steps: as for
        ``evaluate``.
        """
        batches, _ = self._batches(x, size=batch_size, default=EVALUATION_BATCH, steps=steps, labeled=False)
        runner = self._engine.runner(self)
        limit = _limit(runner, batches.count) if isinstance(batches, Cut) else SingleThreadedBlas()
        with watched("predict", self, batches, verbose, callbacks, limit) as hooks:
            return predict(runner, batches, hooks, self.output_shape or ())

    def __call__(self, x: Samples, training: bool = False) -> Array:  # type: ignore[override]
        """As in Keras, model(x): what ``predict_on_batch`` returns, an array. Raises TypeError for training=True."""
        if training:
            raise TypeError(
                f"{self} can only be called to predict: for dropout and gradients call trace(x, y, training=True)."
            )
        return self.predict_on_batch(x)

    def predict_on_batch(self, x: Samples) -> Array:
        """The predictions, (N, *output_shape), for x (N, *input_shape) as one batch: as ``predict`` does, apart from rounding.

        No callbacks and no bar: for one image, those take as long as a small network.
        """
        data, runner = Data(self._inputs(x)), self._engine.runner(self)
        y = np.empty((len(data), *(self.output_shape or ())), runner.dtype)
        with ranks.group.together("predict_on_batch", self, [data]), _limit(runner, len(data)):
            runner.predict(data, slice(0, len(data)), y)
        return y

    def train_on_batch(
        self,
        x: Samples,
        y: Samples | None = None,
        sample_weight: Samples | None = None,
        class_weight: ClassWeight | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One step on these samples as one batch. Returns what evaluate does, for this batch before the step."""
        data, _ = self._data(x, y, sample_weight, class_weight)
        together = ranks.group.together("train_on_batch", self, [data])
        with self._engine.trained_by_this_thread(self), together, SingleThreadedBlas():
            stepper = Stepper(self, self._engine)
            stepper.begin()
            sums, gradients, measured = stepper.gradients(data, slice(0, len(data)))
            with Uninterrupted():
                stepper.step(gradients, measured)
        return _result(means(self.metrics, sums), self.metrics, return_dict)

    def test_on_batch(
        self, x: Samples, y: Samples | None = None, sample_weight: Samples | None = None, return_dict: bool = False
    ) -> Any:
        """What evaluate returns, for these samples as one batch. No callbacks and no bar."""
        data, _ = self._data(x, y, sample_weight)
        batches, runner, hooks = Cut(data, max(1, len(data))), self._engine.runner(self), CallbackList([], self, {})
        with ranks.group.together("test_on_batch", self, [data]), SingleThreadedBlas():
            return _result(evaluate(runner, batches, self.metrics, hooks), self.metrics, return_dict)

    @explained
    def measure_statistics(self, x: Samples, batch_size: int | None = None, steps: int | None = None) -> None:
        """Measure batch normalization's moments afresh, on x (N, *input_shape), in place of the moving averages.

        For weights that did not come from the last training step, such as averaged ones. One pass in training mode, with dropout,
        in which each batch is normalized by its own moments, as in training; the state becomes the moments over all batches.
        Frozen layers keep theirs. x, batch_size, steps: as for ``predict``.
        """
        batches, _ = self._batches(x, size=batch_size, default=STATISTICS_BATCH, steps=steps, labeled=False)
        with self._engine.trained_by_this_thread(self):
            Stepper(self, self._engine).measure(batches)

    def loss_and_gradients(
        self, x: Samples, y: Samples, sample_weight: Samples | None = None, *, training: bool = False
    ) -> tuple[float, dict[str, Array]]:
        """The loss of these samples as one batch, and its gradient for every parameter by address, "layer/parameter".

        Does not change the model; frozen layers get gradients, too. training: True computes as in a training step, with dropout
        (and the masks of the next step).
        """
        data, _ = self._data(x, y, sample_weight)
        key = derive_key(self.seed, FORWARD, self.steps_trained) if training else None
        with ranks.group.together("loss_and_gradients", self, [data], training=training), SingleThreadedBlas():
            return whole_gradient(self._engine.runner(self), data, key)

    def trace(self, x: Samples, y: Samples, *, training: bool = False) -> Trace:
        """One forward and backward pass over these samples, layer by layer, with everything that passes through: see ``Trace``.

        Does not change the model. A softmax at the end is computed together with a crossentropy, as in training: the last
        layer's y are then the logits. training: as for loss_and_gradients.
        """
        data, _ = self._data(x, y)
        key = derive_key(self.seed, FORWARD, self.steps_trained) if training else None
        with SingleThreadedBlas():
            return trace(self, data, key)

    def set_weights(self, weights: Sequence[npt.ArrayLike]) -> None:
        """Copy the arrays into the weights, in the order of get_weights.

        Raises ValueError, and changes nothing, where they do not fit.
        """
        self.notice_changes()
        with Uninterrupted():
            super().set_weights(weights)

    def get_weights(self) -> list[Array]:
        """Copies of all weights, layer by layer: a layer's parameters, and then its state."""
        self.notice_changes()
        return super().get_weights()

    def count_params(self) -> int:
        """The number of entries in its weights."""
        self.notice_changes()
        return super().count_params()

    def _inputs(self, x: Samples | None, what: str = "x") -> ArraySource:
        """x, checked against the model; the first data builds a model that does not yet know its input shape."""
        self._get_ready(lambda: x, what)
        return check_input(x, self.input_shape or (), str(self), what)

    def _get_ready(self, first: Callable[[], Samples | None], what: str) -> None:
        """Take changes of the layers into account, and build a model that does not know its input shape. first: some data."""
        if not self.layers:
            raise ValueError(f"{self} has no layers: add some first.")
        with _building:
            self.notice_changes()
            built, shape = self.built, self.input_shape
        if not built:
            shape = shape or tuple(
                check_array(first(), what).shape[1:]
            )  # a generator of the user's: it may wait for another model
            with _building:  # or another thread would find it unbuilt, too, and replace the weights while we work
                if not self.built:
                    self.build(shape)

    def _loss(self) -> LossLike:
        if self.loss is None:
            raise RuntimeError(f"{self} must be compiled first: call compile(loss=…, optimizer=…).")
        return self.loss

    def _data(
        self,
        x: Samples | None,
        y: Samples | None,
        sample_weight: Samples | None = None,
        class_weight: ClassWeight | None = None,
        *,
        what: str = "x",
        validation_split: object = 0.0,
    ) -> tuple[Data, Data | None]:
        """x, y and weights, checked and combined; and the part to validate on, or None."""
        loss = self._loss()
        return collect(
            self._inputs(x, what),
            y,
            sample_weight,
            class_weight,
            loss=loss,
            output_shape=self.output_shape or (),
            what=what,
            validation_split=validation_split,
        )

    def _batches(
        self,
        x: Any,
        y: Samples | None = None,
        sample_weight: Samples | None = None,
        class_weight: ClassWeight | None = None,
        *,
        size: int | None,
        default: int,
        steps: int | None,
        what: str = "x",
        passes: int = 1,
        validation_split: object = 0.0,
        labeled: bool = True,
    ) -> tuple[Batches, Batches | None]:
        """The batches of all passes, and those to validate on, or None. labeled: False for ``predict``.

        size: that of the batches of arrays, None for the default. steps, what, passes: as for ``Stream``.
        """
        if y is None and is_stream(x):
            check_left_out(x, size, sample_weight, validation_split, class_weight)
            loss = self._loss() if labeled else None

            def prepare(batch: Parts, name: str) -> Data:
                shape, output_shape = self.input_shape or (), self.output_shape or ()
                return collect_batch(batch, name, str(self), shape, loss, output_shape, class_weight)

            stream = Stream(x, prepare, steps, what, passes)
            self._get_ready(lambda: stream.first()[0], f"batch 1 of {what}")
            return stream, None
        if is_stream(x) and labeled:
            raise TypeError(
                f"x is a {type(x).__name__}, and y was given, too. If x makes batches (x, y), leave y out; otherwise use "
                f"{collected(x, 'x')}."
            )
        size = check_positive(default if size is None else size, "batch_size")
        what = "x" if what == "x" else f"{what}'s x"
        held_out = None
        if labeled:
            data, held_out = self._data(x, y, sample_weight, class_weight, what=what, validation_split=validation_split)
        else:
            data = Data(self._inputs(x))
        if steps is not None:
            raise ValueError("steps are for generators and the like: arrays are cut by batch_size. Leave them out.")
        return Cut(data, size), None if held_out is None else Cut(held_out, size)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in super().__getstate__().items() if name != "_engine"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._engine = Engine()
        if self.optimizer is not None and self.optimizer.home is None:
            self.optimizer.home = Home(self)


def _limit(runner: Runner, n: int) -> contextlib.AbstractContextManager[None]:
    """Keeps BLAS single-threaded where predictions for n samples call it: for one image, that takes as long as a layer."""
    return SingleThreadedBlas() if may_call_blas(runner.plan.steps, n) else contextlib.nullcontext()


def _result(logs: Logs, metrics: Sequence[tuple[str, MetricLike]], return_dict: bool) -> Any:
    if return_dict:
        return logs
    values = [logs["loss"], *(logs[name] for name, _ in metrics)]
    return values if metrics else values[0]
