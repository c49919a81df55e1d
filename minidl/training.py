"""The loop of ``fit``: epochs, batches, callbacks."""

import contextlib
import math
from collections.abc import Sequence

import numpy as np

from . import ranks, resuming
from .callbacks import Callback, CallbackList, History, Progress, one_by_one
from .callbacks.averages import held, trained
from .callbacks.base import TrainingCallback, follows_batches
from .contracts import Logs, Path, TrainedModel
from .engine import memory
from .engine.batches import Batches
from .engine.blas import SingleThreadedBlas
from .engine.data import Data, Where, sample_count
from .engine.engine import Engine
from .engine.interrupts import Uninterrupted
from .engine.runner import NotFinite, Sums
from .engine.stages import Measured
from .engine.update import update
from .engine.vector import Gradient
from .ops.random import FORWARD, SHUFFLE, derive_key, generator
from .passes import evaluate, means, measure


class Stepper:
    """Makes a model's training steps. What is frozen when the Stepper is made stays frozen in all of its steps.

    Raises ValueError where another model owns the layers.
    """

    def __init__(self, model: TrainedModel, engine: Engine) -> None:
        self.model, self.engine = model, engine
        self.parameters = engine.train(model)
        self.runner = engine.runner(model)
        self.frozen = model.frozen()
        self.ranges = self.parameters.layout.ranges(self.frozen)
        self.lowest = self.runner.plan.lowest_trained(self.frozen)

    def begin(self) -> None:
        """Where averages are kept: put the parameters back, if an evaluation or a file has left the averages in their place, and
        let those of frozen layers begin where the layers are."""
        optimizer = self.model.optimizer
        assert optimizer is not None
        if optimizer.use_ema:
            with Uninterrupted():
                if optimizer.swapped:
                    optimizer.swap_averages(trained(self.model))
                optimizer.restart_averages(held(self.model))

    def gradients(self, data: Data, where: Where) -> tuple[Sums, list[Gradient], Measured]:
        """The sums of one batch in training, and for ``step`` the gradient of its loss and what layers measured of it."""
        self.hold()  # a callback may have replaced parameters
        # deriving a key takes as long as a small matrix product
        key = derive_key(self.model.seed, FORWARD, self.model.steps_trained) if self.runner.plan.draws else 0
        return self.runner.gradients(data, where, key, self.lowest, self.ranges)

    def step(self, gradients: list[Gradient], measured: Measured) -> None:
        """Make the optimizer's step, let layers learn what they measured, and count the step in the model's life.

        The caller lets nothing interrupt: all of it, or nothing.
        """
        model = self.model
        assert model.optimizer is not None
        self.hold()  # a layer's forward may have, too
        slots = self.engine.slots(model, self.ranges)
        update(self.parameters, gradients, self.ranges, model.optimizer, slots, model.ops)
        for layer, total in measured:
            if id(layer) not in self.frozen:
                layer.learn(total)
        model.steps_trained += 1
        self.runner.release(gradients)

    def measure(self, batches: Batches) -> None:
        """Replace what layers have learned of their data by what they measure of these samples, in one pass, in random order."""
        model, order = self.model, None
        if batches.count is not None:
            order = generator(model.seed, SHUFFLE, model.epochs_trained).permutation(batches.count)
        with ranks.group.together("measure_statistics", model, [batches]), SingleThreadedBlas():
            measured = measure(
                self.runner, batches, order, lambda i: derive_key(model.seed, FORWARD, model.steps_trained + i)
            )
        with Uninterrupted():
            for layer, total in measured:
                if id(layer) not in self.frozen:
                    layer.learn(total, momentum=0)

    def hold(self) -> None:
        """Adopt parameters that layers have replaced. Raises RuntimeError where these are no longer the model's parameters."""
        if self.engine.parameters is not self.parameters or not self.parameters.hold():
            raise RuntimeError(
                f"{self.model} was compiled, or its layers were changed, during training: let fit return first."
            )


class Training:
    """One call of ``fit``.

    Attributes: epoch: the current one, from 0. batch: how many of its batches are done. sums: the sums of these, None before
    the first. logs: those of the last finished epoch. stateful: the callbacks whose state belongs in a backup.
    """

    def __init__(
        self,
        stepper: Stepper,
        batches: Batches,
        validation: Batches | None,
        shuffle: bool,
        epochs: tuple[int, int],
        callbacks: Sequence[Callback] | Callback | None,
        verbose: int,
        validation_freq: int | list[int] = 1,
    ) -> None:
        self.stepper, self.model = stepper, stepper.model
        self.batches, self.validation, self.shuffle = batches, validation, shuffle
        self.validation_freq = validation_freq
        self.initial_epoch, self.epochs = epochs
        self.steps = batches.steps
        self.history = History()
        self.progress = Progress(verbose, self.steps, self.epochs)
        # after the user's, so that it shows what these add to the logs
        every = [*one_by_one(callbacks), *([self.progress] if verbose else []), self.history]
        every.sort(key=lambda callback: isinstance(callback, TrainingCallback))
        settings = {"epochs": self.epochs, "steps": self.steps, "verbose": verbose}
        self.hooks = CallbackList(every, self.model, settings)
        self.backups = [each for each in every if isinstance(each, TrainingCallback)]
        once = validation is not None and validation.once
        if self.backups and (batches.count is None or batches.steps is None or once):
            what = "with a generator as validation_data" if once else "from the middle of a generator"
            raise TypeError(
                f"{type(self.backups[0]).__name__} cannot resume {what}: give fit arrays, or an object with __len__ and "
                "__getitem__."
            )
        self.stateful = [each for each in every if type(each).get_state is not Callback.get_state]
        self.epoch = self.initial_epoch
        self.batch = 0
        self.sums: Sums | None = None
        self.logs: Logs = {}
        self.began = resuming.beginning(self.model)
        self.backup: resuming.Backup | None = None  # what the training is resumed from

    def save(self, path: Path) -> None:
        """Write the state of the training to a file."""
        resuming.save(self, path)

    def restore(self, path: Path) -> None:
        """Resume from the state in a file. Raises ValueError, and leaves the model unchanged, where it does not fit."""
        resuming.restore(self, path)

    def run(self) -> None:
        """Train to the end. A KeyboardInterrupt gets a note of where it stopped the training."""
        self.model.stop_training = False
        optimizer = self.model.optimizer
        assert optimizer is not None
        for callback in self.backups:
            callback.training = self
        data = [each for each in (self.batches, self.validation) if each is not None]
        settings = {
            "epochs": (self.initial_epoch, self.epochs),
            "shuffle": self.shuffle,
            "validation_freq": self.validation_freq,
            "callbacks": self._described(),
        }
        try:
            with ranks.group.together("fit", self.model, data, **settings), SingleThreadedBlas(), memory.kept():
                self.hooks.on_train_begin()
                self.stepper.begin()  # not before: a backup may hold the averages in the parameters' place
                while self.epoch < self.epochs:
                    self._epoch()
                    if self.model.stop_training:
                        break
                if optimizer.use_ema and self.epochs > self.initial_epoch:
                    with Uninterrupted():
                        optimizer.keep_averages(trained(self.model))
                self.hooks.on_train_end(self.logs)
        except BaseException as error:
            resuming.undo_rate(self)
            if isinstance(error, KeyboardInterrupt):
                error.add_note(self._where_it_stopped())
            raise
        finally:
            self.progress.close()
            for callback in self.backups:
                callback.training = None  # which would keep the samples alive

    def _epoch(self) -> None:
        """One pass over the samples, and the validation."""
        epoch, model = self.epoch, self.model
        self.hooks.on_epoch_begin(epoch)
        backup, self.backup = self.backup, None
        if backup is not None and self.batch > 0:
            resuming.put_back(self, *backup)  # once more: the saved state has already seen this epoch begin
        self.progress.done = self.batch  # which may be all of them
        order = None if self.batches.count is None else np.arange(self.batches.count)
        if self.shuffle and order is not None:
            order = generator(model.seed, SHUFFLE, model.epochs_trained).permutation(len(order))
        followed = any(map(follows_batches, self.hooks.callbacks))  # otherwise nobody is told of batches
        with contextlib.closing(self.batches.one_pass(order, self.batch)) as batches:
            for data, where in batches:
                batch = self.batch
                if followed:
                    self.hooks.on_train_batch_begin(batch)
                self._batch(data, where)
                if followed:
                    self.hooks.on_train_batch_end(batch, means(model.metrics, self.sums))
                if model.stop_training:
                    break
            else:  # the user's batches may be fewer than those of an epoch
                model.stop_training = model.stop_training or self.batch < (self.steps or 0)
        if self.sums is None:
            return  # an epoch without a batch did not take place
        self.stepper.hold()  # a callback may have compiled the model, with other metrics
        self.logs = means(model.metrics, self.sums)
        if self.validation is not None and self._validates(epoch + 1):
            held_out = evaluate(self.stepper.runner, self.validation, model.metrics, self.hooks)
            self.logs |= {f"val_{name}": value for name, value in held_out.items()}
        with Uninterrupted():
            model.epochs_trained += 1
            self.epoch, self.batch, self.sums = epoch + 1, 0, None
        self.hooks.on_epoch_end(epoch, self.logs)
        ranks.group.agree(model)

    def _validates(self, number: int) -> bool:
        """Whether the epoch of this number, from 1, ends with a validation."""
        freq = self.validation_freq
        return number in freq if isinstance(freq, list) else number % freq == 0

    def _batch(self, data: Data, where: Where) -> None:
        """One batch: its step, and its contribution to the epoch's sums."""
        model = self.model
        gradients: list[Gradient] | None = None
        try:
            sums, gradients, measured = self.stepper.gradients(data, where)
        except NotFinite as error:
            if not any(callback.accepts_nan for callback in self.hooks.callbacks):
                raise NotFinite(f"in epoch {self.epoch + 1}, batch {self.batch + 1}: {error}") from None
            sums = Sums(
                math.nan, sample_count(where), [metric.empty(model.output_shape or ()) for _, metric in model.metrics]
            )
        with Uninterrupted():
            if gradients is not None:
                self.stepper.step(gradients, measured)
            self.sums = sums if self.sums is None else self.sums.plus(sums)
            self.batch += 1

    def _described(self) -> list[str]:
        """The callbacks, but for the bar, which rank 0 alone shows."""
        return [type(callback).__name__ for callback in self.hooks.callbacks if callback is not self.progress]

    def _where_it_stopped(self) -> str:
        place = "after its last epoch"
        if self.epoch < self.epochs:
            batches = f"{self.batch} batches" if self.steps is None else f"{self.batch} of {self.steps} batches"
            place = f"in epoch {self.epoch + 1} of {self.epochs}, after {batches}"
        return (
            f"fit was stopped {place}. {self.model} is as step {self.model.steps_trained} of its life has left it; "
            "model.history holds the epochs that are done."
        )
