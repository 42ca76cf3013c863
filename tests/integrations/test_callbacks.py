"""What the callbacks share, without a trainer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import common
from swa_tools import UsageError
from swa_tools.integrations._shared import Choice, finish

Images = tuple[Tensor, Tensor]


def saved(choice: Choice, rates: list[list[float]]) -> list[int]:
    """The epochs that are saved, of a trainer with these rates for the steps of its epochs."""
    found = []
    for epoch, steps in enumerate(rates, 1):
        for rate in steps:
            if choice.at_step(rate, lambda _: None, epoch, len(rates)):
                found.append(epoch - 1)
        if choice.due(epoch, len(rates)):
            found.append(epoch)
    return found


CONSTANT = [[0.1, 0.1]] * 8


@pytest.mark.parametrize(
    ("choice", "rates", "epochs"),
    [
        ({}, CONSTANT, [7, 8]),
        ({"start": 6}, CONSTANT, [6, 7, 8]),
        ({"start": 0.5, "every": 2}, CONSTANT, [5, 7]),
        # A rate that never falls has no cycles, and one that falls once has one.
        ({"start": 1, "at_cycle_end": True}, CONSTANT, []),
        ({"start": 1, "at_cycle_end": True}, [[0.4], [0.3], [0.2], [0.1]], [4]),
        # A cycle an epoch, step by step.
        ({"start": 2, "at_cycle_end": True}, [[0.3, 0.2, 0.1]] * 4, [2, 3, 4]),
        # Cycles of two and four epochs; one that is cut while it rises.
        ({"start": 1, "at_cycle_end": True}, [[0.2], [0.1]] * 2 + [[0.4], [0.3], [0.2], [0.1]], [2, 4, 8]),
        ({"start": 1, "at_cycle_end": True}, [[0.2], [0.1], [0.2]], [2]),
        # Triangles: the end is the lowest point.
        ({"start": 1, "at_cycle_end": True}, [[0.1], [0.2], [0.3], [0.2], [0.1], [0.2], [0.3], [0.2], [0.1]], [5, 9]),
    ],
)
def test_which_epochs(choice: dict[str, Any], rates: list[list[float]], epochs: list[int]) -> None:
    assert saved(Choice(**choice), rates) == epochs


def test_the_rate_is_set_only_if_asked_for_and_only_where_epochs_count() -> None:
    for swa_lr, expected in ((None, []), (0.05, [0.05] * 4)):
        rates: list[float] = []
        choice = Choice(start=3, swa_lr=swa_lr)
        for epoch in range(1, 5):
            for _ in range(2):
                choice.at_step(0.1, rates.append, epoch, 4)
        assert rates == expected


def test_what_cannot_be_meant_is_refused() -> None:
    for arguments in ({"every": 2}, {"swa_lr": 0.1}):
        with pytest.raises(UsageError, match="at_cycle_end"):
            Choice(at_cycle_end=True, **arguments)
    with pytest.raises(UsageError, match="share of all epochs"):
        Choice(start=0.5).due(3, None)
    assert Choice(start=2).due(3, None)


def worker(rank: int, folder: str, images: Tensor) -> None:
    os.chdir(folder)
    store = torch.distributed.FileStore("store", 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    torch.manual_seed(rank)
    model: nn.Module = common.network()
    choice = Choice(start=1)
    for epoch in range(3):
        # Each process has weights of its own here; those of rank 0 count.
        choice.snapshots.save(model, epoch)
        nn.init.normal_(model[0].weight)  # type: ignore[index]
    batches = images.chunk(2)[rank].chunk(2)
    found = finish(
        model,
        lambda: torch.load(choice.average("swa.pth"), weights_only=True),
        batches,
        model,
        lambda: float(model.state_dict()["1.running_mean"].sum()),
    )
    torch.save(model.state_dict(), f"rank_{rank}.pth")
    torch.save(found, f"found_{rank}.pth")
    torch.distributed.destroy_process_group()


def test_two_processes(images: Images, scene: Path) -> None:
    torch.multiprocessing.spawn(worker, (str(scene), images[0]), nprocs=2)
    expected = common.mean(torch.load(f"swa/epoch_000{epoch}.pth", weights_only=True) for epoch in range(3))
    assert len(list(Path("swa").iterdir())) == 3
    common.assert_equal(torch.load("swa.pth", weights_only=True), expected)
    model = common.network()
    model.load_state_dict(expected)
    # The mean over all batches, whoever had them.
    torch.optim.swa_utils.update_bn(images[0].chunk(4), model)
    first, second = (torch.load(f"rank_{rank}.pth", weights_only=True) for rank in (0, 1))
    common.assert_equal(first, second)
    counters = {name for name in first if name.endswith("num_batches_tracked")}
    assert counters
    wanted = {name: tensor for name, tensor in model.state_dict().items() if name not in counters}
    common.assert_equal({name: first[name] for name in wanted}, wanted, 1e-5)
    for rank in (0, 1):
        before, after = torch.load(f"found_{rank}.pth", weights_only=True)
        assert before == 0.0 and after == pytest.approx(float(model.state_dict()["1.running_mean"].sum()), rel=1e-4)
