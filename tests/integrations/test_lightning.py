"""Lightning, beside its WeightAveraging and StochasticWeightAveraging."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, StochasticWeightAveraging, WeightAveraging
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import common
from swa_tools import UsageError
from swa_tools.integrations.lightning import SWASnapshots

Images = tuple[Tensor, Tensor]


class Lit(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model = common.network()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        logits = self(batch[0])
        self.log("val_loss", nn.functional.cross_entropy(logits, batch[1]))
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


class Record(Callback):
    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.states.append({name: tensor.clone() for name, tensor in pl_module.state_dict().items()})


def make_trainer(more: list[Callback] = [], **settings: Any) -> lightning.Trainer:
    settings["callbacks"] = settings.get("callbacks", []) + more
    return lightning.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, **settings
    )


def loader(images: Images) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*images), batch_size=24, shuffle=True)


def test_lightning(images: Images, held_out: Images) -> None:
    record = Record()
    lit = Lit()
    names: dict[str, Any] = {
        "Trainer": lambda **settings: make_trainer([record], **settings),
        "lit": lit,
        "Lit": Lit,
        "torch": torch,
        "train_loader": loader(images),
    }
    common.run("Lightning", names)
    expected = common.mean(record.states[15:])
    common.assert_equal(lit.state_dict(), expected)
    # From the copy of the checkpoint.
    again = names["lit"]
    assert isinstance(again, Lit) and again is not lit
    common.assert_equal(again.state_dict(), expected)
    common.check_statistics(lit, images, held_out)


def test_what_stays_without_a_setting(images: Images) -> None:
    trainer = lightning.Trainer(
        max_epochs=3, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    trainer.fit(Lit(), loader(images))
    assert [path.name for path in Path("checkpoints").iterdir()] == ["epoch=2-step=12.ckpt"]


def test_weight_averaging(images: Images) -> None:
    class FromSix(WeightAveraging):
        def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
            return epoch_idx is not None and epoch_idx >= 6

    record = Record()
    keep = ModelCheckpoint("snapshots", save_top_k=-1)
    lit = Lit()
    make_trainer([record, FromSix(), keep], max_epochs=10).fit(lit, loader(images))
    common.shell(r"swa-avg snapshots --number 'epoch=(\d+)' --start 6 -o swa.pth")
    ours = torch.load("swa.pth", weights_only=True)
    common.assert_equal(ours, common.mean(record.states[6:]))
    # Lightning copied its average into the module: f32, step by step, parameters and not buffers.
    theirs = dict(lit.named_parameters())
    common.assert_equal({name: ours[name] for name in theirs}, {n: p.detach() for n, p in theirs.items()}, 1e-6)
    # And the last checkpoint has it too.
    common.shell(r"swa-avg snapshots/epoch=9*.ckpt --ema -o theirs.pth")
    stored = torch.load("theirs.pth", weights_only=True)
    common.assert_equal({name: stored[name] for name in theirs}, {n: p.detach() for n, p in theirs.items()})


def test_stochastic_weight_averaging(images: Images) -> None:
    torch.manual_seed(1)
    record = Record()
    swa = StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=6, annealing_epochs=1)
    keep = ModelCheckpoint("snapshots", save_top_k=-1, save_weights_only=True)
    lit = Lit()
    make_trainer([record, swa, keep], max_epochs=10).fit(lit, loader(images))
    # It takes weights when an epoch begins: those of the epoch before. The epoch after the last is for batchnorm.
    common.shell(r"swa-avg snapshots --number 'epoch=(\d+)' --range 4..8 -o swa.pth")
    ours = torch.load("swa.pth", weights_only=True)
    common.assert_equal(ours, common.mean(record.states[4:9]))
    # The average that it keeps: in the epoch for batchnorm 2.6.6 lets the optimizer's momentum move the model once more.
    assert swa._average_model is not None
    theirs = {name: parameter.detach() for name, parameter in swa._average_model.named_parameters()}
    common.assert_equal({name: ours[name] for name in theirs}, theirs, 1e-6)


def test_callback(images: Images, held_out: Images) -> None:
    record = Record()
    lit = Lit()
    names = common.run(
        "Callback for Lightning",
        {
            "Trainer": lambda **settings: make_trainer([record], **settings),
            "lit": lit,
            "train_loader": DataLoader(TensorDataset(*images), batch_size=96),
            "val_loader": DataLoader(TensorDataset(*held_out), batch_size=64),
        },
    )
    assert common.numbers(Path("swa")) == list(range(16, 21))
    expected = common.mean(record.states[15:])
    common.assert_equal(torch.load("swa.pth", weights_only=True), expected)
    again = Lit()
    again.load_state_dict(expected)
    common.update_bn(again, images[0])
    common.assert_equal(lit.state_dict(), again.state_dict(), 1e-6)
    last = Lit()
    last.load_state_dict(record.states[-1])
    assert names["trained"]["val_acc"] == accuracy(last, held_out)
    assert names["averaged"]["val_acc"] == accuracy(again, held_out) > 0.5


def accuracy(lit: Lit, images: Images) -> float:
    lit.eval()
    with torch.no_grad():
        return float((lit(images[0]).argmax(1) == images[1]).float().mean())


def test_cycles_and_rates(images: Images) -> None:
    class Cyclic(Lit):
        def configure_optimizers(self) -> Any:
            optimizer = super().configure_optimizers()
            # Two epochs of four steps.
            schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 8)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    class Rates(Callback):
        def __init__(self) -> None:
            self.rates: list[float] = []

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            self.rates.append(optimizer.param_groups[0]["lr"])

    make_trainer([SWASnapshots(start=0.3, at_cycle_end=True)], max_epochs=8).fit(Cyclic(), loader(images))
    assert common.numbers(Path("swa")) == [4, 6, 8]
    rates = Rates()
    swa = SWASnapshots(start=3, every=2, swa_lr=0.02, folder="constant")
    make_trainer([swa, rates], max_epochs=6).fit(Cyclic(), loader(images))
    assert common.numbers(Path("constant")) == [3, 5]
    assert set(rates.rates[8:]) == {0.02} and rates.rates[0] == 0.05 and len(set(rates.rates[:8])) == 8


def test_snapshots_of_another_run_are_not_mixed_in(images: Images) -> None:
    make_trainer([SWASnapshots(start=1)], max_epochs=1).fit(Lit(), loader(images))
    with pytest.raises(UsageError, match="another run"):
        make_trainer([SWASnapshots(start=1)], max_epochs=1).fit(Lit(), loader(images))
    with pytest.raises(UsageError, match="share of all epochs"):
        make_trainer([SWASnapshots(folder="other")], max_steps=4, max_epochs=-1).fit(Lit(), loader(images))


def test_batches_by_name(images: Images) -> None:
    class Named(Lit):
        def training_step(self, batch: Any, number: int) -> Tensor:
            return super().training_step([batch["images"], batch["labels"]], number)

        def validation_step(self, batch: Any, number: int) -> None:
            super().validation_step([batch["images"], batch["labels"]], number)

    class Rows(torch.utils.data.Dataset[dict[str, Tensor]]):
        def __init__(self, *names: str) -> None:
            self.names = names

        def __len__(self) -> int:
            return len(images[0])

        def __getitem__(self, row: int) -> dict[str, Tensor]:
            return {name: part[row] for name, part in zip(self.names, images)}

    both = DataLoader(Rows("images", "labels"), batch_size=48)
    lit, swa = Named(), SWASnapshots(start=1)
    trainer = make_trainer([swa], max_epochs=2)
    trainer.fit(lit, both)
    # What forward takes, by name; and what it does not.
    swa.finish(trainer, lit, DataLoader(Rows("images"), batch_size=96), both)
    once = {name: tensor.clone() for name, tensor in lit.state_dict().items()}
    whole = DataLoader(Rows("images", "labels"), batch_size=96)
    swa.finish(trainer, lit, whole, both, call=lambda batch: lit(batch["images"]))
    common.assert_equal(lit.state_dict(), once)


def test_two_processes(images: Images) -> None:
    """Both take part in saving, one file an epoch is written, and both have the same weights in it."""
    trainer = make_trainer([SWASnapshots(start=2)], max_epochs=3, devices=2, strategy="ddp_spawn")
    lit = Lit()
    trainer.fit(lit, loader(images))
    assert common.numbers(Path("swa")) == [2, 3]
    last = torch.load("swa/epoch_0003.pth", weights_only=True)["state_dict"]
    common.assert_equal(lit.state_dict(), last)
