"""Small data of both kinds that a network learns in a second, as files."""

import numpy as np


def write_sequences(path, n=120, time=9, features=2, variable=False, classes=("falling", "rising")):
    """Sequences that fall or rise, with noise; of variable length, padded."""
    draw = np.random.default_rng(3)
    y = np.arange(n) % 2
    slope = np.where(y == 1, 1.0, -1.0)[:, None, None]
    x = slope * np.arange(time)[None, :, None] + draw.normal(0, 1, (n, time, features))
    arrays = {"x": (5 + 2 * x).astype(np.float32), "y": y, "classes": np.array(classes)}
    if variable:
        arrays["lengths"] = draw.integers(3, time + 1, n)
    np.savez(path, **arrays)
    return path


def write_ts(path, n=40, seed=3, classes=("falling", "rising"), features=2):
    """Sequences of 3 to 9 steps that fall or rise, as a ``.ts`` file."""
    draw = np.random.default_rng(seed)
    lines = ["# slopes", "@problemName Slopes", "@equalLength false"]
    lines += [f"@dimension {features}", f"@classLabel true {' '.join(classes)}", "@data"]
    for row in range(n):
        steps = np.arange(draw.integers(3, 10))
        slope = 2.0 if row % 2 else -2.0
        x = 5 + slope * steps + draw.normal(0, 1, (features, len(steps)))
        columns = [",".join(f"{value:.6f}" for value in column) for column in x]
        lines.append(":".join([*columns, classes[row % len(classes)]]))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_series(path, rows=300):
    """Two waves by the hour, far from mean 0 and deviation 1."""
    steps = np.arange(rows)
    times = np.datetime64("2024-01-01T00:00") + steps * np.timedelta64(1, "h")
    price = 100 + 20 * np.sin(steps / 3)
    load = 5 + np.cos(steps / 3)
    lines = ["time,price,load"]
    for time, one, two in zip(times, price, load, strict=True):
        lines.append(f"{str(time).replace('T', ' ')}:00,{one:.6f},{two:.6f}")
    path.write_text("\n".join(lines) + "\n")
    return path


def forecast_document(path, **train):
    return {
        "task": {"kind": "forecast", "lookback": 12, "horizon": 4, "targets": ["price"]},
        "data": {"source": str(path)},
        "model": {"cell": "gru", "hidden": 8, "dropout": 0.2},
        "train": {"epochs": 4, "learning_rate": 0.01, "threads": 1, **train},
    }


def classify_document(path, **train):
    return {
        "task": {"kind": "classify"},
        "data": {"source": str(path)},
        "model": {"cell": "lstm", "hidden": 8, "layers": 2, "dropout": 0.2},
        "train": {"epochs": 4, "learning_rate": 0.01, "threads": 1, **train},
    }
