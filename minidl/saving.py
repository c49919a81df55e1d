"""Files: arrays, with JSON, in one safetensors file, which cannot run code; written completely or not at all.

``write`` and ``read`` serve everything that the library keeps on disk. What ``read`` returns comes from a sound file; the caller
has to check the content.
"""

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from io import BufferedReader
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from . import ranks
from .checks import check_file, is_integer
from .configs import parse, to_json
from .contracts import JSON, Array, Path
from .utils.terminal import printable_lines

VERSION = 1  # of the file format; a reader refuses newer ones
KEY = "minidl"  # the only entry of the metadata, so that the same content is always the same bytes
DTYPES = {
    name: np.dtype(f"<{name[0].lower()}{int(name[1:]) // 8}")
    for name in ("F16", "F32", "F64", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64")
}
MOST_HEADER = 2**23  # bytes: names, shapes and settings; as objects of Python's they need up to 25 times as much
LONGEST = 2000  # characters of a message
# The first bytes of the files that are most often mistaken for ours.
OTHERS = {
    b"\x89HDF": "an HDF5 file (.h5)",
    b"PK\x03\x04": "a zip archive (.keras, .npz, .pt)",
    b"\x93NUM": "a NumPy file (.npy)",
    b"\x80\x04\x95": "a pickle",
}


def write(path: Path, kind: str, content: Mapping[str, object], arrays: Mapping[str, Array]) -> None:
    """Write one file, replacing one of that name: a temporary file beside it, flushed to disk, then renamed over it.

    kind: what the file is, e.g. "model". content: whatever JSON can hold. arrays: name → array of floats or integers.

    Raises OSError where it cannot be written; an existing file is then unchanged, and the temporary one removed. (A process
    that is killed leaves its temporary file, ".minidl-….tmp".) Raises ValueError where JSON cannot hold the content, or an array
    holds anything but floats or integers. Of several processes that train together, rank 0 alone writes.
    """
    for name, value in arrays.items():
        if value.dtype.kind not in "fiu":
            raise ValueError(f"a file holds arrays of floats and integers, received {name!r}, {value.dtype}.")
    text = to_json({"kind": kind, "version": VERSION, **content}, separators=(",", ":"))
    data = save({name: np.require(value, requirements="C") for name, value in arrays.items()}, {KEY: text})
    length = int.from_bytes(data[:8], "little")
    if length > MOST_HEADER:
        raise ValueError(
            f"a file may hold {MOST_HEADER} bytes of settings, names and shapes, and these need {length}: keep what is large in "
            "arrays."
        )
    ranks.group.once(lambda: replace(path, data))


def check_suffix(path: Path, owner: str) -> None:
    """Raise ValueError for a name that has the suffix of Keras's files: ours have another format."""
    stem, suffix = os.path.splitext(os.fsdecode(path))
    if suffix.lower() in (".keras", ".h5", ".hdf5"):
        raise ValueError(
            f"{owner} is saved as a safetensors file, received the name of a {suffix.lower()} file: {path!r}. "
            f"Use {stem + '.safetensors'!r}."
        )


def replace(path: Path, data: bytes) -> None:
    """Write a file completely or not at all; see ``write``."""
    target = os.fsdecode(path)
    try:
        target = os.path.realpath(target)  # a link stays a link; and the folder that we are in may be gone
        folder = os.path.dirname(target)
        temporary = os.path.join(folder, f".minidl-{secrets.token_hex(8)}.tmp")
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
        old = "The existing file is unchanged." if os.path.isfile(target) else "No file was left behind."
        raise OSError(error.errno, f"cannot write '{os.fsdecode(path)}': {error.strerror or error}. {old}") from error
    if os.name == "posix":
        with contextlib.suppress(OSError):  # not every file system supports it; the file is complete either way
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)  # the new name is on disk, too
            finally:
                os.close(descriptor)


def make_folder(path: Path, owner: str) -> None:
    """Make a folder for somebody's files, with those above it, where there is none. Raises OSError where that is not possible."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        taken = isinstance(error, FileExistsError | NotADirectoryError)
        reason = "a file is in its place: move that, or choose another folder" if taken else error.strerror
        raise OSError(error.errno, f"{owner} cannot make its folder: {reason}", os.fsdecode(path)) from error


def remove_temporaries(folder: Path) -> None:
    """Remove from this folder the temporary files of processes that were killed during ``write``."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if re.fullmatch(r"\.minidl-[0-9a-f]{16}\.tmp", name) and not os.path.isdir(path):
            os.remove(path)


def read(path: Path, *kinds: str) -> tuple[dict[str, JSON], dict[str, Array]]:
    """(content, arrays) of a file written by ``write``; content["kind"] is one of kinds.

    The arrays are new and writable, and together no larger than the file; what else is needed is bounded by MOST_HEADER.

    Raises FileNotFoundError or another OSError where it cannot be read, ValueError where it is of another kind, of a newer
    version, or damaged, and MemoryError where the memory is not enough.
    """
    check_file(path, "filepath")
    with open(path, "rb") as file:
        start = file.read(8)
        for magic, what in OTHERS.items():
            if start.startswith(magic):
                raise refusal(path, f"is {what}: expected a safetensors file, written by minidl.")
        length = int.from_bytes(start, "little")
        if MOST_HEADER < length < os.fstat(file.fileno()).st_size:  # what is longer than the file is damaged
            raise refusal(path, f"has a header of {length} bytes, and {MOST_HEADER} are the most that are read.")
        content = _checked(path, kinds)
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        return content, {name: _array(file, 8 + length, entry, name, path) for name, entry in header.items()}


def _checked(path: Path, kinds: tuple[str, ...]) -> dict[str, JSON]:
    """The content of a file whose header is sound: every array has a known type, and the bytes for its shape."""
    try:
        with safe_open(os.fsdecode(path), framework="numpy") as opened:
            return _content((opened.metadata() or {}).get(KEY), kinds, path)
    except SafetensorError as error:
        raise refusal(path, f"is damaged, or no safetensors file: {error}. Get a whole copy of the file.") from error


def _array(file: BufferedReader, start: int, entry: dict[str, Any], name: str, path: Path) -> Array:
    """One array of a file whose header is sound. start: where the arrays begin.

    safetensors could read it, too, but ends in a panic, which no ``except Exception`` catches, where the memory is not enough.
    """
    kind, (first, last) = entry["dtype"], entry["data_offsets"]
    if kind not in DTYPES:
        raise refusal(path, f"is not minidl's: the array {name!r} is of type {kind}.")
    try:
        array: Array = np.empty(entry["shape"], DTYPES[kind])
    except ValueError as error:  # an empty array whose rank or shape NumPy cannot hold
        raise refusal(path, f"is damaged: the array {name!r} cannot be read ({error}).") from error
    file.seek(start + first)
    if array.nbytes != last - first or file.readinto(array.reshape(-1).view(np.uint8).data) != array.nbytes:
        raise refusal(path, f"is damaged: the array {name!r} is not all there. Get a whole copy of the file.")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _content(text: str | None, kinds: tuple[str, ...], path: Path) -> dict[str, JSON]:
    """The JSON of the metadata. Raises ValueError where it is of another kind or of an unknown version."""
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


def refusal(path: Path, reason: str) -> ValueError:
    """The error that says why a file is refused; shortened, because the reason may quote the file at any length."""
    reason = printable_lines(reason if len(reason) <= LONGEST else reason[:LONGEST] + " …")
    return ValueError(f"'{os.fsdecode(path)}' {reason}")
