"""The ``.ts`` text format in which the UCR and UEA archives give labelled sequences.

The format is sktime's "ts File Format v1.0": comments (``#``), keys (``@``) up to ``@data``, then
one sequence a line. Commas divide the values of a dimension, colons the dimensions; the class is
last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rnnport.data.types import Array
from rnnport.errors import DataError

_KEYS = (
    "problemname",
    "timestamps",
    "missing",
    "univariate",
    "dimension",
    "equallength",
    "serieslength",
    "classlabel",
    "targetlabel",
    "data",
)
_MISSING = ("?", "nan", "")
_SHOWN = 30  # characters of a field that a message repeats

Head = dict[str, tuple[int, str]]  # key in lower case → number of its line, what follows it


class Labelled(NamedTuple):
    """The content of a file: arrays as :func:`rnnport.data.sequences.sequences` checks them.

    ``x`` is float32 ``[n, time, dimensions]``, padded with zeros; ``lengths`` is int64 ``[n]``, or
    None where the file's sequences are equally long; ``y`` is int64 ``[n]``, an index into
    ``classes``, or None in a file without classes.
    """

    x: Array
    lengths: Array | None
    y: Array | None
    classes: tuple[str, ...]


@dataclass(frozen=True)
class _Promise:
    """What the keys say of the lines below them; None where they say nothing."""

    dimensions: int | None
    equal: bool | None
    length: int | None
    labelled: bool
    classes: tuple[str, ...]


class _Row(NamedTuple):
    line: int
    values: Array  # float32 [length, dimensions]
    label: str


def parse_ts(content: bytes, path: Path) -> Labelled:
    """Every sequence in the unpacked content of a file; ``path`` names it in messages.

    Raises:
        DataError: the content is not of this format, breaks a promise of its own keys, has a value
            that is missing or no finite number, or has time stamps or a number to predict; the
            message names the line, and the dimension.
    """
    lines = _lines(content)
    promise = _promise(_head(lines, path), path)
    rows = [_row(number, line, promise, path) for number, line in lines]
    if not rows:
        raise DataError(f"{path} has no sequence after @data")
    _check_alike(rows, promise, path)
    lengths = np.array([len(row.values) for row in rows], dtype=np.int64)
    x = np.zeros((len(rows), lengths.max(), rows[0].values.shape[1]), dtype=np.float32)
    for place, row in enumerate(rows):
        x[place, : lengths[place]] = row.values
    equal = (lengths == x.shape[1]).all() if promise.equal is None else promise.equal
    y, classes = _number_labels(rows, promise, path)
    return Labelled(x, None if equal else lengths, y, classes)


def _lines(content: bytes) -> Iterator[tuple[int, str]]:
    """The lines that say something, with their numbers from 1."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:  # older archives: names in comments are in Latin-1
        text = content.decode("latin-1")
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            yield number, stripped


def _head(lines: Iterator[tuple[int, str]], path: Path) -> Head:
    """The keys up to ``@data``; the lines are left where the data begins."""
    head: Head = {}
    for number, line in lines:
        if not line.startswith("@"):
            raise _wrong(path, number, f"there is '{_short(line)}' before @data; keys begin with @")
        word, _, rest = line.partition(" ")
        key = word[1:].lower()
        key = "dimension" if key == "dimensions" else key
        if key not in _KEYS:
            near = get_close_matches(key, _KEYS, n=1)
            hint = f"did you mean @{near[0]}?" if near else f"known are @{', @'.join(_KEYS)}"
            raise _wrong(path, number, f"the key '{_short(word)}' is unknown; {hint}")
        if key in head:
            raise _wrong(path, number, f"{word} is there already, in line {head[key][0]}")
        if key == "data":
            return head
        head[key] = (number, rest.strip())
    raise DataError(f"{path} is not a .ts file: it has no line @data")


def _promise(head: Head, path: Path) -> _Promise:
    if _flag(head, "timestamps", path):
        raise _wrong(
            path,
            head["timestamps"][0],
            "values with time stamps are not read; write the values alone, one for each step",
        )
    if _flag(head, "targetlabel", path):
        raise _wrong(
            path,
            head["targetlabel"][0],
            "the file has a number to predict (@targetLabel); sequences are read with classes "
            "(@classLabel) or without",
        )
    _flag(head, "missing", path)  # what is really missing is found in its line
    if "classlabel" not in head and "targetlabel" not in head:
        raise DataError(
            f"{path} does not say whether its lines end in a class: it needs @classLabel false, or "
            "@classLabel true and the names of the classes"
        )
    number, text = head.get("classlabel", (0, "false"))
    word, *classes = text.split() or [""]
    labelled = _is_true(word, "classLabel", number, path)
    if len(set(classes)) < len(classes) or (classes and not labelled):
        raise _wrong(path, number, f"@classLabel {_short(text)}: after true, each class once")
    univariate = _flag(head, "univariate", path)
    dimensions = _count(head, "dimension", path)
    if univariate and dimensions not in (None, 1):
        raise _wrong(
            path, head["dimension"][0], f"{dimensions} dimensions, and @univariate is true"
        )
    return _Promise(
        dimensions=1 if univariate else dimensions,
        equal=_flag(head, "equallength", path),
        length=_count(head, "serieslength", path),
        labelled=labelled,
        classes=tuple(classes),
    )


def _flag(head: Head, key: str, path: Path) -> bool | None:
    if key not in head:
        return None
    number, text = head[key]
    return _is_true(text, key, number, path)


def _is_true(word: str, key: str, number: int, path: Path) -> bool:
    if word.lower() not in ("true", "false"):
        raise _wrong(path, number, f"@{key} is '{_short(word)}'; it is true or false")
    return word.lower() == "true"


def _count(head: Head, key: str, path: Path) -> int | None:
    if key not in head:
        return None
    number, text = head[key]
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise _wrong(path, number, f"@{key} is '{_short(text)}'; it is a whole number above 0")
    return int(text)


def _row(number: int, line: str, promise: _Promise, path: Path) -> _Row:
    fields = line.split(":")
    label = fields.pop().strip() if promise.labelled else ""
    if not fields:
        raise _wrong(path, number, f"'{_short(line)}' has no ':' and so no class after its values")
    if promise.labelled and not label:
        raise _wrong(path, number, "the class after the last ':' is missing")
    expected = promise.dimensions
    if expected is not None and len(fields) != expected:
        raise _wrong(path, number, f"{len(fields)} dimensions; the file promises {expected}")
    columns = [_values(field, number, place, path) for place, field in enumerate(fields, start=1)]
    steps = len(columns[0])
    for place, column in enumerate(columns, start=1):
        if len(column) != steps:
            raise _wrong(
                path,
                number,
                f"dimension {place} has {len(column)} values, dimension 1 has {steps}; the "
                "dimensions of a sequence are equally long",
            )
    return _Row(number, np.stack(columns, axis=1), label)


def _values(field: str, number: int, dimension: int, path: Path) -> Array:
    """The values of one dimension, float32 ``[length]``."""
    words = field.split(",")
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold is named below
            values = np.array([float(word) for word in words]).astype(np.float32)
    except ValueError:
        values = None
    if values is not None and np.isfinite(values).all() and "_" not in field:
        return values
    step = next(step for step, word in enumerate(words) if not _is_number(word))
    word = words[step].strip()
    found = (
        f"is missing ('{word}'); fill in missing values first"
        if word.lower() in _MISSING
        else f"is '{_short(word)}', not a finite number (in float32)"
    )
    raise _wrong(path, number, f"the value of step {step} {found}", dimension)


def _is_number(word: str) -> bool:
    try:
        with np.errstate(over="ignore"):
            return bool(np.isfinite(np.float64(word).astype(np.float32))) and "_" not in word
    except ValueError:
        return False


def _check_alike(rows: list[_Row], promise: _Promise, path: Path) -> None:
    """Refuse a line that differs from the others where the file's lines must be alike."""
    steps, dimensions = rows[0].values.shape
    steps = steps if promise.length is None else promise.length
    for row in rows:
        if row.values.shape[1] != dimensions:
            raise _wrong(
                path,
                row.line,
                f"{row.values.shape[1]} dimensions; line {rows[0].line} has {dimensions}",
            )
        if promise.equal and len(row.values) != steps:
            raise _wrong(
                path,
                row.line,
                f"the sequence has {len(row.values)} steps, not {steps}, and @equalLength is true",
            )


def _number_labels(
    rows: list[_Row], promise: _Promise, path: Path
) -> tuple[Array | None, tuple[str, ...]]:
    """Labels as indices into the classes: those the file names, else the sorted labels."""
    if not promise.labelled:
        return None, ()
    classes = promise.classes or tuple(sorted({row.label for row in rows}))
    places = {name: place for place, name in enumerate(classes)}
    for row in rows:
        if row.label not in places:
            raise _wrong(
                path,
                row.line,
                f"the class '{_short(row.label)}' is none of the file's: {', '.join(classes)}",
            )
    return np.array([places[row.label] for row in rows], dtype=np.int64), classes


def _wrong(path: Path, number: int, what: str, dimension: int | None = None) -> DataError:
    place = "" if dimension is None else f", dimension {dimension}"
    return DataError(f"{path}, line {number}{place}: {what}")


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
