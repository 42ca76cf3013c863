"""fastai: its Learner, with and without SaveModelCallback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from fastai.callback.core import Callback
from fastai.callback.tracker import SaveModelCallback
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.metrics import accuracy
from fastai.optimizer import SGD
from torch import Tensor, nn

import common

Images = tuple[Tensor, Tensor]


class Record(Callback):  # type: ignore[misc]
    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []

    def after_epoch(self) -> None:
        self.states.append({name: tensor.clone() for name, tensor in self.learn.model.state_dict().items()})


def learner(images: Images, held_out: Images, model: nn.Module, *callbacks: Any) -> Any:
    loaders = [
        DataLoader(list(zip(*part)), bs=24, shuffle=shuffle, num_workers=0)
        for part, shuffle in [(images, True), (held_out, False)]
    ]
    return Learner(
        DataLoaders(*loaders),
        model,
        loss_func=nn.CrossEntropyLoss(),
        opt_func=SGD,
        lr=0.05,
        metrics=accuracy,
        cbs=list(callbacks),
        path=Path.cwd(),
    )


def test_fastai(images: Images, held_out: Images) -> None:
    record = Record()
    learn = learner(images, held_out, common.network(), record)
    common.run("fastai", {"learn": learn, "SaveModelCallback": SaveModelCallback})
    common.assert_equal(learn.model.state_dict(), common.mean(record.states[15:]))
    Path("swa.pth").symlink_to("models/swa.pth")
    common.check_statistics(learn.model, images, held_out)


def test_what_stays_without_a_setting(images: Images, held_out: Images) -> None:
    learner(images, held_out, common.network()).fit(1)
    assert not Path("models").exists()
