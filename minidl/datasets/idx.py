"""Read IDX, the file format of MNIST: a short header that gives a type and a shape, then the values.

The header is two zero bytes, a type code, the number of dimensions and one big-endian int32 for each dimension. The
values follow in C order, big-endian too. Nothing comes after them.

A header can claim anything, so no claim is trusted before the file has been seen to be large enough for it.
"""

import math
import os
import struct
import sys
import zlib
from collections.abc import Iterator
from io import BufferedReader
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minidl.checks import check_file

_DTYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}

_LONGEST_HEADER = 4 + 4 * 255  # the number of dimensions is one byte
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WBITS = 31  # makes zlib expect a gzip header and verify the checksum
_DEFLATE_LIMIT = 1032  # one byte of a deflate stream inflates to at most this many
_CHUNK = 1 << 16  # small, because each member of a gzip file copies the rest of its chunk
_PIECE = 1 << 18
_HARMLESS = 1 << 26  # what inflates to no more than this may do so from as few bytes as it likes


def read_idx(path: str | os.PathLike[str], *, max_ratio: float | None = 200) -> NDArray[Any]:
    """Read one array from an IDX file.

    Arguments: path: the file, raw or compressed with gzip, which is recognised by its first two bytes, whatever the name.
    max_ratio: a compressed file that would inflate to more than 64 MiB, and to more than this many times its size, is refused;
    None reads any. Images and labels usually reach 2 to 20, and nothing can reach more than 1032.

    Returns a new, writable array in the machine's byte order. Its shape, of any rank that NumPy supports, and its dtype, one of
    uint8, int8, int16, int32, float32 and float64, are those that the file declares.

    Raises FileNotFoundError where there is no such file, OSError where it is a device, a pipe or a socket, and ValueError where
    it is not an IDX file, is damaged, or is shorter or longer than its header declares. The memory needed to find out is bounded
    by twice what the file holds and by what its header declares, whichever is less; that of a good file is the array's.
    """
    check_file(path, "path")
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        compressed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        file.seek(0)
        name = f"'{os.fspath(path)}'" + (" (gzip)" if compressed else "")

        header = _beginning(_inflated(file, name)) if compressed else file.read(_LONGEST_HEADER)
        dtype, shape = _parse_header(header, name)
        offset = 4 + 4 * len(shape)
        # Python's integers, since a product of many int32 can overflow any of NumPy's.
        expected = offset + math.prod(shape) * dtype.itemsize
        declared = f"{expected} bytes for {dtype.name} values of shape {shape}"

        if compressed:
            if expected > size * _DEFLATE_LIMIT:
                raise ValueError(
                    f"{name} cannot hold what its header declares: expected {declared}, found {size} compressed bytes, "
                    f"which inflate to {size * _DEFLATE_LIMIT} at most. Get a whole copy of the file."
                )
            if max_ratio is not None and expected > max(_HARMLESS, max_ratio * size):
                raise ValueError(
                    f"{name} would inflate to {expected} bytes, {expected / size:.0f} times its size, and max_ratio is "
                    f"{max_ratio}. If you trust the file, use max_ratio=None."
                )
            file.seek(0)
            values, read = _filled(_inflated(file, name), expected, offset, dtype.newbyteorder("="))
            found = "more" if read > expected else str(read)
        else:
            values, read, found = np.empty(0, dtype.newbyteorder("=")), size, str(size)
            if size == expected:
                values = np.empty(math.prod(shape), values.dtype)
                file.seek(offset)
                read = offset + file.readinto(values.view(np.uint8).data)

    if read != expected:
        raise ValueError(
            f"{name} does not hold what its header declares: expected {declared}, found {found}. "
            "Get a whole copy of the file."
        )
    try:
        np.empty(shape if values.size == 0 else (1,) * len(shape), dtype)
    except ValueError as error:  # the rank, or a zero size beside huge ones: only NumPy knows what it can hold
        raise ValueError(
            f"{name} cannot become an array: expected a shape that NumPy can hold, found {shape} ({error}). "
            "Write the values with fewer or smaller dimensions."
        ) from error
    values.resize(shape, refcheck=False)  # in place, as all of this: a second copy may be more than there is memory for
    if sys.byteorder == "little":
        values.byteswap(inplace=True)
    return values


def _filled(pieces: Iterator[bytes], expected: int, offset: int, dtype: np.dtype[Any]) -> tuple[NDArray[Any], int]:
    """(an array of the bytes from offset to expected, how many bytes there were before it became too many)."""
    values, done = np.empty(0, dtype), 0
    for piece in pieces:
        start, done = done, done + len(piece)
        if done > expected:
            break
        if done - offset > values.nbytes:  # at most twice as large as what has been read
            wanted = min(2 * done, expected) - offset
            values.resize(-(-wanted // dtype.itemsize), refcheck=False)
        own = piece[max(0, offset - start) :]
        first = max(0, start - offset)
        values.view(np.uint8)[first : first + len(own)] = np.frombuffer(own, np.uint8)
    return values, done


def _beginning(pieces: Iterator[bytes]) -> bytes:
    """As many bytes as a header may have; fewer where there are no more."""
    found = b""
    for piece in pieces:
        found += piece[:_LONGEST_HEADER]
        if len(found) >= _LONGEST_HEADER:
            break
    return found[:_LONGEST_HEADER]


def _parse_header(header: bytes, name: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """(dtype, shape) from the first bytes of a file. Raises ValueError where they are not an IDX header."""
    if len(header) < 4 or header[:2] != b"\0\0" or header[2] not in _DTYPES:
        raise ValueError(
            f"{name} is not an IDX file: expected two zero bytes, a type code (08, 09, 0b, 0c, 0d or 0e) "
            f"and the number of dimensions, found {header[:4].hex(' ') or 'nothing'}."
        )
    rank = header[3]
    if len(header) < 4 + 4 * rank:
        raise ValueError(
            f"{name} ends inside its header: expected {4 + 4 * rank} bytes for {rank} dimensions, "
            f"found {len(header)}. Get a whole copy of the file."
        )
    shape = struct.unpack_from(f">{rank}i", header, 4)
    if any(length < 0 for length in shape):
        raise ValueError(
            f"{name} is damaged: expected dimensions of zero or more, found {shape}. Get a whole copy of the file."
        )
    return _DTYPES[header[2]], shape


def _inflated(file: BufferedReader, name: str) -> Iterator[bytes]:
    """What a gzip file holds, in pieces. Every checksum is verified when the last one has been taken.

    Raises ValueError where the file is damaged.
    """
    done, full = 0, False
    member = zlib.decompressobj(_GZIP_WBITS)
    while chunk := file.read(_CHUNK):
        while chunk or full:
            if (
                member.eof
            ):  # gzip files may be concatenated, so another may follow; or zeros, as at the end of a tape's block
                chunk = chunk.lstrip(b"\0")
                if not chunk:
                    break
                if chunk[0] != _GZIP_MAGIC[0]:
                    raise ValueError(
                        f"{name} is too long: expected the end of the file or another gzip header after the gzip "
                        f"data, found {chunk[:4].hex(' ')}. Get a whole copy of the file."
                    )
                member = zlib.decompressobj(_GZIP_WBITS)
            try:
                piece = member.decompress(chunk, _PIECE)
            except zlib.error as error:
                raise ValueError(
                    f"{name} is damaged: expected gzip data from start to end, found '{error}'. Get a whole copy of the file."
                ) from error
            done += len(piece)
            yield piece
            full = len(piece) == _PIECE and not member.eof  # there may be more, although the whole chunk was taken
            chunk = member.unused_data if member.eof else member.unconsumed_tail
    if not member.eof:
        raise ValueError(
            f"{name} is truncated: expected the end of the gzip data, found the end of the file "
            f"after {done} decompressed bytes. Get a whole copy of the file."
        )
