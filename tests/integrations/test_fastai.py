"""fastai: its Learner, with and without SaveModelCallback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from fastai.callback.core import Callback
from fastai.callback import schedule  # noqa: F401
from fastai.callback.tracker import SaveModelCallback
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.metrics import accuracy
from fastai.optimizer import SGD
from torch import Tensor, nn

import common
from swa_tools.integrations.fastai import SWASnapshots

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


def test_callback(images: Images, held_out: Images) -> None:
    record = Record()
    learn = learner(images, held_out, common.network(), record)
    names = common.run("Callback for fastai", {"learn": learn})
    assert common.numbers(Path("swa")) == list(range(16, 21))
    # fastai's validation ends an epoch, too.
    expected = common.mean(record.states[15:20])
    common.assert_equal(torch.load("swa.pth", weights_only=True), expected)
    found = learn.model.state_dict()
    moved = {name for name, tensor in expected.items() if not torch.equal(found[name], tensor)}
    assert {name.rsplit(".", 1)[1] for name in moved} == {"running_mean", "running_var", "num_batches_tracked"}
    for name, state in (("trained", record.states[19]), ("averaged", found)):
        model = common.network().eval()
        model.load_state_dict(state)
        with torch.no_grad():
            right = model(held_out[0]).argmax(1) == held_out[1]
        assert names[name][1] == float(right.float().mean())


def test_cycles_and_rates(images: Images, held_out: Images) -> None:
    learn = learner(images, held_out, common.network())
    # Cycles of one and two epochs.
    learn.fit_sgdr(2, 1, lr_max=0.05, cbs=SWASnapshots(start=1, at_cycle_end=True))
    assert common.numbers(Path("swa")) == [1, 3]
    learn.fit_one_cycle(4, 0.05, cbs=SWASnapshots(start=3, swa_lr=0.01, folder="constant"))
    assert common.numbers(Path("constant")) == [3, 4]
    assert {group["lr"] for group in learn.opt.hypers} == {0.01}


def test_validation_and_the_learning_rate_finder_leave_no_snapshots(images: Images, held_out: Images) -> None:
    swa = SWASnapshots(start=1)
    learn = learner(images, held_out, common.network(), swa)
    learn.lr_find(num_it=8, show_plot=False)
    learn.validate()
    assert not Path("swa").exists()
    learn.fit(3)
    before = learn.model.state_dict()["0.weight"].clone()
    learn.validate()
    assert common.numbers(Path("swa")) == [1, 2, 3]
    swa.finish(learn)
    assert common.numbers(Path("swa")) == [1, 2, 3]
    assert not torch.equal(learn.model.state_dict()["0.weight"], before)
    learn.get_preds()
    assert common.numbers(Path("swa")) == [1, 2, 3]
