"""Files: arrays, and JSON beside them, in one safetensors file, which can run no code; written whole or not at all.

``write`` and ``read`` are for all that the library keeps on disk. What comes out of ``read`` is sound as a file; what its content
claims is for the caller to check.
"""

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from .ops.geometry import Array

Path = str | os.PathLike[str]

VERSION = 1  # of the files; a reader refuses what is newer than itself
KEY = "minidl"  # the only entry of the metadata, so that the same content is always the same bytes
DTYPES = ("F32", "F64", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64")
# How the files begin that are most often taken for ours.
OTHERS = {
    b"\x89HDF": "an HDF5 file (.h5)",
    b"PK\x03\x04": "a zip archive (.keras, .npz, .pt)",
    b"\x93NUM": "a NumPy file (.npy)",
    b"\x80\x04\x95": "a pickle",
}


def write(path: Path, kind: str, content: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write one file, in place of the one of that name: a temporary beside it, flushed to disk, then renamed over it.

    kind: what the file is, e.g. "model". content: whatever JSON can hold. arrays: name → array, of any number type but bool,
    complex and float16.

    Raises OSError where it cannot be written; the file of that name is then as it was, and the temporary is removed. (A process
    that is killed leaves its temporary, ".minidl-….tmp".) Raises ValueError where JSON cannot hold the content.
    """
    header = {"kind": kind, "version": VERSION, **content}
    text = json.dumps(header, allow_nan=False, separators=(",", ":"))
    data = save({name: np.require(value, requirements="C") for name, value in arrays.items()}, {KEY: text})
    replace(path, data)


def replace(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, see ``write``."""
    target = os.path.realpath(path)  # a link stays a link
    folder = os.path.dirname(target)
    temporary = os.path.join(folder, f".minidl-{secrets.token_hex(8)}.tmp")
    try:
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
        raise OSError(error.errno, f"cannot write {_named(path)}: {error.strerror or error}. {old}") from error
    if os.name == "posix":
        with contextlib.suppress(OSError):  # not every file system can; the file is whole either way
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)  # the new name is on disk, too
            finally:
                os.close(descriptor)


def read(path: Path, *kinds: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """(content, arrays) of a file that ``write`` has written; content["kind"] is one of kinds.

    The arrays are new, writable and together no larger than the file.

    Raises FileNotFoundError or another OSError where it cannot be read, and ValueError where it is of another kind, of a newer
    version, or damaged.
    """
    name = _named(path)
    with open(path, "rb") as file:
        start = file.read(8)
    for magic, what in OTHERS.items():
        if start.startswith(magic):
            raise ValueError(f"{name} is {what}: expected a safetensors file, written by minidl.")
    try:
        with safe_open(os.fsdecode(path), framework="numpy") as opened:
            content = _content((opened.metadata() or {}).get(KEY), kinds, name)
            arrays = {}
            for key in opened.keys():  # noqa: SIM118 (it is no dictionary)
                dtype = opened.get_slice(key).get_dtype()
                if dtype not in DTYPES:
                    raise ValueError(f"{name}: the array {key!r} is of type {dtype}, which minidl does not write.")
                try:
                    arrays[key] = opened.get_tensor(key)
                except ValueError as error:  # no bytes, but a rank or a size that NumPy cannot hold
                    raise ValueError(f"{name}: the array {key!r} cannot be read: {error}.") from error
    except SafetensorError as error:
        raise ValueError(
            f"{name} is damaged, or no safetensors file: {error}. Get a whole copy of the file."
        ) from error
    return content, arrays


def _content(text: str | None, kinds: tuple[str, ...], name: str) -> dict[str, Any]:
    """The JSON of the metadata, where it is of one of the kinds and of a version that is known."""
    if text is None:
        raise ValueError(f"{name} is a safetensors file, but not one of minidl's: its metadata has no {KEY!r}.")
    content = parse(text, name)
    if not isinstance(content, dict):
        raise ValueError(f"{name} is damaged: expected an object in its metadata, found {type(content).__name__}.")
    version, kind = content.get("version"), content.get("kind")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"{name} is damaged: expected a version, an integer from 1, found {version!r}.")
    if version > VERSION:
        raise ValueError(
            f"{name} is of version {version}, and this minidl reads up to version {VERSION}. Install a newer minidl."
        )
    if kind not in kinds:
        raise ValueError(f"{name} holds {kind!r}, expected {' or '.join(map(repr, kinds))}.")
    return content


def parse(text: str, what: str) -> Any:
    """The value of a JSON text. Raises ValueError where it is none, names a thing twice, or is nested too deep."""
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} is damaged: its JSON cannot be read ({error}).") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON's")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("it names a thing twice")
    return value


def _named(path: Path) -> str:
    return f"'{os.fsdecode(path)}'"
