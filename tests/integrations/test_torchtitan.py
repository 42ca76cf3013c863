"""torchtitan's checkpoint manager, in one process; its trainer needs a newer PyTorch than 2.11."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Iterator

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torchtitan.components.checkpoint import CheckpointManager

import common

Images = tuple[Tensor, Tensor]


@pytest.fixture
def process_group() -> Iterator[None]:
    store = dist.HashStore()
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def build(config: Any, model: nn.Module) -> tuple[Any, torch.optim.Optimizer]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    manager = config.build(
        dataloader=None,
        model_parts=[model],
        optimizers=optimizer,
        lr_schedulers=torch.optim.lr_scheduler.ConstantLR(optimizer),
        states={},
        sd_adapter=None,
        base_folder="outputs",
    )
    return manager, optimizer


def train(config: Any, images: Images, steps: int) -> list[dict[str, Tensor]]:
    model = common.network()
    manager, optimizer = build(config, model)
    states = []
    for step in range(1, steps + 1):
        rows = torch.randperm(len(images[0]))[:24]
        loss = nn.functional.cross_entropy(model(images[0][rows]), images[1][rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        manager.save(step, last_step=step == steps)
    manager.close()
    return states


def test_torchtitan(images: Images, held_out: Images, process_group: None) -> None:
    names: dict[str, Any] = {"CheckpointManager": CheckpointManager, "os": os}
    exec(common.section("torchtitan")[0].code, names)
    states = train(names["checkpoint"], images, 100)
    assert common.numbers(Path("outputs/checkpoint")) == list(range(5, 101, 5))
    common.run("torchtitan", names)
    model = common.network()
    build(names["checkpoint"], model)[0].load()
    common.assert_equal(model.state_dict(), common.mean([states[step - 1] for step in range(80, 101, 5)]))
    common.shell("swa-avg 'outputs/checkpoint/step-*' --start 80 --like outputs/checkpoint/step-95 -o on")
    dcp_to_torch_save("outputs/checkpoint/step-95", "before.pth")
    dcp_to_torch_save("on", "on.pth")
    before, on = (torch.load(name, weights_only=False) for name in ("before.pth", "on.pth"))
    assert before.keys() == on.keys() and before["optimizer"]["state"]
    for name, value in on["optimizer"]["state"].items():
        assert torch.equal(value["momentum_buffer"], before["optimizer"]["state"][name]["momentum_buffer"])
    assert torch.equal(on["8.weight"], model.state_dict()["8.weight"])
    torch.save(model.state_dict(), "swa.pth")
    common.check_statistics(model, images, held_out)


def test_what_stays_without_a_setting(images: Images, process_group: None) -> None:
    train(CheckpointManager.Config(enable=True, interval=1), images, 14)
    # After the last step none is deleted.
    assert common.numbers(Path("outputs/checkpoint")) == list(range(4, 15))
    assert CheckpointManager.Config().interval == 500
