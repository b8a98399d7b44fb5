"""The built-in sets are what their names promise, from wherever their files come."""

import gzip
import hashlib
import http.server
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from rnnport.data import builtin
from rnnport.data.load import load_classify, load_forecast
from rnnport.data.mackey_glass import mackey_glass
from rnnport.data.origins import Origin, find
from rnnport.errors import DataError, FetchError

REAL = os.environ.get("RNNPORT_DATA", "")
needs_mnist = pytest.mark.skipif(
    not (Path(REAL) / "mnist").is_dir(), reason="RNNPORT_DATA has no mnist folder"
)
needs_ett = pytest.mark.skipif(
    not (Path(REAL) / "ett").is_dir(), reason="RNNPORT_DATA has no ett folder"
)
needs_vowels = pytest.mark.skipif(
    not (Path(REAL) / "ucr_uea" / "JapaneseVowels").is_dir(),
    reason="RNNPORT_DATA has no ucr_uea/JapaneseVowels folder",
)
CONTENT = b"date,OT\n2016-07-01 00:00:00,1.0\n"
NOWHERE = "http://127.0.0.1:9/"  # the discard port: nobody answers


def origin(urls=(NOWHERE,), packed=False):
    data = gzip.compress(CONTENT, mtime=0) if packed else CONTENT
    name = "small.csv.gz" if packed else "small.csv"
    sums = [hashlib.sha256(each).hexdigest() for each in (data, CONTENT)]
    return Origin(name, "little", tuple(url + name for url in urls), *sums)


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Empty folders for the user's data and for the cache."""
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.mkdir()
    monkeypatch.setenv("RNNPORT_DATA", str(data))
    monkeypatch.setenv("RNNPORT_CACHE", str(cache))
    return data, cache


@pytest.fixture
def server(tmp_path):
    """A public origin on this machine; gives its folder and address, counts what it served."""
    folder = tmp_path / "public"
    folder.mkdir()
    served = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, form, *args):
            served.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        thread = threading.Thread(target=http_server.serve_forever, args=(0.01,))
        thread.start()
        yield folder, f"http://127.0.0.1:{http_server.server_port}/", served
        http_server.shutdown()
        thread.join()


@pytest.mark.parametrize("folder", ["little", "."])
@pytest.mark.parametrize("packed_here", [False, True])
@pytest.mark.parametrize("packed_there", [False, True])
def test_a_file_here_is_taken_packed_or_not_and_nothing_is_fetched(
    places, folder, packed_here, packed_there
):
    path = places[0] / folder / ("small.csv.gz" if packed_here else "small.csv")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(CONTENT) if packed_here else CONTENT)
    assert find(origin(packed=packed_there)) == (path, CONTENT)


def test_a_wrong_file_here_is_refused_with_both_sums(places):
    (places[0] / "small.csv").write_bytes(CONTENT + b"2016-07-01 01:00:00,1.0\n")
    with pytest.raises(DataError) as refused:
        find(origin())
    message = str(refused.value)
    assert str(places[0] / "small.csv") in message
    assert hashlib.sha256(CONTENT).hexdigest() in message


def test_without_network_the_error_says_which_file_to_put_where(places):
    with pytest.raises(FetchError) as refused:
        find(origin())
    message = str(refused.value)
    assert "small.csv is not on this machine" in message
    assert str(places[1] / "little") in message
    assert "set RNNPORT_DATA to a folder with little/small.csv" in message


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_is_downloaded_once_and_checked(places, server, packed):
    folder, address, served = server
    wanted = origin((NOWHERE, address), packed)  # the second of two origins has it
    (folder / wanted.name).write_bytes(gzip.compress(CONTENT, mtime=0) if packed else CONTENT)
    assert find(wanted) == (places[1] / "little" / wanted.name, CONTENT)
    assert find(wanted)[1] == CONTENT
    assert served == [f"/{wanted.name}"]


def test_a_download_with_a_wrong_sum_is_refused_and_not_kept(places, server):
    folder, address, _ = server
    (folder / "small.csv").write_bytes(b"something else")
    with pytest.raises(FetchError, match="hash of downloaded file"):
        find(origin((address,)))
    assert [path for path in places[1].rglob("*") if path.is_file()] == []


def test_a_file_put_into_the_cache_by_hand_is_taken(places):
    folder = places[1] / "little"
    folder.mkdir(parents=True)
    (folder / "small.csv").write_bytes(CONTENT)
    assert find(origin()) == (folder / "small.csv", CONTENT)


def test_digits_are_all_there_and_split_alike_by_class():
    data = load_classify("digits")
    sizes = [len(part) for part in (data.train, data.validation, data.test)]
    assert sum(sizes) == 1797
    assert sizes == [1259, 179, 359]
    assert data.classes == tuple("0123456789")
    for part in (data.train, data.validation, data.test):
        assert part.x.shape[1:] == (8, 8)
        assert part.x.dtype == np.float32
        assert part.lengths is None
        shares = np.bincount(part.y) / len(part)
        assert np.abs(shares - 0.1).max() < 0.015
    assert data.train.x.max() == 16


def test_the_digits_test_is_always_the_same():
    one, other = load_classify("digits"), load_classify("digits", seed=7, validation=0.3)
    assert np.array_equal(one.test.x, other.test.x)
    assert not np.array_equal(one.validation.x[:50], other.validation.x[:50])
    assert hashlib.sha256(one.test.x.tobytes()).hexdigest().startswith("c0491136dccf0d06")


@needs_mnist
def test_mnist_trains_on_all_its_images_unless_some_are_held_out():
    data = load_classify("mnist")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [60_000, 0, 10_000]
    assert data.train.x.dtype == np.uint8
    assert data.train.x.shape == (60_000, 28, 28)
    assert data.test.y[:5].tolist() == [7, 2, 1, 0, 4]
    held = load_classify("mnist", validation=1 / 12)
    assert len(held.train) + len(held.validation) == 60_000
    assert abs(len(held.validation) - 5_000) <= 5  # of each class a twelfth, rounded
    assert np.array_equal(held.test.x, data.test.x)


@needs_vowels
def test_the_japanese_vowels_are_of_different_lengths_and_a_fifth_is_held_out():
    data = load_classify("japanese-vowels")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [216, 54, 370]
    assert data.classes == tuple("123456789")
    assert np.bincount(data.validation.y).tolist() == [6] * 9
    assert np.bincount(data.test.y).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    lengths = np.concatenate([data.train.lengths, data.validation.lengths, data.test.lengths])
    assert (lengths.min(), lengths.max()) == (7, 29)
    assert data.test.x.shape == (370, 29, 12)
    everyone = load_classify("japanese-vowels", validation=0)
    first = everyone.train
    assert (first.y[0], first.lengths[0]) == (0, 20)
    assert first.x[0, :3, 0].tolist() == pytest.approx([1.860936, 1.891651, 1.939205])


@needs_vowels
def test_the_japanese_vowels_are_the_same_by_name_and_by_path():
    path = Path(REAL) / "ucr_uea" / "JapaneseVowels" / "JapaneseVowels_TRAIN.ts"
    named, found = load_classify("japanese-vowels"), load_classify(str(path), validation=0.2)
    assert found.sha256 == named.sha256
    assert np.array_equal(found.train.x, named.train.x)
    assert np.array_equal(found.test.x, named.test.x)


@needs_ett
@pytest.mark.parametrize(
    ("name", "rows", "frequency", "scale"),
    [("etth1", 17_420, "1h", 1), ("ettm1", 69_680, "15m", 4)],
)
def test_ett_is_split_into_months(name, rows, frequency, scale):
    data = load_forecast(name)
    assert data.series.values.shape == (rows, 7)
    assert data.series.columns == ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
    assert (data.series.time_column, data.series.frequency) == ("date", frequency)
    assert [data.train.stop, data.validation.stop, data.test.stop] == [
        months * 30 * 24 * scale for months in (12, 16, 20)
    ]
    assert data.series.values[0, -1] == pytest.approx(30.531, abs=1e-3)


@needs_ett
def test_columns_of_a_built_in_set_are_chosen_by_name():
    data = load_forecast("etth1", columns=["OT", "HUFL"])
    assert data.series.columns == ("OT", "HUFL")
    assert data.series.values[0].tolist() == [30.5310001373291, 5.827000141143799]
    with pytest.raises(DataError, match="etth1 has no column 'XY'; it has HUFL, HULL"):
        load_forecast("etth1", columns=["XY"])


def test_mackey_glass_needs_no_file_and_is_the_same_everywhere():
    data = load_forecast("mackey-glass")
    assert len(data.series) == builtin.MACKEY_GLASS_ROWS
    assert data.sha256.startswith("57d2879b29bc4791")
    assert data.series.values.min() > 0.2
    assert data.series.values.max() < 1.4


def test_mackey_glass_is_its_solution_while_the_delayed_value_is_constant():
    """Until time τ, x(t − τ) is the start, and dx/dt = a − γx is solved by hand."""
    rest = 0.2 * 1.2 / (1 + 1.2**10) / 0.1
    t = np.arange(18)
    solution = rest + (1.2 - rest) * np.exp(-0.1 * t)
    assert mackey_glass(18, skip=0) == pytest.approx(solution, rel=1e-9)


def test_mackey_glass_is_integrated_to_order_4():
    """Past τ: halving the step divides the error by 16."""
    values = [mackey_glass(1, skip=100, steps_per_row=steps)[0] for steps in (5, 10, 20)]
    first, second = np.abs(np.diff(values))
    assert first / second == pytest.approx(16, rel=0.05)
    assert second < 1e-8


@pytest.mark.parametrize(
    ("load", "name", "file"),
    [
        (load_classify, "mnist", "train-images-idx3-ubyte.gz"),
        (load_classify, "japanese-vowels", "JapaneseVowels_TRAIN.ts"),
        (load_forecast, "etth1", "ETTh1.csv"),
        (load_forecast, "ettm1", "ETTm1.csv"),
    ],
)
def test_a_set_without_its_file_and_without_network_names_the_file(
    places, monkeypatch, load, name, file
):
    def unreachable(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("pooch.retrieve", unreachable)  # the tests must not reach the real origin
    with pytest.raises(FetchError, match=f"{file} is not on this machine.*no network"):
        load(name)


def test_every_origin_is_public_and_has_its_sums():
    for origin in (
        *builtin.MNIST,
        *builtin.JAPANESE_VOWELS,
        builtin.ETTH1,
        builtin.ETTM1,
    ):
        assert all(url.startswith("https://") and url.endswith(origin.name) for url in origin.urls)
        assert len(origin.sha256) == len(origin.content) == 64
