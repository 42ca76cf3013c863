"""Keras on its torch backend: `.weights.h5`, and SwapEMAWeights beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import h5py
import keras
import numpy as np
import pytest
import safetensors.numpy
from torch import Tensor

import common
from swa_tools import UsageError
from swa_tools.integrations.keras import SWASnapshots, load_average

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
    modules = {"keras": keras, "h5py": h5py, "safetensors": safetensors}
    return modules | {"model": model, "train_images": pixels, "train_labels": labels}


def test_keras(images: Images, held_out: Images) -> None:
    model = network()
    variables = common.run("Keras", names(images, model))
    files = [f"epoch_{epoch:03}.weights.h5" for epoch in range(16, 21)]
    check_average(model, files, statistics=False)
    check_statistics(model, variables["train_images"])
    assert model.evaluate(*rows(held_out), verbose=0, return_dict=True)["accuracy"] > 0.5


def test_the_average_in_a_copy_of_a_snapshot(images: Images) -> None:
    model = network()
    keep = keras.callbacks.ModelCheckpoint("epoch_{epoch:03d}.weights.h5", save_weights_only=True)
    model.fit(*rows(images), epochs=3, verbose=0, callbacks=[keep])
    common.shell("swa-avg 'epoch_*' -o swa.safetensors")
    load_average(model, "swa.safetensors", "epoch_003.weights.h5")
    check_average(model, [f"epoch_00{epoch}.weights.h5" for epoch in (1, 2, 3)])


def test_callback(images: Images, held_out: Images) -> None:
    model = network()
    variables = common.run("Callback for Keras", names(images, model) | {"val_data": rows(held_out)})
    assert common.numbers(Path("swa")) == list(range(16, 21))
    check_average(model, [f"swa/epoch_{epoch:04}.weights.h5" for epoch in range(16, 21)], statistics=False)
    check_statistics(model, variables["train_images"])
    again = network()
    again.load_weights("swa.weights.h5")
    for found, expected in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    trained = network()
    trained.load_weights("swa/epoch_0020.weights.h5")
    for found, of in ((variables["trained"], trained), (variables["averaged"], again)):
        assert found == of.evaluate(*rows(held_out), verbose=0, return_dict=True)


def test_cycles_of_a_schedule(images: Images) -> None:
    swa = SWASnapshots(start=3, at_cycle_end=True)
    rates = keras.callbacks.LearningRateScheduler(lambda epoch: [0.05, 0.03, 0.01][epoch % 3])
    network().fit(*rows(images), epochs=8, verbose=0, callbacks=[rates, swa])
    assert common.numbers(Path("swa")) == [3, 6, 8]


def test_a_run_that_goes_on(images: Images) -> None:
    swa = SWASnapshots(start=2)
    model = network()
    model.fit(*rows(images), epochs=3, verbose=0, callbacks=[swa])
    model.fit(*rows(images), epochs=5, initial_epoch=3, verbose=0, callbacks=[SWASnapshots(start=2)])
    assert common.numbers(Path("swa")) == [2, 3, 4, 5]
    with pytest.raises(UsageError, match="another run"):
        model.fit(*rows(images), epochs=5, verbose=0, callbacks=[SWASnapshots(start=2)])


def test_a_rate_that_cannot_be_set_is_refused(images: Images) -> None:
    model = network()
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 100)
    model.compile(optimizer=keras.optimizers.SGD(schedule), loss="sparse_categorical_crossentropy")
    with pytest.raises(UsageError, match="LearningRateSchedule; give the optimizer a number"):
        model.fit(*rows(images), epochs=1, verbose=0, callbacks=[SWASnapshots(start=1, swa_lr=0.01)])
    model.fit(*rows(images), epochs=1, verbose=0, callbacks=[SWASnapshots(start=1)])
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="sparse_categorical_crossentropy")
    swa = SWASnapshots(start=2, swa_lr=0.01, folder="constant")
    model.fit(*rows(images), epochs=2, verbose=0, callbacks=[swa])
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == float(np.float32(0.01))


def check_average(model: Any, files: list[str], statistics: bool = True) -> None:
    """With statistics of batchnorm or without, which are at 2 and 3 of its four weights."""
    means = []
    for values in zip(*map(stored, files), strict=True):
        means.append(np.mean([value.astype(np.float64) for value in values], axis=0).astype(values[0].dtype))
    checked = 0
    for weight, expected in zip(model.weights, means, strict=True):
        if statistics or not weight.name.startswith("moving"):
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), expected)
            checked += 1
    assert checked == (12 if statistics else 8)


def check_statistics(model: Any, pixels: Array) -> None:
    """From one batch of all: mean and variance of what comes in, layer by layer."""
    outputs = pixels
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
