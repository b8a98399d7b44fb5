"""The built-in data sets by name, each in its usual parts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from rnnport.data.archive import pair
from rnnport.data.mackey_glass import mackey_glass
from rnnport.data.origins import Origin, find
from rnnport.data.sequences import parse_idx, sequences
from rnnport.data.splits import chronological, hold_out, month_borders, stratified
from rnnport.data.tables import read_table
from rnnport.data.types import Array, ClassifyData, ForecastData, Sequences, Series
from rnnport.errors import MissingExtraError

DIGITS = tuple("0123456789")
MACKEY_GLASS_ROWS = 6000
_DIGITS_TEST = 0.2

_MNIST_URLS = (
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
# a release, so that the files stay as they are
_SKTIME_URL = "https://raw.githubusercontent.com/sktime/sktime/v1.1.0/sktime/datasets/data/"
_ETT_URL = "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/"


def _mnist_file(name: str, sha256: str, content: str) -> Origin:
    return Origin(name, "mnist", tuple(url + name for url in _MNIST_URLS), sha256, content)


def _ett_file(name: str, sha256: str) -> Origin:
    return Origin(name, "ett", (_ETT_URL + name,), sha256, sha256)


# Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits"
MNIST = (
    _mnist_file(
        "train-images-idx3-ubyte.gz",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    _mnist_file(
        "train-labels-idx1-ubyte.gz",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    _mnist_file(
        "t10k-images-idx3-ubyte.gz",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    _mnist_file(
        "t10k-labels-idx1-ubyte.gz",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)
# H. Zhou et al., "Informer: beyond efficient transformer for long sequence time-series
# forecasting", AAAI 2021; CC BY-ND 4.0
ETTH1 = _ett_file("ETTh1.csv", "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066")
ETTM1 = _ett_file("ETTm1.csv", "6ce1759b1a18e3328421d5d75fadcb316c449fcd7cec32820c8dafda71986c9e")


# M. Kudo, J. Toyama, M. Shimbo, "Multidimensional curve classification using passing-through
# regions", Pattern Recognition Letters 20, 1999; the UEA archive's form of it, from sktime
JAPANESE_VOWELS = tuple(
    Origin(
        name,
        "ucr_uea/JapaneseVowels",
        (f"{_SKTIME_URL}JapaneseVowels/{name}",),
        sha256,
        content=sha256,
    )
    for name, sha256 in (
        (
            "JapaneseVowels_TRAIN.ts",
            "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd",
        ),
        (
            "JapaneseVowels_TEST.ts",
            "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462",
        ),
    )
)


def load_digits(seed: int, validation: float) -> ClassifyData:
    """1,797 real digits of 8 rows of 8 pixels from 0 to 16, the rows as time steps.

    One fifth of each digit is the test, always the same one; ``seed`` draws the validation.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "data", "the digits data") from error
    images, labels = datasets.load_digits(return_X_y=True)
    x = images.reshape(-1, 8, 8).astype(np.float32)
    y = labels.astype(np.int64)
    rest, test = stratified(y, _DIGITS_TEST, seed=0)
    everything = Sequences(x, y)
    train, held_out = hold_out(everything.take(rest), validation, seed)
    return ClassifyData("digits", _sha256(x, y), DIGITS, train, held_out, everything.take(test))


def load_mnist(seed: int, validation: float) -> ClassifyData:
    """70,000 digits of 28 rows of 28 pixels from 0 to 255 (uint8), the rows as time steps."""
    arrays = []
    for origin in MNIST:
        path, content = find(origin)
        arrays.append((parse_idx(content, path), str(path)))
    (x, where), (y, _), (x_test, where_test), (y_test, _) = arrays
    train, held_out = hold_out(sequences(x, y.astype(np.int64), None, where), validation, seed)
    test = sequences(x_test, y_test.astype(np.int64), None, where_test)
    sums = hashlib.sha256("".join(origin.content for origin in MNIST).encode()).hexdigest()
    return ClassifyData("mnist", sums, DIGITS, train, held_out, test)


def load_japanese_vowels(seed: int, validation: float) -> ClassifyData:
    """640 utterances of two vowels by nine speakers: 7 to 29 steps of 12 LPC coefficients."""
    train, test = (find(origin) for origin in JAPANESE_VOWELS)
    found = pair(train, test)
    assert found.test is not None  # a pair has one
    parts = (*hold_out(found.train, validation, seed), found.test)
    return ClassifyData("japanese-vowels", found.sha256, found.classes, *parts)


def load_mackey_glass() -> ForecastData:
    """The Mackey–Glass series with its standard parameters, one row a time unit."""
    values = mackey_glass(MACKEY_GLASS_ROWS)[:, None]
    parts = chronological(len(values))
    return ForecastData("mackey-glass", _sha256(values), Series(values, ("x",)), *parts)


def load_etth1() -> ForecastData:
    """Electricity transformer temperature by the hour: 17,420 rows of 7 columns."""
    return _load_ett("etth1", ETTH1, steps_per_hour=1)


def load_ettm1() -> ForecastData:
    """Electricity transformer temperature by the quarter of an hour: 69,680 rows of 7 columns."""
    return _load_ett("ettm1", ETTM1, steps_per_hour=4)


def _load_ett(name: str, origin: Origin, steps_per_hour: int) -> ForecastData:
    path, _ = find(origin)
    series = read_table(path, time_column="date")
    return ForecastData(name, origin.content, series, *month_borders(steps_per_hour))


def _sha256(*arrays: Array) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(np.ascontiguousarray(little).tobytes())
    return digest.hexdigest()


# name → loader(seed, validation share) and the share where none is asked for. mnist holds nothing
# out: its published figures, and those it is compared with, come from all 60,000 training images.
CLASSIFY: dict[str, tuple[Callable[[int, float], ClassifyData], float]] = {
    "digits": (load_digits, 0.125),
    "mnist": (load_mnist, 0.0),
    "japanese-vowels": (load_japanese_vowels, 0.2),
}
FORECAST: dict[str, Callable[[], ForecastData]] = {
    "mackey-glass": load_mackey_glass,
    "etth1": load_etth1,
    "ettm1": load_ettm1,
}
