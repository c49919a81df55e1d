"""Files: arrays, and JSON beside them, in one safetensors file, which can run no code; written whole or not at all.

``write`` and ``read`` are for all that the library keeps on disk. What comes out of ``read`` is sound as a file; what its content
claims is for the caller to check.
"""

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from .initializers import Constant
from .ops.geometry import Array
from .utils.arrays import copy_each
from .utils.integers import is_integer

Path = str | os.PathLike[str]

VERSION = 1  # of the files; a reader refuses what is newer than itself
CUSTOM = "custom_object"  # how the JSON calls what is not the library's, and has to be given at load
COUNTERS = ("epochs_trained", "steps_trained")  # of a model
SLOTS = "/optimizer/"  # before the address of a parameter: the state that the optimizer keeps for it
KEY = "minidl"  # the only entry of the metadata, so that the same content is always the same bytes
DTYPES = ("F16", "F32", "F64", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64")
LONGEST = 2000  # characters of a message
# How the files begin that are most often taken for ours.
OTHERS = {
    b"\x89HDF": "an HDF5 file (.h5)",
    b"PK\x03\x04": "a zip archive (.keras, .npz, .pt)",
    b"\x93NUM": "a NumPy file (.npy)",
    b"\x80\x04\x95": "a pickle",
}


def write(path: Path, kind: str, content: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write one file, in place of the one of that name: a temporary beside it, flushed to disk, then renamed over it.

    kind: what the file is, e.g. "model". content: whatever JSON can hold. arrays: name → array of floats or integers.

    Raises OSError where it cannot be written; the file of that name is then as it was, and the temporary is removed. (A process
    that is killed leaves its temporary, ".minidl-….tmp".) Raises ValueError where JSON cannot hold the content, or an array
    holds something else.
    """
    for name, value in arrays.items():
        if value.dtype.kind not in "fiu":
            raise ValueError(f"a file holds arrays of floats and integers, received {name!r}, {value.dtype}.")
    text = to_json({"kind": kind, "version": VERSION, **content}, separators=(",", ":"))
    data = save({name: np.require(value, requirements="C") for name, value in arrays.items()}, {KEY: text})
    replace(path, data)


def check_suffix(path: Path, owner: str) -> None:
    """Raise a ValueError where the name is one for Keras's files, which ours are not."""
    suffix = os.path.splitext(os.fsdecode(path))[1].lower()
    if suffix in (".keras", ".h5", ".hdf5"):
        raise ValueError(f"{owner} is saved as a safetensors file, received the name of a {suffix} file: {path!r}.")


def replace(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, see ``write``."""
    target = os.path.realpath(os.fsdecode(path))  # a link stays a link
    folder = os.path.dirname(target)
    temporary = os.path.join(folder, f".minidl-{secrets.token_hex(8)}.tmp")
    try:
        if os.path.exists(target) and not os.path.isfile(target) and not os.path.isdir(target):
            raise OSError(errno.EINVAL, "it is a device, a pipe or a socket, which a file would replace")
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if os.path.exists(target):
                shutil.copymode(target, temporary)
            os.replace(temporary, target)
        except BaseException:  # Ctrl-C as well
            with contextlib.suppress(OSError):
                os.remove(temporary)
            raise
    except OSError as error:
        old = "The file of that name is as it was." if os.path.isfile(target) else "No file was left behind."
        raise OSError(error.errno, f"cannot write '{os.fsdecode(path)}': {error.strerror or error}. {old}") from error
    if os.name == "posix":
        with contextlib.suppress(OSError):  # not every file system can; the file is whole either way
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)  # the new name is on disk, too
            finally:
                os.close(descriptor)


def remove_temporaries(folder: Path) -> None:
    """Remove what processes that were killed in the middle of a ``write`` have left behind in this folder."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if re.fullmatch(r"\.minidl-[0-9a-f]{16}\.tmp", name) and not os.path.isdir(path):
            os.remove(path)


def read(path: Path, *kinds: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """(content, arrays) of a file that ``write`` has written; content["kind"] is one of kinds.

    The arrays are new, writable and together no larger than the file.

    Raises FileNotFoundError or another OSError where it cannot be read, and ValueError where it is of another kind, of a newer
    version, or damaged.
    """
    with open(path, "rb") as file:
        start = file.read(8)
    for magic, what in OTHERS.items():
        if start.startswith(magic):
            raise refusal(path, f"is {what}: expected a safetensors file, written by minidl.")
    try:
        with safe_open(os.fsdecode(path), framework="numpy") as opened:
            content = _content((opened.metadata() or {}).get(KEY), kinds, path)
            arrays = {}
            for key in opened.keys():  # noqa: SIM118 (it is no dictionary)
                dtype = opened.get_slice(key).get_dtype()
                if dtype not in DTYPES:
                    raise refusal(path, f"is not minidl's: the array {key!r} is of type {dtype}.")
                try:
                    arrays[key] = opened.get_tensor(key)
                except ValueError as error:  # no bytes, but a rank or a size that NumPy cannot hold
                    raise refusal(path, f"is damaged: the array {key!r} cannot be read ({error}).") from error
    except SafetensorError as error:
        raise refusal(path, f"is damaged, or no safetensors file: {error}. Get a whole copy of the file.") from error
    return content, arrays


def _content(text: str | None, kinds: tuple[str, ...], path: Path) -> dict[str, Any]:
    """The JSON of the metadata, where it is of one of the kinds and of a version that is known."""
    if text is None:
        raise refusal(path, f"is a safetensors file, but not one of minidl's: its metadata has no {KEY!r}.")
    try:
        content = parse(text)
    except ValueError as error:
        raise refusal(path, f"is damaged: {error}") from error
    if not isinstance(content, dict):
        raise refusal(path, f"is damaged: expected an object in its metadata, found {type(content).__name__}.")
    version, kind = content.get("version"), content.get("kind")
    if not is_integer(version) or version < 1:
        raise refusal(path, f"is damaged: expected a version, an integer from 1, found {version!r}.")
    if version > VERSION:
        raise refusal(
            path, f"is of version {version}, and this minidl reads up to version {VERSION}. Install a newer minidl."
        )
    if kind not in kinds:
        raise refusal(path, f"holds {kind!r}, expected {' or '.join(map(repr, kinds))}.")
    return content


def to_json(value: Any, **options: Any) -> str:
    """A JSON text, in which a function is {"custom_object": its name}, and an object that can be called has a "config", too.

    options: json.dumps's.

    Raises ValueError where JSON cannot hold the value: NaN, infinity, or a key that is no text or number. (JSON keeps a number
    that is a key as a text.)
    """
    try:
        return json.dumps(value, allow_nan=False, default=_encode, **options)
    except TypeError as error:
        raise ValueError(f"JSON cannot hold these settings: {error}.") from error
    except RecursionError:
        raise ValueError("these settings are nested too deep for JSON.") from None


def _encode(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if not callable(value):
        raise ValueError(
            f"JSON cannot hold {value!r}: settings must be numbers, texts, lists, dictionaries or functions."
        )
    name = getattr(value, "__name__", None)
    if name is None:
        if not hasattr(value, "get_config"):
            raise ValueError(
                f"the settings of {value!r} are not known: write its get_config(), or a function with def."
            )
        kind = "class_name" if type(value) is Constant else CUSTOM
        return {kind: type(value).__name__, "config": value.get_config()}
    if not name.isidentifier():
        raise ValueError(
            f"{value!r} has no name to find it by: write it with def, and give it to custom_objects at load."
        )
    return {CUSTOM: name}


def parse(text: str) -> Any:
    """The value of a JSON text. Raises ValueError where it is none, names a thing twice, or is nested too deep."""
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its JSON cannot be read ({error}).") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON's")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("it names a thing twice")
    return value


def refusal(path: Path, reason: str) -> ValueError:
    """The error that says why a file is refused: cut, because the reason may quote the file, which may go on for ever."""
    return ValueError(f"'{os.fsdecode(path)}' {reason if len(reason) <= LONGEST else reason[:LONGEST] + ' …'}")


# ------------------------------------------------------------------------------------------------ the state of a model


def training_state(model: Any) -> tuple[dict[str, int], dict[str, Array]]:
    """(counters, arrays): all that training changes in a model. The arrays are the model's own, not copies.

    A weight is called "layer/parameter", the optimizer's state "/optimizer/layer/parameter/slot": no layer has an empty name.
    """
    counters = {name: getattr(model, name) for name in COUNTERS}
    arrays = dict(model.params)
    if model.optimizer is not None:
        counters["iterations"] = model.optimizer.iterations
        for param in model.params:
            slots = model.optimizer.slots.get(param, {})
            arrays |= {f"{SLOTS}{param}/{slot}": value for slot, value in slots.items()}
    return counters, arrays


def set_training_state(model: Any, counters: Any, arrays: Mapping[str, Array]) -> None:
    """Copy what ``training_state`` gave into a model of the same layers and optimizer.

    Raises ValueError, and changes nothing, where anything is missing, unexpected, or not what this model needs.
    """
    optimizer = model.optimizer
    if not isinstance(counters, Mapping):
        raise ValueError(f"the counters must be given by name, found {counters!r}.")
    for name in (*COUNTERS, *(() if optimizer is None else ("iterations",))):
        if not is_count(counters.get(name)):
            raise ValueError(f"{name} must be an integer from 0 to 2⁶³ − 1, found {counters.get(name)!r}.")
    slot_names = () if optimizer is None else optimizer.slot_names
    slots = {
        param: {slot: np.empty_like(value) for slot in slot_names}
        for param, value in model.params.items()
        if any(f"{SLOTS}{param}/{slot}" in arrays for slot in slot_names)  # before its first step it has none
    }
    flat = {f"{SLOTS}{param}/{slot}": value for param, group in slots.items() for slot, value in group.items()}
    copy_by_name({**model.params, **flat}, arrays, str(model))
    for name in COUNTERS:
        setattr(model, name, counters[name])
    if optimizer is not None:
        optimizer.iterations, optimizer.slots = counters["iterations"], slots


def is_count(value: Any) -> bool:
    """Whether it can have counted epochs or steps: an integer from 0, within 64 bits."""
    return is_integer(value) and 0 <= value < 2**63


def copy_by_name(targets: Mapping[str, Array], arrays: Mapping[str, Array], owner: str) -> None:
    """Copy each array into the target of its name.

    Raises ValueError, and changes nothing, where they do not fit: it lists what is missing, unexpected or of another shape.
    """
    faults = [f"missing {name!r}, {value.shape}" for name, value in targets.items() if name not in arrays]
    faults += [f"unexpected {name!r}, {value.shape}" for name, value in arrays.items() if name not in targets]
    for name, target in targets.items():
        found = arrays.get(name, target)
        if found.shape != target.shape:
            faults.append(f"{name!r} has shape {found.shape}, expected {target.shape}")
        if found.dtype.kind != "f":
            faults.append(f"{name!r} is {found.dtype}, expected floats")
    if faults:
        raise ValueError(f"it does not fit {owner}: {'; '.join(faults)}.")
    copy_each((target, arrays[name]) for name, target in targets.items())


@contextlib.contextmanager
def initialized_with(layers: Sequence[Any], arrays: Mapping[str, Array]) -> Iterator[None]:
    """Meanwhile, ``kernel_initializer`` gives "layer/kernel" and so on: build allocates nothing that the file does not hold.

    A file may claim a layer of 2⁴⁰ units. Its initializer is asked for an array of that shape, and raises a ValueError.
    """
    before = [
        (layer, key, value) for layer in layers for key, value in vars(layer).items() if key.endswith("_initializer")
    ]

    def stored(address: str) -> Callable[..., Array]:
        def give(shape: tuple[int, ...], *_: Any) -> Array:
            if address not in arrays or arrays[address].shape != shape:
                found = f"one of {arrays[address].shape}" if address in arrays else "none"
                raise ValueError(
                    f"the settings ask for an array {address!r} of shape {shape}, and the file holds {found}."
                )
            return arrays[address]

        return give

    for layer, key, _ in before:
        setattr(layer, key, stored(f"{layer.name}/{key.removesuffix('_initializer')}"))
    try:
        with np.errstate(over="ignore"):
            yield
    finally:
        for layer, key, value in before:
            setattr(layer, key, value)
