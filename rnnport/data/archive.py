"""Labelled ``.ts`` files in the parts that their names say: ``X_TRAIN.ts`` and ``X_TEST.ts``."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnnport.data.sequences import read_bytes, sequences
from rnnport.data.ts import Labelled, parse_ts
from rnnport.data.types import Array, Sequences
from rnnport.errors import DataError

_PART = re.compile(r"_(TRAIN|TEST)(?=\.ts(\.gz)?$)", re.IGNORECASE)

Content = tuple[Path, bytes]  # a file and what it unpacks to


@dataclass(frozen=True)
class Archive:
    """Sequences of a file, or of a pair of files, that the archive has split already.

    ``train`` has no rows in a file that is a test part by its name; ``test`` is None where a file
    is not split.
    """

    classes: tuple[str, ...]
    train: Sequences
    test: Sequences | None
    sha256: str  # of the content; of a pair, of both sums


def read_archive(path: Path) -> Archive:
    """Read a ``.ts`` file to classify.

    ``X_TRAIN.ts`` brings ``X_TEST.ts`` along as its test part where that lies beside it; a
    ``X_TEST.ts`` of its own is all test; any other file is not split.

    Raises:
        DataError: a file is missing, is not of the format, or has no classes; or the two of a pair
            do not fit each other.
    """
    content = (path, read_bytes(path))
    part = _PART.search(path.name)
    if part is None:
        return whole(content)
    if part[1].upper() == "TEST":
        alone = whole(content)
        return Archive(alone.classes, alone.train.take(slice(0, 0)), alone.train, alone.sha256)
    word = "_TEST" if part[1].isupper() else "_test"
    beside = path.with_name(_PART.sub(word, path.name))
    return pair(content, (beside, read_bytes(beside))) if beside.is_file() else whole(content)


def whole(content: Content) -> Archive:
    """One file that is not split.

    Raises:
        DataError: the file is not of the format, or has no classes.
    """
    path, data = content
    found = parse_ts(data, path)
    return Archive(found.classes, _sequences(found, _labels(found, path), path), None, _sum(data))


def pair(train: Content, test: Content) -> Archive:
    """A training and a test file, which share their classes by name.

    Raises:
        DataError: a file is not of the format or has no classes, or the test has a class or a
            number of dimensions that the training has not.
    """
    (path, data), (test_path, test_data) = train, test
    found, tested = parse_ts(data, path), parse_ts(test_data, test_path)
    labels, test_labels = _labels(found, path), _labels(tested, test_path)
    used = {tested.classes[place] for place in np.unique(test_labels)}
    unknown = sorted(used - set(found.classes))
    if unknown:
        raise DataError(
            f"{test_path} has the class '{unknown[0]}', which {path.name} does not have"
        )
    if tested.x.shape[2] != found.x.shape[2]:
        raise DataError(
            f"{test_path} has {tested.x.shape[2]} dimensions, {path.name} has {found.x.shape[2]}"
        )
    places = {name: place for place, name in enumerate(found.classes)}
    order = np.array([places.get(name, -1) for name in tested.classes], dtype=np.int64)
    sums = (_sum(data) + _sum(test_data)).encode()
    return Archive(
        found.classes,
        _sequences(found, labels, path),
        _sequences(tested, order[test_labels], test_path),
        _sum(sums),
    )


def _labels(found: Labelled, path: Path) -> Array:
    if found.y is None:
        raise DataError(
            f"{path} has no classes (@classLabel is false); its sequences have no label"
        )
    return found.y


def _sequences(found: Labelled, y: Array, path: Path) -> Sequences:
    return sequences(found.x, y, found.lengths, str(path))


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
