"""A loop in plain PyTorch, beside torch.optim.swa_utils."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import common

Images = tuple[Tensor, Tensor]


def trainer(images: Images, after: Callable[[nn.Module], None] = lambda _: None) -> Callable[[nn.Module], None]:
    """An epoch of SGD, then `after`."""
    optimizers: dict[nn.Module, torch.optim.Optimizer] = {}

    def train(model: nn.Module) -> None:
        if model not in optimizers:
            optimizers[model] = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        model.train()
        for rows in torch.randperm(len(images[0])).split(24):
            loss = nn.functional.cross_entropy(model(images[0][rows]), images[1][rows])
            optimizers[model].zero_grad()
            loss.backward()
            optimizers[model].step()
        after(model)

    return train


def test_pytorch(images: Images, held_out: Images) -> None:
    Path("snapshots").mkdir()
    model = common.network()
    states: list[dict[str, Tensor]] = []
    averaged = AveragedModel(model, use_buffers=True)

    def after(model: nn.Module) -> None:
        states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        if len(states) >= 16:
            averaged.update_parameters(model)

    common.run("PyTorch", {"torch": torch, "model": model, "train": trainer(images, after)})
    common.assert_equal(model.state_dict(), common.mean(states[15:]))
    # PyTorch averages in f32, step by step; its counters are averaged too.
    theirs = {n: t for n, t in averaged.module.state_dict().items() if t.is_floating_point()}
    ours = {n: t for n, t in model.state_dict().items() if t.is_floating_point()}
    common.assert_equal(ours, theirs, 1e-6)
    common.check_statistics(model, images, held_out)


def test_callback(images: Images, held_out: Images) -> None:
    states: list[dict[str, Tensor]] = []
    train = trainer(images, lambda model: states.append({n: t.clone() for n, t in model.state_dict().items()}))
    model = common.network()
    given = []

    def evaluate(model: nn.Module) -> float:
        model.eval()
        given.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        with torch.no_grad():
            return float((model(held_out[0]).argmax(1) == held_out[1]).float().mean())

    # The rate is the loop's own, so no step of this optimizer is needed.
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    batches = [(images[0], images[1])]
    names = {"model": model, "optimizer": optimizer, "train": train, "train_loader": batches, "evaluate": evaluate}
    common.run("Callback for PyTorch", names)
    assert common.numbers(Path("swa")) == list(range(16, 21))
    expected = common.mean(states[15:])
    common.assert_equal(torch.load("swa.pth", weights_only=True), expected)
    again = common.network()
    again.load_state_dict(expected)
    common.update_bn(again, images[0])
    common.assert_equal(model.state_dict(), again.state_dict(), 1e-6)
    common.assert_equal(given[0], states[-1])
    common.assert_equal(given[1], model.state_dict())
    assert names["averaged"] > 0.5, names


if __name__ == "__main__":
    common.alone(test_pytorch, test_callback)
