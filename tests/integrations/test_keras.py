"""Keras on its torch backend: `.weights.h5`, and SwapEMAWeights beside it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import h5py
import keras
import numpy as np
import safetensors.numpy
from torch import Tensor

import common

Images = tuple[Tensor, Tensor]
Array = np.ndarray[Any, np.dtype[Any]]


def network(**optimizer: Any) -> Any:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.layers.Input((64, 64, 3)),
        keras.layers.Conv2D(8, 5, strides=4, use_bias=False),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.Conv2D(16, 3, strides=2, use_bias=False),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(common.CLASSES),
    ])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9, **optimizer), loss, metrics=["accuracy"])
    return model


def rows(images: Images) -> tuple[Array, Array]:
    return images[0].permute(0, 2, 3, 1).contiguous().numpy(), images[1].numpy()


def stored(path: str) -> list[Array]:
    model = network()
    model.load_weights(path)
    return [np.array(values) for values in model.get_weights()]


def names(images: Images, model: Any) -> dict[str, Any]:
    pixels, labels = rows(images)
    modules = {"keras": keras, "h5py": h5py, "safetensors": safetensors, "shutil": shutil}
    return modules | {"model": model, "train_images": pixels, "train_labels": labels}


def test_keras(images: Images, held_out: Images) -> None:
    model = network()
    variables = common.run("Keras", names(images, model))
    snapshots = [stored(f"epoch_{epoch:03}.weights.h5") for epoch in range(16, 21)]
    for found, values in zip(model.get_weights(), zip(*snapshots), strict=True):
        expected = np.mean([value.astype(np.float64) for value in values], axis=0)
        np.testing.assert_array_equal(found, expected.astype(found.dtype))
    common.run("Batchnorm in Keras", variables)
    # From one batch of all: mean and variance of what comes in, layer by layer.
    outputs = variables["train_images"]
    layers = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            values = keras.ops.convert_to_numpy(outputs)
            mean, variance = (keras.ops.convert_to_numpy(w) for w in (layer.moving_mean, layer.moving_variance))
            np.testing.assert_allclose(mean, values.mean((0, 1, 2)), rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(variance, values.var((0, 1, 2)), rtol=1e-4, atol=1e-5)
            assert layer.momentum == 0.99
            layers += 1
        outputs = layer(outputs)
    assert layers == 2
    assert model.evaluate(*rows(held_out), verbose=0, return_dict=True)["accuracy"] > 0.5


def test_swap_ema_weights(images: Images) -> None:
    """Keras's moving average over six steps of one batch is that of swa-avg over the six snapshots."""
    model = network(use_ema=True, ema_momentum=0.9)
    raw = keras.callbacks.ModelCheckpoint("epoch_{epoch:03d}.weights.h5", save_weights_only=True)
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    ema = keras.callbacks.ModelCheckpoint("ema_{epoch:03d}.weights.h5", save_weights_only=True)
    model.fit(*rows(images), batch_size=96, epochs=6, verbose=0, callbacks=[raw, swap, ema])
    common.shell("swa-avg 'epoch_*' -o ema:0.9=ema.safetensors")
    ours = safetensors.numpy.load_file("ema.safetensors")
    trained = 0
    with h5py.File("ema_006.weights.h5") as theirs, h5py.File("epoch_006.weights.h5") as last:
        for name, values in ours.items():
            # Statistics of batchnorm are not in Keras's average.
            if name.startswith("batch_normalization") and name[-1] in "23":
                continue
            np.testing.assert_allclose(values, theirs["layers"][name][...], rtol=1e-5, atol=1e-6)
            trained += not np.array_equal(theirs["layers"][name][...], last["layers"][name][...])
    assert trained == 8


def test_what_stays_without_a_setting(images: Images) -> None:
    network().fit(*rows(images), epochs=1, verbose=0)
    assert [path.name for path in Path().iterdir()] == ["data"]
