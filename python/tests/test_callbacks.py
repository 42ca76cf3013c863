"""What the callbacks share, and a loop in plain PyTorch: no trainer is needed. Those with one are in tests/integrations."""

from __future__ import annotations

import ast
import os
import time
from pathlib import Path
from typing import Any, Iterator

import pytest
from conftest import ROOT
from swa_tools import InputError, UsageError
from swa_tools.integrations._shared import Choice, feed


def saved(choice: Choice, rates: list[list[float]]) -> list[int]:
    """The epochs that are saved, of a trainer with these rates for the steps of its epochs."""
    found = []
    choice.begin(1, len(rates))
    for epoch, steps in enumerate(rates, 1):
        for rate in steps:
            if choice.at_step(rate, lambda _: None, epoch):
                found.append(epoch - 1)
        if choice.due(epoch):
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
        choice.begin(1, 4)
        for epoch in range(1, 5):
            for _ in range(2):
                choice.at_step(0.1, rates.append, epoch)
        assert rates == expected


def test_what_cannot_be_meant_is_refused(here: Path) -> None:
    for arguments in ({"every": 2}, {"swa_lr": 0.1}):
        with pytest.raises(UsageError, match="at_cycle_end"):
            Choice(at_cycle_end=True, **arguments)
    with pytest.raises(UsageError, match="share of all epochs"):
        Choice(start=0.5).due(3)
    choice = Choice(start=2)
    assert choice.due(3)
    choice.snapshots.folder.mkdir()
    choice.snapshots.path(7).touch()
    with pytest.raises(UsageError, match="`swa` has snapshots of another run; name another folder"):
        choice.begin(1, 10)
    # A run that goes on.
    choice.begin(8, 10)


def test_snapshots_of_a_longer_run_are_none_of_this_one(here: Path) -> None:
    for at_cycle_end in (False, True):
        choice = Choice(start=6, at_cycle_end=at_cycle_end, folder=f"swa_{at_cycle_end}")
        choice.snapshots.folder.mkdir()
        for epoch in range(5, 10):
            choice.snapshots.path(epoch).touch()
        # It goes on after epoch 5 and ends sooner; the trainer writes the files.
        choice.begin(6, 8)
        for epoch in range(6, 9):
            choice.at_step(1 / epoch, lambda _: None, epoch)
            choice.due(epoch)
        with pytest.raises(UsageError, match="epoch_0009.pth` is of a longer run: this one ended with epoch 8"):
            choice.average("swa.pth")


def test_batches_are_fed_as_trainers_have_them() -> None:
    def model(*parts: Any, **names: Any) -> Any:
        return parts, names

    assert feed(model, [1, 2]) == ((1,), {})
    assert feed(model, {"x": 1, "y": 2}) == ((), {"x": 1, "y": 2})
    assert feed(model, 3) == ((3,), {})
    assert feed(model, {"x": 1}, lambda batch: batch["x"]) == 1


def lines_of_code(node: ast.ClassDef, source: list[str]) -> int:
    documents: set[int] = set()
    for part in ast.walk(node):
        if isinstance(part, (ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(part):
            text = part.body[0]
            documents.update(range(text.lineno, (text.end_lineno or 0) + 1))
    lines = range(node.lineno, (node.end_lineno or 0) + 1)
    code = [source[n - 1].strip() for n in lines if n not in documents]
    return len([line for line in code if line and not line.startswith("#")])


def test_a_callback_is_at_most_thirty_lines() -> None:
    found = {}
    for path in (ROOT / "python/swa_tools/integrations").glob("[!_]*.py"):
        text = path.read_text()
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef):
                found[path.stem] = lines_of_code(node, text.splitlines())
    assert set(found) == {"fastai", "huggingface", "keras", "lightning", "pytorch"}
    assert max(found.values()) <= 30, found


def network(torch: Any) -> Any:
    torch.manual_seed(0)
    nn = torch.nn
    return nn.Sequential(nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def images(torch: Any) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(96) % 3
    return torch.randn(96, 6, generator=generator) + labels[:, None] + 2, labels


def mean(torch: Any, states: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean in f64, rounded once; of integers the last."""
    found = dict(states[-1])
    for name, last in found.items():
        if last.is_floating_point():
            found[name] = torch.stack([state[name].double() for state in states]).mean(0).to(last.dtype)
    return found


class Loop:
    """A loop in plain PyTorch, its rates, and the weights after each epoch."""

    def __init__(self, torch: Any, rates: list[float]) -> None:
        self.torch = torch
        self.model = network(torch)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=rates[0], momentum=0.9)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda epoch: rates[epoch % len(rates)] / rates[0])
        self.states: list[dict[str, Any]] = []
        self.rates: list[float] = []

    def train(self) -> None:
        inputs, labels = images(self.torch)
        for rows in self.torch.arange(96).split(32):
            self.optimizer.zero_grad()
            self.torch.nn.functional.cross_entropy(self.model(inputs[rows]), labels[rows]).backward()
            self.optimizer.step()
            self.rates.append(self.optimizer.param_groups[0]["lr"])
        self.schedule.step()
        self.states.append({name: tensor.clone() for name, tensor in self.model.state_dict().items()})

    def run(self, swa: Any, epochs: Iterator[int]) -> list[int]:
        seen = []
        for epoch in epochs:
            seen.append(epoch)
            self.train()
        return seen


def epochs_of(folder: str) -> list[int]:
    return sorted(int(path.name[6:10]) for path in Path(folder).iterdir())


def test_a_loop_in_plain_pytorch(here: Path, torch: Any) -> None:
    from swa_tools.integrations.pytorch import SWASnapshots

    loop, swa = Loop(torch, [0.1]), SWASnapshots(start=4, swa_lr=0.02)
    assert loop.run(swa, swa.epochs(6, loop.model, loop.optimizer)) == [1, 2, 3, 4, 5, 6]
    assert loop.rates == [0.1] * 9 + [0.02] * 9
    assert epochs_of("swa") == [4, 5, 6]
    inputs, labels = images(torch)
    right: list[bool] = []

    def validate() -> float:
        loop.model.eval()
        right.append(all(torch.equal(loop.model.state_dict()[k], v) for k, v in loop.states[-1].items()))
        return float(loop.model(inputs).detach().sum())

    batches = [(inputs[rows], labels[rows]) for rows in torch.arange(96).split(32)]
    trained, averaged = swa.finish(loop.model, batches, validate)
    # The trained weights were validated, and then others.
    assert right == [True, False] and trained != averaged
    expected = mean(torch, loop.states[3:])
    written = torch.load("swa.pth", weights_only=True)
    again = network(torch)
    again.load_state_dict(expected)
    torch.optim.swa_utils.update_bn(batches, again)
    for name, tensor in again.state_dict().items():
        assert torch.equal(written[name], expected[name]), name
        assert torch.equal(loop.model.state_dict()[name], tensor), name
    # The hook is gone: the rate is the loop's own again.
    loop.train()
    loop.train()
    assert loop.rates[-1] == 0.1


def test_cycles_of_a_loop(here: Path, torch: Any) -> None:
    from swa_tools.integrations.pytorch import SWASnapshots

    loop, swa = Loop(torch, [0.1, 0.05, 0.01]), SWASnapshots(start=2, at_cycle_end=True)
    loop.run(swa, swa.epochs(8, loop.model, loop.optimizer))
    assert epochs_of("swa") == [3, 6, 8]
    for epoch in (3, 6, 8):
        stored = torch.load(f"swa/epoch_{epoch:04}.pth", weights_only=True)
        for name, tensor in loop.states[epoch - 1].items():
            assert torch.equal(stored[name], tensor), (epoch, name)
    # Going on, and batches that the loop must take apart.
    swa = SWASnapshots(start=9, every=2)
    assert loop.run(swa, swa.epochs(12, loop.model, loop.optimizer, first=9)) == [9, 10, 11, 12]
    assert epochs_of("swa") == [3, 6, 8, 9, 11]
    batch = {"inputs": images(torch)[0]}
    swa.finish(loop.model, [batch], lambda: None, "all.pth", lambda batch: loop.model(batch["inputs"]))
    with pytest.raises(UsageError, match="has no snapshots"):
        SWASnapshots(folder="none").finish(loop.model, [batch], lambda: None)


def process(rank: int, folder: str, damaged: bool) -> None:
    import torch

    os.chdir(folder)
    store = torch.distributed.FileStore("store", 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    from swa_tools.integrations.pytorch import SWASnapshots

    model: Any = network(torch)
    torch.manual_seed(rank)
    swa = SWASnapshots(start=1)
    swa.begin(1, 3)
    # In a training no process is an epoch ahead of another that has not begun.
    torch.distributed.barrier()
    for epoch in range(1, 4):
        # Each process has weights of its own here; those of rank 0 count.
        torch.nn.init.normal_(model[0].weight)
        swa.snapshots.save(model, epoch)
    torch.distributed.barrier()
    if damaged and rank == 0:
        Path("swa/epoch_0002.pth").write_bytes(b"no checkpoint")
    try:
        swa.finish(model, images(torch)[0].chunk(2)[rank].chunk(2), lambda: None)
        torch.save(model.state_dict(), f"rank_{rank}.pth")
    except InputError as error:
        Path(f"failed_{rank}").write_text(f"{error.file}: {error}")
    torch.distributed.destroy_process_group()


def spawn(torch: Any, here: Path, damaged: bool) -> None:
    """Both processes, which end."""
    running = torch.multiprocessing.spawn(process, (str(here), damaged), nprocs=2, join=False)
    until = time.monotonic() + 240
    try:
        # It returns whenever one of them ends.
        while not running.join(timeout=5):
            assert time.monotonic() < until, "they wait for each other"
    finally:
        for one in running.processes:
            one.kill()


def test_two_processes(here: Path, torch: Any) -> None:
    spawn(torch, here, damaged=False)
    states = [torch.load(f"swa/epoch_{epoch:04}.pth", weights_only=True) for epoch in (1, 2, 3)]
    assert len(list(Path("swa").iterdir())) == 3
    model = network(torch)
    model.load_state_dict(mean(torch, states))
    # The mean over all batches, whoever had them.
    torch.optim.swa_utils.update_bn(images(torch)[0].chunk(4), model)
    first, second = (torch.load(f"rank_{rank}.pth", weights_only=True) for rank in (0, 1))
    for name, tensor in model.state_dict().items():
        assert torch.equal(first[name], second[name]), name
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(first[name], tensor, rtol=1e-5, atol=1e-5)


def test_what_the_first_process_meets_reaches_the_others(here: Path, torch: Any) -> None:
    spawn(torch, here, damaged=True)
    first, second = (Path(f"failed_{rank}").read_text() for rank in (0, 1))
    assert first == second and first.startswith("swa/epoch_0002.pth: `swa/epoch_0002.pth`: ")
