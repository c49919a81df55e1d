"""The state of a running training: everything that the rest of it depends on, so that another process can resume it.

A file of it holds the model's arrays and counters, as ``model.save`` writes them; the settings, which have to be the same on
resuming; and a JSON string with the place in the training and the callbacks' states.
"""

import json
import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import numpy as np

from . import configs, ranks, saving, state
from .checks import is_integer
from .contracts import JSON, Array, ModelLike, Path
from .engine.interrupts import Uninterrupted
from .engine.runner import Sums, shards
from .state import is_count
from .utils.terminal import printable_lines

if TYPE_CHECKING:
    from .engine.batches import Batches
    from .optimizers import Optimizer
    from .training import Training

Content: TypeAlias = Mapping[str, JSON]  # of a file, without its arrays
Backup: TypeAlias = tuple[Content, Mapping[str, Array]]
Place: TypeAlias = dict[str, Any]  # in a training, as JSON holds it; _check checks each value that comes from a file

CALLBACKS = "/callbacks/"  # the prefix of their arrays' names: no layer has an empty name
PLACE = ("seed", "learning_rate", "stop_training", "began", "epoch", "batch", "sums", "logs", "callbacks")


def get_state(training: "Training") -> Backup:
    """(content, arrays) of a training, for a file. The arrays are the model's own, not copies.

    Raises TypeError where a callback's state or the logs cannot be stored.
    """
    model = training.model
    counters, arrays = state.get_state(model)
    over = bool(model.stop_training)  # then the remaining batches of the epoch will not be trained
    states: list[object] = [
        callback.get_state() for callback in training.stateful
    ]  # a user's callback may return anything
    for i, found in enumerate(states):
        if not isinstance(found, dict):
            name = type(training.stateful[i]).__name__
            raise TypeError(f"{name}: get_state must return a dictionary, received {found!r}.")
        own = {name: value for name, value in found.items() if isinstance(value, np.ndarray)}
        arrays |= {f"{CALLBACKS}{i}/{name}": value for name, value in own.items()}
        states[i] = {name: value for name, value in found.items() if name not in own}
    place = {
        "seed": model.seed,
        "learning_rate": _learning_rate(model),
        "stop_training": over,
        "began": training.began,
        "epoch": training.epoch,
        "batch": training.steps if over and training.batch > 0 else training.batch,
        "sums": training.sums,
        "logs": training.logs,
        "callbacks": states,
    }
    try:  # a JSON string of its own, because NaN and infinity, which strict JSON forbids, are common in it
        text = json.dumps(place, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"a backup cannot hold what a callback has put into its state or into the logs: {error}. These may hold arrays, "
            "and what JSON can hold, with strings or numbers as keys."
        ) from error
    fit = _settings(training) | {
        "frozen": _frozen(training),
        "validation_freq": training.validation_freq,
        "shards": _cuts(training),
    }
    return {"state": counters, "fit": fit, "training": text}, arrays


def set_state(training: "Training", content: Content, arrays: Mapping[str, Array]) -> None:
    """Resume from the result of get_state.

    Raises ValueError, and leaves the model unchanged, where it belongs to another training or is not valid.
    """
    theirs = content.get("fit")
    theirs = theirs if isinstance(theirs, dict) else {}
    for name, value in _settings(training).items():
        _check_same(name, value, theirs.get(name))
    # 0.1.0 stored none of these: it could not freeze layers, validated in each epoch, and cut every batch by its size alone
    _check_same("the frozen layers", _frozen(training), theirs.get("frozen", []))
    _check_same("validation_freq", training.validation_freq, theirs.get("validation_freq", 1))
    _check_cuts(_cuts(training), theirs.get("shards", _cuts_of_first_version(training)))
    _check(training, _parsed(content.get("training")))
    put_back(training, content, arrays)
    training.backup = content, arrays


def put_back(training: "Training", content: Content, arrays: Mapping[str, Array]) -> None:
    """Apply a state that has been checked. The callbacks come first, because they may reject theirs."""
    model, place = training.model, _parsed(content["training"])
    for i, callback in enumerate(training.stateful):
        prefix = f"{CALLBACKS}{i}/"
        kept = {name.removeprefix(prefix): a.copy() for name, a in arrays.items() if name.startswith(prefix)}
        callback.set_state(place["callbacks"][i] | kept)
    own = {name: value for name, value in arrays.items() if not name.startswith(CALLBACKS)}
    with Uninterrupted():
        state.set_state(model, content.get("state"), own)
        model.seed, model.stop_training = place["seed"], place["stop_training"]
        if place["learning_rate"] is not None:
            _optimizer(model).learning_rate = place["learning_rate"]
        training.epoch, training.batch = place["epoch"], place["batch"]
        # a callback ended the training, and more epochs do not change that
        if place["stop_training"] and training.batch == 0:
            training.epoch = training.epochs
        training.sums, training.logs = _sums(place["sums"], model), place["logs"]
        training.began = place["began"]


def save(training: "Training", path: Path) -> None:
    """Write the state of a training to a file."""
    saving.write(path, "backup", *get_state(training))


def restore(training: "Training", path: Path) -> None:
    """Resume the training from the backup in this file. Raises ValueError, and leaves the model unchanged, where it cannot."""

    def read() -> Backup:
        if os.path.islink(path) or not os.path.isfile(path):
            raise ValueError("it is not an ordinary file.")
        return saving.read(path, "backup")

    try:
        set_state(training, *ranks.group.once(read))
    except ValueError as error:
        raise ValueError(
            f"BackupAndRestore cannot resume from '{os.fsdecode(path)}': {printable_lines(str(error)[: saving.LONGEST])} "
            "To train from the beginning, delete that file; to resume, call fit as it was called then."
        ) from error


def beginning(model: ModelLike) -> Place:
    """The model's counters and learning rate, or what its schedule is, when a fit begins."""
    rate = _optimizer(model).learning_rate
    told = getattr(rate, "__name__", None) or described(rate) if callable(rate) else float(rate)
    return {**{name: getattr(model, name) for name in state.COUNTERS}, "learning_rate": told}


def undo_rate(training: "Training") -> None:
    """If no step was made, restore the learning rate from the beginning, so that the same fit can be resumed."""
    model, began = training.model, training.began
    if _is_number(began.get("learning_rate")) and all(getattr(model, name) == began[name] for name in state.COUNTERS):
        _optimizer(model).learning_rate = began["learning_rate"]


def described(thing: object) -> JSON:
    """The class and the settings; the class alone where JSON cannot hold the settings."""
    name = type(thing).__name__
    try:
        described: JSON = json.loads(configs.to_json({"class": name, **configs.describe(thing, {})["config"]}))
    except ValueError:
        return name
    return _without_decided_above(described)


def _optimizer(model: ModelLike) -> "Optimizer":
    assert model.optimizer is not None  # a model that trains is compiled
    return model.optimizer


def _learning_rate(model: ModelLike) -> float | None:
    """As a float; None where it is a function of the step, which need not be stored."""
    rate = _optimizer(model).learning_rate
    return None if callable(rate) else float(rate)


DECIDED_ABOVE = ("seed", "dtype", "ops", "fuse")  # settings without effect in a model inside another one


def _settings(training: "Training") -> dict[str, JSON]:
    """What has to be the same when a training is resumed, in the form that JSON returns."""
    model = training.model
    optimizer = described(model.optimizer)
    if isinstance(optimizer, dict):
        optimizer.pop("learning_rate", None)  # callbacks may change it
    return {
        "layers": [described(layer) for layer in model.layers],
        "input_shape": list(model.input_shape or ()),
        "dtype": model.dtype.name,
        "ops": model.ops.__name__,
        "fuse": model.fuse,
        "optimizer": optimizer,
        "loss": described(model.loss),
        "metrics": [name for name, _ in model.metrics],
        **_of_batches(training.batches),
        "the number of validation samples": 0 if training.validation is None else training.validation.count,
        "shuffle": bool(training.shuffle),
        "initial_epoch": training.initial_epoch,
        "the callbacks with a state": [type(callback).__name__ for callback in training.stateful],
    }


def _of_batches(batches: "Batches") -> dict[str, JSON]:
    if batches.size is None:
        return {"the number of batches": batches.count, "steps_per_epoch": batches.steps}
    return {"the number of samples": batches.count, "batch_size": batches.size}


def _frozen(training: "Training") -> list[str]:
    """The layers that training does not change."""
    frozen = training.model.frozen()
    return [address for address, layer in training.model.leaves() if id(layer) in frozen]


def _cuts(training: "Training") -> list[list[int]]:
    """[samples, shards] of a batch, and of an epoch's last one: the order of the sums decides the gradients' last bits."""
    work = training.stepper.runner.work
    return [[n, len(shards(n, work))] for n in _sizes(training)]


def _cuts_of_first_version(training: "Training") -> list[list[int]]:
    """The same for version 0.1.0; negative counts mark more than three shards, which it summed in another order."""
    counts = [(n, max(-(-n // 100), 2 if n >= 16 else 1)) for n in _sizes(training)]
    return [[n, count if count <= 3 else -count] for n, count in counts]


def _sizes(training: "Training") -> list[int]:
    n, size = training.batches.count, training.batches.size
    if n is None or size is None:  # the user's batches are known only when they come
        return []
    return sorted({min(n, size), n % size or size})


def _check_cuts(ours: list[list[int]], theirs: JSON) -> None:
    if ours == theirs:
        return
    if isinstance(theirs, list) and len(theirs) == len(ours) and all(isinstance(cut, list) for cut in theirs):
        for (n, now), then in zip(ours, theirs, strict=True):
            if then != [n, now] and len(then) == 2 and is_integer(then[1]):
                raise ValueError(
                    f"the version of minidl that wrote it cut a batch of {n} samples into {abs(then[1])} shards, and this one "
                    f"cuts it into {now}, or adds them up in another order: the numbers would not be the same."
                )
    raise ValueError(f"it is damaged: the shards of a batch cannot be {theirs!r:.200}.")


def _without_decided_above(found: JSON) -> JSON:
    """A description without those settings of inner models that the outermost one decides."""
    if isinstance(found, list):
        return [_without_decided_above(item) for item in found]
    if not isinstance(found, dict):
        return found
    without = DECIDED_ABOVE if isinstance(found.get("layers"), list) else ()  # it describes a stack
    return {key: _without_decided_above(value) for key, value in found.items() if key not in without}


def _plain(value: object) -> JSON:
    """NumPy scalars and arrays as Python's numbers and lists, for JSON."""
    if isinstance(value, np.generic | np.ndarray):
        numbers: JSON = value.tolist()
        return numbers
    raise TypeError(f"received {value!r:.200}")


# ----------------------------------------------------------------------- checks of a file's content, which may be anything


def _parsed(text: Any) -> Place:
    try:
        place = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"it is damaged: its JSON cannot be read ({error}).") from error
    if not isinstance(place, dict):
        raise ValueError(f"it is damaged: expected the state of a training, found {type(place).__name__}.")
    return place


def _check(training: "Training", place: Place) -> None:
    """Raise ValueError where this cannot be a state of this training."""
    missing = [name for name in PLACE if name not in place]
    if missing:
        raise ValueError(f"it is damaged: {missing[0]} is missing.")
    seed, rate, stop, began, epoch, batch, found, logs, states = (place[name] for name in PLACE)
    if not is_count(epoch) or epoch < training.initial_epoch:
        raise ValueError(f"it is damaged: the epoch cannot be {epoch!r:.200}.")
    sums = _sums(found, training.model)
    if not is_count(batch) or batch > (training.steps or 0) or (sums is None) != (batch == 0):
        raise ValueError(f"it is damaged: the batch cannot be {batch!r:.200}.")
    begun = epoch + (batch > 0)
    if begun > max(training.initial_epoch, training.epochs):
        raise ValueError(f"it has come to epoch {begun}, and epochs is {training.epochs} now.")
    if not isinstance(logs, dict) or not isinstance(stop, bool):
        raise ValueError("it is damaged: expected logs, and whether to stop.")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"it is damaged: the seed must be an integer ≥ 0, found {seed!r:.200}.")
    if not isinstance(states, list) or [type(state) for state in states] != [dict] * len(training.stateful):
        raise ValueError("it is damaged: expected a state for each callback.")
    if not isinstance(began, dict) or not all(is_count(began.get(name)) for name in state.COUNTERS):
        raise ValueError("it is damaged: expected how the model stood at the beginning.")
    then = began.get("learning_rate")
    if not (_is_number(rate) and 0 <= rate < math.inf) and (rate is not None or _is_number(then)):
        raise ValueError(f"it is damaged: the learning rate must be a number ≥ 0, found {rate!r:.200}.")
    now = beginning(training.model)
    if any(now[name] < began[name] for name in state.COUNTERS):
        raise ValueError(
            f"it was made by a later fit: that one began at step {began['steps_trained']} of the model's life, and now it "
            f"is at step {now['steps_trained']}. Give each fit a folder of its own."
        )
    unchanged = all(now[name] == began[name] for name in state.COUNTERS)
    if unchanged and then is not None:
        _check_same("learning_rate", now["learning_rate"], then)
    if _is_number(now["learning_rate"]) and (rate is None or (unchanged and then is None)):
        # earlier versions noted None for a function
        _check_same("learning_rate", now["learning_rate"], "a function of the step")


def _check_same(name: str, ours: JSON, theirs: JSON) -> None:
    """Raise ValueError, naming the first difference, however deep it is.

    A setting that is missing there is one that the version which wrote it did not have: new settings are off at None and 0.
    """
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() >= theirs.keys():
        for key, value in ours.items():
            if key in theirs or value:
                _check_same(f"{name}'s {key}", value, theirs.get(key))
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for i, value in enumerate(ours):
            _check_same(f"{name}[{i}]", value, theirs[i])
    elif ours != theirs:
        raise ValueError(f"it is of another training: {name} was {theirs!r:.200} then, and is {ours!r:.200} now.")


def _sums(found: Any, model: ModelLike) -> Sums | None:
    """The sums of an epoch, from lists."""
    if found is None:
        return None
    damaged = ValueError(f"it is damaged: the sums of an epoch cannot be {found!r:.200}.")
    try:
        loss, samples, lists = found
        arrays = [np.array(each) for each in lists]
    except (TypeError, ValueError):
        raise damaged from None
    shapes = [metric.empty(model.output_shape or ()).shape for _, metric in model.metrics]
    if not is_count(samples) or samples == 0 or not _is_number(loss) or [each.shape for each in arrays] != shapes:
        raise damaged
    if any(each.dtype.kind not in "fi" for each in arrays):
        raise damaged
    return Sums(loss, samples, [each.astype(np.float64) for each in arrays])


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63)
