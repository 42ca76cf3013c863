"""MMEngine: its Runner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner, load_checkpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import common

Images = tuple[Tensor, Tensor]


class Model(BaseModel):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.backbone = common.network()

    def forward(self, images: Tensor, labels: Tensor | None = None, mode: str = "tensor") -> Any:
        logits = self.backbone(images)
        if mode == "loss":
            assert labels is not None
            return {"loss": nn.functional.cross_entropy(logits, labels)}
        return logits


class Record(Hook):  # type: ignore[misc]
    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []

    def after_train_epoch(self, runner: Runner) -> None:
        self.states.append({name: tensor.clone() for name, tensor in runner.model.state_dict().items()})


def test_mmengine(images: Images, held_out: Images) -> None:
    record = Record()
    model = Model()
    names: dict[str, Any] = {"model": model, "load_checkpoint": load_checkpoint}
    setting, *rest = common.section("MMEngine")
    exec(setting.code, names)
    Runner(
        model=model,
        work_dir="work_dirs/run",
        train_dataloader=DataLoader(TensorDataset(*images), batch_size=24, shuffle=True),
        train_cfg={"by_epoch": True, "max_epochs": 20},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.05, "momentum": 0.9}},
        default_hooks=names["default_hooks"],
        custom_hooks=[record],
        log_level="ERROR",
    ).train()
    assert len(list(Path("work_dirs/run").glob("epoch_*.pth"))) == 20
    common.run("MMEngine", names)
    common.assert_equal(model.state_dict(), common.mean(record.states[15:]))
    common.check_statistics(model, images, held_out)
