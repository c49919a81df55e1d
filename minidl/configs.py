"""Objects as JSON, and back: the name of a class and its settings, never code.

An object of the library is {"class_name": …, "config": …} and is found in the library's own tables. One of the user's is
{"custom_object": …, "config": …}, a function {"custom_object": …}: those are found in the ``custom_objects`` that the user gives,
and nowhere else. Among the settings of an object, however deep, may be functions, and objects that can be called.
"""

from collections.abc import Mapping
from typing import Any

from . import layers, losses, metrics, optimizers
from .initializers import Constant
from .saving import CUSTOM
from .utils.lookup import by_name
from .utils.settings import settings

LAYERS = {name: getattr(layers, name) for name in layers.__all__ if name not in ("Input", "Layer")}
BUILDS = {layer.build for layer in LAYERS.values()}  # they allocate through their initializers alone
LOSSES = {loss.__name__: loss for loss in losses.LOSSES.values()}
OPTIMIZERS = {optimizer.__name__: optimizer for optimizer in optimizers.OPTIMIZERS.values()}

CustomObjects = Mapping[str, Any]


def describe(thing: Any, table: Mapping[str, Any]) -> dict[str, Any]:
    """The class and the settings of an object: what its get_config says, or its attributes where it has no such method."""
    config = thing.get_config() if hasattr(thing, "get_config") else settings(thing)
    name = type(thing).__name__
    return {"class_name" if table.get(name) is type(thing) else CUSTOM: name, "config": config}


def describe_metric(name: str, function: Any) -> Any:
    """The metric's name where it is ours, otherwise the function, which to_json names."""
    return name if metrics.METRICS.get(name) is function else function


def make(entry: Any, table: Mapping[str, Any], custom_objects: CustomObjects, what: str) -> Any:
    """The object that ``describe`` has described. what: what messages call it.

    Raises ValueError where there is no such class, or where it cannot be made with these settings, and TypeError where the
    name of a class is no text.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
        raise ValueError(f"{what} must be given as a class and its config, found {entry!r}.")
    if CUSTOM in entry:
        cls = _custom(entry[CUSTOM], custom_objects, what)
    else:
        cls = by_name({**table, **custom_objects}, entry.get("class_name"), what)  # type: ignore[arg-type]
    try:
        config = {key: decode(value, custom_objects, what) for key, value in entry["config"].items()}
    except RecursionError:
        raise ValueError(f"the settings of {what} are nested too deep.") from None
    try:
        return cls(**config)
    except Exception as error:  # whatever a class says of settings that it cannot take
        raise ValueError(f"{what}, {cls.__name__}, cannot be made: {error}") from error


def decode(value: Any, custom_objects: CustomObjects, what: str) -> Any:
    """The value with the functions and objects that it names, as ``to_json`` has written them."""
    if isinstance(value, list):
        return [decode(item, custom_objects, what) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {CUSTOM}:
        return _custom(value[CUSTOM], custom_objects, what)
    ours = value.keys() == {"class_name", "config"} and value["class_name"] == "Constant"
    if ours or value.keys() == {CUSTOM, "config"}:
        return make(value, {"Constant": Constant}, custom_objects, what)
    return {key: decode(item, custom_objects, what) for key, item in value.items()}


def _custom(name: Any, custom_objects: CustomObjects, what: str) -> Any:
    if not isinstance(name, str) or name not in custom_objects:
        raise ValueError(f"{what} is {name!r}, which is not the library's: pass custom_objects={{{name!r}: …}}.")
    return custom_objects[name]


def training_arguments(config: Any, custom_objects: CustomObjects) -> dict[str, Any]:
    """The arguments of ``compile`` from what a file says of them."""
    if not isinstance(config, dict) or not isinstance(config.get("metrics"), list):
        raise ValueError(f"the training must be given as an optimizer, a loss and metrics, found {config!r}.")
    return {
        "optimizer": make(config.get("optimizer"), OPTIMIZERS, custom_objects, "optimizer"),
        "loss": make(config.get("loss"), LOSSES, custom_objects, "loss"),
        "metrics": [decode(metric, custom_objects, "metric") for metric in config["metrics"]],
    }
