"""Read IDX, the file format of MNIST: a short header that gives a type and a shape, then the values.

The header is two zero bytes, a type code, the number of dimensions and one big-endian int32 for each dimension. The
values follow in C order, big-endian too. Nothing comes after them.

A header can claim anything, so no claim is trusted before the file has been seen to be large enough for it.
"""

import math
import os
import struct
import zlib
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

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


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read one array from an IDX file.

    Arguments: path: the file, raw or compressed with gzip, which is recognised by its first two bytes, whatever the name.

    Returns a new, writable array in the machine's byte order. Its shape, of any rank that NumPy supports, and its dtype, one of
    uint8, int8, int16, int32, float32 and float64, are those that the file declares.

    Raises FileNotFoundError where there is no such file, and ValueError where it is not an IDX file, is damaged, or is shorter
    or longer than its header declares. The memory needed to find out is bounded by what the file holds and by what its header
    declares, whichever is less.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        compressed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        file.seek(0)
        name = f"'{os.fspath(path)}'" + (" (gzip)" if compressed else "")

        header = _inflate(file, _LONGEST_HEADER, name) if compressed else file.read(_LONGEST_HEADER)
        dtype, shape = _parse_header(header, name)
        offset = 4 + 4 * len(shape)
        # Python's integers, since a product of many int32 can overflow any of NumPy's.
        expected = offset + math.prod(shape) * dtype.itemsize
        declared = f"{expected} bytes for {dtype.name} values of shape {shape}"

        file.seek(0)
        if compressed:
            if expected > size * _DEFLATE_LIMIT:
                raise ValueError(
                    f"{name} cannot hold what its header declares: expected {declared}, found {size} compressed bytes, "
                    f"which inflate to {size * _DEFLATE_LIMIT} at most. Get a whole copy of the file."
                )
            content: bytes | bytearray = _inflate(file, expected + 1, name)
            found = "more" if len(content) > expected else str(len(content))
        else:
            content = file.read() if size == expected else b""
            found = str(size)

    if len(content) != expected:
        raise ValueError(
            f"{name} does not hold what its header declares: expected {declared}, found {found}. "
            "Get a whole copy of the file."
        )
    try:
        values: NDArray[Any] = np.ndarray(shape, dtype, content, offset)
    except ValueError as error:  # the rank, or a zero size beside huge ones: only NumPy knows what it can hold
        raise ValueError(
            f"{name} cannot become an array: expected a shape that NumPy can hold, found {shape} ({error}). "
            "Write the values with fewer or smaller dimensions."
        ) from error
    return values.astype(dtype.newbyteorder("="))


def _parse_header(header: bytes | bytearray, name: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
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


def _inflate(file: BinaryIO, limit: int, name: str) -> bytearray:
    """Decompress a gzip file up to its end, or up to ``limit`` bytes if that comes first.

    At the end of the file every checksum has been verified; at ``limit``, none. Raises ValueError where the file is damaged.
    """
    content = bytearray()
    member = zlib.decompressobj(_GZIP_WBITS)
    try:
        while chunk := file.read(_CHUNK):
            while chunk:
                if member.eof:  # gzip files may be concatenated, so another may follow
                    if chunk[0] != _GZIP_MAGIC[0]:
                        raise ValueError(
                            f"{name} is too long: expected the end of the file or another gzip header after the gzip "
                            f"data, found {chunk[:4].hex(' ')}. Get a whole copy of the file."
                        )
                    member = zlib.decompressobj(_GZIP_WBITS)
                content += member.decompress(chunk, limit - len(content))
                if len(content) == limit:
                    return content
                chunk = member.unused_data
    except zlib.error as error:
        raise ValueError(
            f"{name} is damaged: expected gzip data from start to end, found '{error}'. Get a whole copy of the file."
        ) from error
    if not member.eof:
        raise ValueError(
            f"{name} is truncated: expected the end of the gzip data, found the end of the file "
            f"after {len(content)} decompressed bytes. Get a whole copy of the file."
        )
    return content
