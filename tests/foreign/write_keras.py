"""Writes this folder's Keras files and Keras' own answers; needs tensorflow and tf2onnx."""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf2onnx

I, H = 3, 4  # noqa: E741 - the field's own name
layers = tf.keras.layers


def sequential(layer):
    x = tf.keras.Input((None, I))
    return tf.keras.Model(x, layer(x))


def with_states(layer):
    x, h = tf.keras.Input((None, I)), tf.keras.Input((H,))
    return tf.keras.Model([x, h], layer(x, initial_state=[h]))


def masked(layer):
    x = tf.keras.Input((None, I))
    return tf.keras.Model(x, layer(layers.Masking(0.0)(x)))


MODELS = {  # name → opset (0: Keras' own export), model
    "keras-lstm": (13, lambda: sequential(layers.LSTM(H, return_sequences=True))),
    "keras-lstm-hard-sigmoid": (
        15,
        lambda: sequential(
            layers.LSTM(H, recurrent_activation="hard_sigmoid", return_sequences=True)
        ),
    ),
    "keras-gru": (13, lambda: sequential(layers.GRU(H, return_sequences=True))),
    "keras-gru-reset-first": (9, lambda: sequential(layers.GRU(H, reset_after=False))),
    "keras-gru-state": (
        11,
        lambda: with_states(layers.GRU(H, return_sequences=True, return_state=True)),
    ),
    "keras-rnn": (18, lambda: sequential(layers.SimpleRNN(H, return_sequences=True))),
    "keras-masked-lstm": (13, lambda: masked(layers.LSTM(H, return_sequences=True))),
    "keras-export-gru": (0, lambda: sequential(layers.GRU(H, reset_after=False))),
}


def write(folder: Path) -> None:
    random = np.random.default_rng(0)
    answers = {}
    for name, (opset, build) in MODELS.items():
        model = build()
        model(np.zeros((2, 3, I), np.float32)) if not opset else None
        model.set_weights(
            [w + 0.4 * random.standard_normal(w.shape) for w in model.get_weights()]
        )  # zero biases would hide a bias that is lost
        path = folder / f"{name}.onnx"
        named = zip("xh", model.inputs, strict=False)
        signature = [tf.TensorSpec(t.shape, t.dtype, name=n) for n, t in named]
        if opset:
            call = tf.function(
                lambda *given: model(given if len(given) > 1 else given[0]),  # noqa: B023
                input_signature=signature,
            )
            tf2onnx.convert.from_function(call, signature, opset=opset, output_path=str(path))
        else:
            model.export(str(path), format="onnx", verbose=False)
        feeds = [random.standard_normal((2, 6, I)), random.standard_normal((2, H))]
        feeds = [array.astype(np.float32) for array in feeds[: len(signature)]]
        if "masked" in name:
            feeds[0][1, 3:] = 0
        found = model(feeds if len(feeds) > 1 else feeds[0])
        found = found if isinstance(found, (list, tuple)) else [found]
        for what, arrays in (("in", feeds), ("out", found)):
            answers |= {f"{name}.{what}{i}": np.asarray(a) for i, a in enumerate(arrays)}
    np.savez_compressed(folder / "keras.npz", **answers)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
