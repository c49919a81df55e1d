"""The state of a training that is at work: everything that the rest of it depends on, to go on from in another process.

In a file it is the arrays and counters of the model, as ``model.save`` has them; the settings, which have to be the same again;
and a JSON text with the place in the training and what the callbacks remember.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import configs, saving
from .engine.interrupts import Uninterrupted
from .engine.runner import Sums
from .ops.geometry import Array

Content = Mapping[str, Any]

CALLBACKS = "/callbacks/"  # before the names of their arrays: no layer has an empty name
PLACE = ("seed", "learning_rate", "stop_training", "began", "epoch", "batch", "sums", "logs", "callbacks")


def get_state(training: Any) -> tuple[Content, dict[str, Array]]:
    """(content, arrays) for ``saving.write``. The arrays are the model's own, not copies."""
    model = training.model
    counters, arrays = saving.training_state(model)
    over = bool(model.stop_training)  # then the other batches of the epoch will not be trained
    states = [callback.get_state() for callback in training.keeping]
    for i, state in enumerate(states):
        if not isinstance(state, dict):
            name = type(training.keeping[i]).__name__
            raise TypeError(f"{name}: get_state must return a dictionary, received {state!r}.")
        own = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
        arrays |= {f"{CALLBACKS}{i}/{name}": value for name, value in own.items()}
        states[i] = {name: value for name, value in state.items() if name not in own}
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
    try:  # a text of its own, because NaN and infinity, which JSON does not know, are quite usual in these
        text = json.dumps(place, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"a backup cannot hold what a callback has put into its state or into the logs: {error}. These may hold arrays, "
            "and what JSON can hold, with texts or numbers as keys."
        ) from error
    return {"state": counters, "fit": _settings(training), "training": text}, arrays


def set_state(training: Any, content: Content, arrays: Mapping[str, Array]) -> None:
    """Go on from what get_state gave.

    Raises ValueError, and leaves the model as it was, where that is of another training, or no such thing at all.
    """
    theirs = content.get("fit")
    for name, value in _settings(training).items():
        _check_same(name, value, theirs.get(name) if isinstance(theirs, dict) else None)
    _check(training, _parsed(content.get("training")))
    take(training, content, arrays)
    training.backup = content, arrays


def take(training: Any, content: Content, arrays: Mapping[str, Array]) -> None:
    """Put everything where a state says that has been checked. The callbacks first: they may find fault with theirs."""
    model, place = training.model, _parsed(content["training"])
    for i, callback in enumerate(training.keeping):
        prefix = f"{CALLBACKS}{i}/"
        kept = {name.removeprefix(prefix): a.copy() for name, a in arrays.items() if name.startswith(prefix)}
        callback.set_state(place["callbacks"][i] | kept)
    own = {name: value for name, value in arrays.items() if not name.startswith(CALLBACKS)}
    with Uninterrupted():
        saving.set_training_state(model, content.get("state"), own)
        model.seed, model.stop_training = place["seed"], place["stop_training"]
        if place["learning_rate"] is not None:
            model.optimizer.learning_rate = place["learning_rate"]
        training.epoch, training.batch = place["epoch"], place["batch"]
        # a callback has ended it, and more epochs do not change that
        if place["stop_training"] and training.batch == 0:
            training.epoch = training.last
        training.sums, training.logs = _sums(place["sums"], len(model.metrics)), place["logs"]
        training.began = place["began"]


def beginning(model: Any) -> dict[str, Any]:
    """How the model stands when a fit begins."""
    return {**{name: getattr(model, name) for name in saving.COUNTERS}, "learning_rate": _learning_rate(model)}


def undo_rate(training: Any) -> None:
    """Where no step was made, give back the learning rate of the beginning: the same fit must be able to go on."""
    model, began = training.model, training.began
    if began["learning_rate"] is not None and all(getattr(model, name) == began[name] for name in saving.COUNTERS):
        model.optimizer.learning_rate = began["learning_rate"]


def _learning_rate(model: Any) -> float | None:
    """The number; None where it is a function of the step, which needs no keeping."""
    rate = model.optimizer.learning_rate
    return None if callable(rate) else float(rate)


def _settings(training: Any) -> dict[str, Any]:
    """What has to be the same where a training goes on, as JSON gives it back."""
    model = training.model
    optimizer = _described(model.optimizer)
    if isinstance(optimizer, dict):
        optimizer.pop("learning_rate", None)  # callbacks change it
    return {
        "layers": [_described(layer) for layer in model.layers],
        "input_shape": list(model.input_shape),
        "dtype": model.dtype.name,
        "ops": model.ops.__name__,
        "fuse": model.fuse,
        "optimizer": optimizer,
        "loss": _described(model.loss),
        "metrics": [name for name, _ in model.metrics],
        "the number of samples": len(training.data),
        "the number of validation samples": len(training.validation or ()),
        "batch_size": training.batch_size,
        "shuffle": bool(training.shuffle),
        "initial_epoch": training.first,
        "the callbacks with a state": [type(callback).__name__ for callback in training.keeping],
    }


def _described(thing: Any) -> Any:
    """The class and the settings; the class alone, where JSON cannot hold these."""
    name = type(thing).__name__
    try:
        return json.loads(saving.to_json({"class": name, **configs.describe(thing, {})["config"]}))
    except ValueError:
        return name


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's, for JSON."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"received {value!r:.200}")


# ----------------------------------------------------------------------- checks of what a file says, which may be anything


def _parsed(text: Any) -> dict[str, Any]:
    try:
        place = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"it is damaged: its JSON cannot be read ({error}).") from error
    if not isinstance(place, dict):
        raise ValueError(f"it is damaged: expected the state of a training, found {type(place).__name__}.")
    return place


def _check(training: Any, place: dict[str, Any]) -> None:
    """Raise a ValueError where this cannot be a state of this training."""
    missing = [name for name in PLACE if name not in place]
    if missing:
        raise ValueError(f"it is damaged: {missing[0]} is missing.")
    seed, rate, stop, began, epoch, batch, found, logs, states = (place[name] for name in PLACE)
    if not saving.is_count(epoch) or epoch < training.first:
        raise ValueError(f"it is damaged: the epoch cannot be {epoch!r:.200}.")
    sums = _sums(found, len(training.model.metrics))
    if not saving.is_count(batch) or batch > training.steps or (sums is None) != (batch == 0):
        raise ValueError(f"it is damaged: the batch cannot be {batch!r:.200}.")
    come = epoch + (batch > 0)
    if come > max(training.first, training.last):
        raise ValueError(f"it has come to epoch {come}, and epochs is {training.last} now.")
    if not isinstance(logs, dict) or not isinstance(stop, bool):
        raise ValueError("it is damaged: expected logs, and whether to stop.")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"it is damaged: the seed must be an integer ≥ 0, found {seed!r:.200}.")
    by_function = rate is None and _learning_rate(training.model) is None
    if not by_function and not (_is_number(rate) and 0 <= rate < math.inf):
        raise ValueError(f"it is damaged: the learning rate must be a number ≥ 0, found {rate!r:.200}.")
    if not isinstance(states, list) or [type(state) for state in states] != [dict] * len(training.keeping):
        raise ValueError("it is damaged: expected a state for each callback.")
    if not isinstance(began, dict) or not all(saving.is_count(began.get(name)) for name in saving.COUNTERS):
        raise ValueError("it is damaged: expected how the model stood at the beginning.")
    now = beginning(training.model)
    if any(now[name] < began[name] for name in saving.COUNTERS):
        raise ValueError(
            f"it was made by a later fit: that one began at step {began['steps_trained']} of the model's life, and now it "
            f"is at step {now['steps_trained']}. Give each fit a folder of its own."
        )
    if all(now[name] == began[name] for name in saving.COUNTERS):
        _check_same("learning_rate", now["learning_rate"], began.get("learning_rate"))


def _check_same(name: str, ours: Any, theirs: Any) -> None:
    """Raise a ValueError that names the first difference, however deep it is."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        for key, value in ours.items():
            _check_same(f"{name}'s {key}", value, theirs[key])
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for i, value in enumerate(ours):
            _check_same(f"{name}[{i}]", value, theirs[i])
    elif ours != theirs:
        raise ValueError(f"it is of another training: {name} was {theirs!r:.200} then, and is {ours!r:.200} now.")


def _sums(found: Any, metrics: int) -> Sums | None:
    """The sums of an epoch from JSON's lists."""
    if found is None:
        return None
    try:
        loss, samples, pairs = found
        pairs = [(total, count) for total, count in pairs]
    except (TypeError, ValueError):
        raise ValueError(f"it is damaged: the sums of an epoch cannot be {found!r:.200}.") from None
    numbers = [loss, samples, *(number for pair in pairs for number in pair)]
    if not saving.is_count(samples) or samples == 0 or len(pairs) != metrics or not all(map(_is_number, numbers)):
        raise ValueError(f"it is damaged: the sums of an epoch cannot be {found!r:.200}.")
    return Sums(loss, samples, pairs)


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63)
