"""What torchvision's references/classification/train.py saves (the script is not in the package; this is its dict)."""

from __future__ import annotations

import shutil
from argparse import Namespace
from pathlib import Path

import torch
import torchvision
from torch import Tensor

import common
from test_pytorch import trainer

Images = tuple[Tensor, Tensor]


def test_torchvision(images: Images, held_out: Images) -> None:
    Path("run").mkdir()
    model = torchvision.models.mobilenet_v2(num_classes=common.CLASSES, width_mult=0.25, dropout=0.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 30)
    step = trainer(images)
    states = []
    for epoch in range(20):
        step(model)
        states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        checkpoint = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "lr_scheduler": schedule.state_dict(),
            "epoch": epoch,
            "args": Namespace(model="mobilenet_v2", lr=0.05),
        }
        torch.save(checkpoint, f"run/model_{epoch}.pth")
        shutil.copy(f"run/model_{epoch}.pth", "run/checkpoint.pth")
    expected = common.mean(states[15:])
    common.run("torchvision's references", {"torch": torch, "model": model})
    common.assert_equal(model.state_dict(), expected)
    # What --resume reads.
    resumed = torch.load("resume.pth", weights_only=False)
    common.assert_equal(resumed["model"], expected)
    assert resumed["epoch"] == 19 and resumed["args"].model == "mobilenet_v2"
    assert resumed["lr_scheduler"] == schedule.state_dict()
    common.check_statistics(model, images, held_out)
