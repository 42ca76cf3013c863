"""accelerate: a loop of one's own, and its checkpoints."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator, load_checkpoint_in_model
from accelerate.utils import ProjectConfiguration
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import common

Images = tuple[Tensor, Tensor]


def test_accelerate(images: Images, held_out: Images) -> None:
    network = common.network()
    states: list[dict[str, Tensor]] = []
    names: dict[str, Any] = {
        "Accelerator": lambda **settings: Accelerator(cpu=True, **settings),
        "ProjectConfiguration": ProjectConfiguration,
        "load_checkpoint_in_model": load_checkpoint_in_model,
        "model": network,
        "optimizer": torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9),
        "train_loader": DataLoader(TensorDataset(*images), batch_size=24, shuffle=True),
    }

    def train(model: nn.Module) -> None:
        model.train()
        for pixels, labels in names["train_loader"]:
            loss = nn.functional.cross_entropy(model(pixels), labels)
            names["optimizer"].zero_grad()
            names["accelerator"].backward(loss)
            names["optimizer"].step()
        states.append({name: tensor.clone() for name, tensor in network.state_dict().items()})

    names["train"] = train
    common.run("accelerate", names)
    common.assert_equal(network.state_dict(), common.mean(states[15:]))
    torch.save(network.state_dict(), "swa.pth")
    common.check_statistics(network, images, held_out)
