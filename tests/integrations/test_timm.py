"""timm: the CheckpointSaver of its training script (the script itself is not in the package)."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import timm
import torch
from timm.utils import CheckpointSaver
from torch import Tensor, nn

import common
from test_pytorch import trainer

Images = tuple[Tensor, Tensor]


def train(images: Images, history: int, epochs: int = 20) -> list[dict[str, Tensor]]:
    """As the script saves, with an accuracy that falls."""
    Path("output/run").mkdir(parents=True)
    model = timm.create_model("test_resnet", num_classes=common.CLASSES)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    args = Namespace(model="test_resnet")
    saver = CheckpointSaver(model, optimizer, args=args, checkpoint_dir="output/run", max_history=history)
    step = trainer(images)
    states = []
    for epoch in range(20):
        step(model)
        states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        saver.save_checkpoint(epoch, metric=80.0 - epoch)
    return states


def test_timm(images: Images, held_out: Images) -> None:
    states = train(images, 1000)
    names = {"timm": timm}
    common.run("timm", names)
    model = names["model"]
    assert isinstance(model, nn.Module)
    common.assert_equal(model.state_dict(), common.mean(states[15:]))
    torch.save(model.state_dict(), "swa.pth")
    common.check_statistics(model, images, held_out)


def test_what_stays_without_a_setting(images: Images) -> None:
    train(images, 10)
    kept = sorted(int(path.name.split("-")[1].split(".")[0]) for path in Path("output/run").glob("checkpoint-*"))
    assert kept == list(range(10)), "the best, not the last"
