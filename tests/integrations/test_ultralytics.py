"""ultralytics: a classifier of YOLO, trained from its own description of the network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ["YOLO_CONFIG_DIR"] = os.environ.get("TMPDIR", "/tmp")
os.environ["YOLO_OFFLINE"] = "true"

import torch
from torch import Tensor
from ultralytics import YOLO
from ultralytics.utils.torch_utils import unwrap_model

import common

Images = tuple[Tensor, Tensor]


class Small:
    """A YOLO with the settings of the page, and those that a machine without network or GPU needs."""

    def __init__(self) -> None:
        self.yolo = YOLO("yolo11n-cls.yaml", task="classify", verbose=False)

    def train(self, **settings: Any) -> None:
        self.yolo.train(
            **settings,
            amp=False,
            batch=24,
            device="cpu",
            workers=0,
            pretrained=False,
            plots=False,
            verbose=False,
            optimizer="SGD",
            project=str(Path.cwd() / "runs"),
            lr0=0.02,
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self.yolo, name)


def test_ultralytics(images: Images, held_out: Images) -> None:
    Path("snapshots").mkdir()
    yolo = Small()
    export = common.section("Batchnorm and evaluation")[0]
    names = {"yolo": yolo, "torch": torch, "unwrap_model": unwrap_model}
    model = YOLO("yolo11n-cls.yaml", task="classify").model
    # As the trainer makes it for this data.
    model = type(model)(model.yaml, nc=common.CLASSES, verbose=False)
    exec(export.code, {"torch": torch, "model": model})
    common.run("ultralytics", names)
    snapshots = sorted(Path("snapshots").iterdir())
    assert len(snapshots) == 20
    expected = common.mean(torch.load(f"snapshots/epoch_{n}.pth", weights_only=True) for n in range(16, 21))
    common.assert_equal(yolo.model.state_dict(), expected)
    again = YOLO("swa.pt")
    # ultralytics stores half precision.
    halves = {n: t.half() if t.is_floating_point() else t for n, t in expected.items()}
    common.assert_equal(dict(again.model.half().state_dict()), halves)
    statistics(yolo.model, images)


def statistics(model: torch.nn.Module, images: Images) -> None:
    """Those that swa-bn-update collected are PyTorch's own, from the same pixels."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = common.read_images(Path("data/train"), resize=64)[0]
    pixels = pixels * std.view(3, 1, 1) + mean.view(3, 1, 1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    common.update_bn(model, pixels)
    found = torch.load("swa_bn.pth", weights_only=True)
    moved = 0
    for name, tensor in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4)
            moved += not torch.equal(tensor, before[name])
    assert moved > 50
