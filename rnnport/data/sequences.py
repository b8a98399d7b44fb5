"""Files of sequences: ``.npy``, ``.npz`` with x, y and lengths, ``.ts``, and MNIST's idx format."""

from __future__ import annotations

import gzip
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rnnport.data.ts import parse_ts
from rnnport.data.types import Array, Sequences
from rnnport.errors import DataError

# idx: two zero bytes, a type, the number of axes, each size as big-endian int32, the values
# (Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits").
_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_CHUNK = 4096  # sequences checked at a time


def is_sequences(path: str | Path) -> bool:
    """Whether the name says ``.npy``, ``.npz``, ``.ts`` or idx ("a.idx", "…-idx3-ubyte.gz")."""
    return _kind(Path(path)) is not None


def read_sequences(path: str | Path) -> Sequences:
    """Read sequences without knowing a model: x ``[n, time, features]``, with what else is there.

    An ``.npz`` holds ``x`` and may hold ``y`` and ``lengths``; a ``.ts`` file holds sequences of
    equal or of different lengths, perhaps with classes; ``.npy`` and idx hold x alone.

    Raises:
        DataError: the file is missing, damaged or not of this kind, or its arrays do not fit.
    """
    path = Path(path)
    kind = _kind(path)
    if kind == "npz":
        arrays = read_npz(path)
        if "x" not in arrays:
            raise DataError(f"{path} has no array 'x'; it has {', '.join(arrays) or 'none'}")
        return sequences(arrays["x"], None, arrays.get("lengths"), str(path))
    if kind == "npy":
        return sequences(read_npy(path), None, None, str(path))
    if kind == "idx":
        return sequences(parse_idx(read_bytes(path), path), None, None, str(path))
    if kind == "ts":
        found = parse_ts(read_bytes(path), path)
        return sequences(found.x, None, found.lengths, str(path))
    raise DataError(f"{path} is not of a known kind: sequences are .npy, .npz, .ts or idx files")


def is_ts(path: str | Path) -> bool:
    """Whether the file's name says ``.ts``, packed or not."""
    return _kind(Path(path)) == "ts"


def _kind(path: Path) -> str | None:
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".idx") or re.search(r"[-.]idx\d[-.]ubyte$", name):
        return "idx"
    if name.endswith(".ts"):
        return "ts"
    suffix = path.suffix.lower()
    return suffix[1:] if suffix in (".npy", ".npz") else None


def sequences(x: Array, y: Array | None, lengths: Array | None, where: str) -> Sequences:
    """Check arrays and bring them into form.

    x of two axes ``[n, time]`` gets one feature; float and integer values become float32, uint8
    stays; padding becomes zeros.

    Raises:
        DataError: an axis, a type, a length, a label or a value does not fit; says where.
    """
    if x.ndim == 2:
        x = x[:, :, None]
    if x.ndim != 3 or x.dtype.kind not in "fiub" or 0 in x.shape[1:]:
        raise DataError(
            f"{where}: x is {x.dtype.name} {list(x.shape)}; it must be numbers "
            "[n, time, features], or [n, time] for one feature, with no axis but n empty"
        )
    if x.dtype != np.uint8:
        x = x.astype(np.float32, copy=False)
    if y is not None and y.shape != (len(x),):
        raise DataError(f"{where}: y is {list(y.shape)}; x has {len(x)} sequences")
    if lengths is not None:
        lengths = _checked_lengths(lengths, x, where)
    return Sequences(_checked_values(x, lengths, where), y, lengths)


def _checked_lengths(lengths: Array, x: Array, where: str) -> Array:
    if lengths.shape != (len(x),) or lengths.dtype.kind not in "iu":
        raise DataError(
            f"{where}: lengths are {lengths.dtype.name} {list(lengths.shape)}; they must be whole "
            f"numbers [{len(x)}], one a sequence"
        )
    wrong = np.flatnonzero((lengths < 1) | (lengths > x.shape[1]))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{where}: the length of sequence {row} is {lengths[row]}; it must be from 1 to "
            f"{x.shape[1]}, the time axis of x"
        )
    return lengths.astype(np.int64)


def _checked_values(x: Array, lengths: Array | None, where: str) -> Array:
    """Refuse what is not finite; what lies past a sequence's length becomes zero instead."""
    if x.dtype == np.uint8:
        return x
    steps = np.arange(x.shape[1])
    for start in range(0, len(x), _CHUNK):
        bad = ~np.isfinite(x[start : start + _CHUNK]).all(axis=2)  # [n, time]
        if not bad.any():
            continue
        if lengths is not None:
            bad &= steps < lengths[start : start + _CHUNK, None]
        if bad.any():
            row, step = (int(i) for i in np.argwhere(bad)[0])
            raise DataError(
                f"{where}: x of sequence {start + row} has a value at step {step} that is not a "
                "finite number (in float32)"
            )
    if lengths is None or (lengths == x.shape[1]).all():
        return x
    padding = steps >= lengths[:, None]  # [n, time]
    return np.where(padding[:, :, None], np.float32(0), x)


def read_npz(path: Path) -> dict[str, Array]:
    """Every array of an ``.npz`` file by name.

    Raises:
        DataError: the file is missing or damaged, or holds Python objects.
    """
    try:
        with path.open("rb") as stream:  # ours to close: NumPy forgets a damaged file open
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, Mapping):
                raise DataError(f"{path} is not an .npz file, though its name says so")
            return {name: file[name] for name in file}
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(_unreadable(path, error)) from error


def read_npy(path: Path) -> Array:
    """The array of an ``.npy`` file, mapped into memory rather than read.

    Raises:
        DataError: the file is missing or damaged, or holds Python objects.
    """
    try:
        array: Array = np.load(path, allow_pickle=False, mmap_mode="r")
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except (OSError, EOFError, ValueError) as error:
        raise DataError(_unreadable(path, error)) from error
    return array


def _unreadable(path: Path, error: Exception) -> str:
    if "allow_pickle" in str(error) or "Python objects" in str(error):
        return (
            f"{path} holds Python objects, which are not read; pad the sequences to one array of "
            "numbers and give their lengths"
        )
    return f"{path} is truncated or damaged: {str(error).splitlines()[0]}"


def parse_idx(content: bytes, path: Path) -> Array:
    """The array in the unpacked content of an idx file; ``path`` names it in messages.

    Raises:
        DataError: the content is not idx, or ends before its last value.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_TYPES:
        raise DataError(
            f"{path} is not an idx file: it starts with {content[:4].hex(' ') or 'nothing'}, "
            "not with 00 00, a type and the number of axes"
        )
    kind, axes = np.dtype(_IDX_TYPES[content[2]]), content[3]
    head = 4 + 4 * axes
    if len(content) < head:
        raise DataError(f"{path} is truncated: {len(content)} bytes, not even its head of {head}")
    shape = struct.unpack(f">{axes}I", content[4:head])
    expected = head + math.prod(shape) * kind.itemsize
    if len(content) != expected:
        raise DataError(
            f"{path} is {'truncated' if len(content) < expected else 'longer than it says'}: "
            f"{len(content)} bytes, and its head promises {expected} for {list(shape)}"
        )
    return np.frombuffer(content, kind, offset=head).reshape(shape).astype(kind.newbyteorder("="))


def read_bytes(path: Path) -> bytes:
    """The content of a file; of a gzipped one, what it unpacks to.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is truncated or damaged: {error}") from error
