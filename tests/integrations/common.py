"""What the tests of docs/integrations.md share: its sections, run as they stand, a small network, and images to train it on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "integrations.md"
TOOLS = os.environ.get("SWA_TOOLS_BIN", str(ROOT / "target" / "release"))
CLASSES = 4


@dataclass
class Block:
    """Python between fences, or an indented command."""

    language: str
    code: str
    line: int


def section(title: str, may_lack: bool = False) -> list[Block]:
    """The code of a section of the page, in its order."""
    blocks: list[Block] = []
    inside = found = False
    fence: Block | None = None
    for number, line in enumerate(PAGE.read_text().splitlines(), 1):
        if fence is not None:
            if line == "```":
                fence = None
            else:
                fence.code += line + "\n"
        elif line.startswith("#"):
            inside = line.lstrip("#").strip() == title
            found |= inside
        elif inside and line.startswith("```"):
            fence = Block(line[3:], "", number + 1)
            blocks.append(fence)
        elif inside and line.startswith("    "):
            blocks.append(Block("sh", line.strip(), number))
    assert found, f"{PAGE} has no section {title}"
    assert blocks or may_lack, f"{title}: no code"
    return blocks


def run(title: str, variables: dict[str, Any]) -> dict[str, Any]:
    """Runs a section in the working directory, Python with these variables, and returns them."""
    for block in section(title):
        where = f"{PAGE.name}:{block.line}"
        if block.language == "python":
            code = "\n" * (block.line - 1) + block.code
            exec(compile(code, str(PAGE), "exec"), variables)
        elif block.language == "sh":
            shell(block.code, where)
        else:
            raise AssertionError(f"{where}: what is {block.language}?")
    return variables


def shell(command: str, where: str = "") -> str:
    """Runs a command with the tools on the path."""
    environment = {**os.environ, "PATH": f"{TOOLS}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"{where}: {command}\n{done.stdout}{done.stderr}"
    return done.stdout


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=4, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, CLASSES),
    )


def write_images(folder: Path, of_each: int, seed: int) -> None:
    """A folder for each class, of pictures in the class's colours with noise on them."""
    from PIL import Image

    generator = torch.Generator().manual_seed(seed)
    colours = torch.tensor([[180, 90, 90], [90, 180, 90], [90, 90, 180], [130, 130, 130]])
    for label in range(CLASSES):
        (folder / f"class_{label}").mkdir(parents=True)
        for number in range(of_each):
            noise = torch.randn(80, 80, 3, generator=generator) * 60
            shade = torch.randn(3, generator=generator) * 25
            pixels = (colours[label] + shade + noise).clamp(0, 255).to(torch.uint8)
            Image.fromarray(pixels.numpy()).save(folder / f"class_{label}" / f"{number}.png")


def read_images(folder: Path, resize: int = 64 * 256 // 224) -> tuple[Tensor, Tensor]:
    """All of them as a network of 64 × 64 takes them, by torchvision: what the preset imagenet does."""
    from torchvision import datasets, transforms

    pixels = transforms.Compose([
        transforms.Resize(resize),
        transforms.CenterCrop(64),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ])
    samples = list(datasets.ImageFolder(folder, pixels))
    return torch.stack([image for image, _ in samples]), torch.tensor([label for _, label in samples])


def mean(states: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean in f64, rounded once; of integers the last."""
    listed = [{name: tensor.detach().clone() for name, tensor in state.items()} for state in states]
    assert len(listed) > 1
    result = {}
    for name, last in listed[-1].items():
        if last.is_floating_point():
            total = sum(state[name].double() for state in listed)
            result[name] = (total / len(listed)).to(last.dtype)  # type: ignore[operator]
        else:
            result[name] = last
    return result


def assert_equal(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float = 0.0) -> None:
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    for name, tensor in expected.items():
        other = found[name]
        assert other.shape == tensor.shape and other.dtype == tensor.dtype, name
        if tolerance == 0.0:
            assert torch.equal(other, tensor), name
        else:
            torch.testing.assert_close(other, tensor, rtol=tolerance, atol=tolerance, msg=lambda m: f"{name}: {m}")


def update_bn(model: nn.Module, images: Tensor) -> None:
    """PyTorch's own, over all images as one batch, so that how batches are combined does not matter."""
    torch.optim.swa_utils.update_bn([images], model)


def check_statistics(model: nn.Module, images: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor], prefix: str = "") -> None:
    """Runs the page's common part for `model`, which holds the average, in swa.pth too: as PyTorch recomputes and evaluates."""
    run("Batchnorm and evaluation", {"model": model, "torch": torch})
    found = torch.load("swa_bn.pth", weights_only=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    update_bn(model, images[0])
    expected = model.state_dict()
    of_model = {name.removeprefix(prefix): tensor for name, tensor in found.items() if name.startswith(prefix)}
    moved = 0
    for name, tensor in expected.items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(of_model[name], tensor, rtol=1e-4, atol=1e-5)
            moved += not torch.equal(tensor, before[name])
    assert moved > 0, "no statistics moved"
    model.load_state_dict(of_model)
    model.eval()
    with torch.no_grad():
        logits = model(held_out[0])
    logits = getattr(logits, "logits", logits)
    correct = int((logits.argmax(1) == held_out[1]).sum())
    report = json.loads(shell("swa-eval swa_bn.pth --program model.pt2 --data data/val --json"))
    assert report["models"][0]["correct"] == correct, (report, correct)
    assert correct > len(held_out[1]) // 2, f"{correct}: nothing was learnt"


def numbers(folder: Path) -> list[int]:
    return sorted(int(re.findall(r"\d+", path.name)[0]) for path in folder.iterdir())


def alone(*tests: Callable[[tuple[Tensor, Tensor], tuple[Tensor, Tensor]], None]) -> None:
    """Runs tests without pytest, each in a folder of its own, once all Python of the page compiles."""
    sys.path.insert(0, str(ROOT / "python"))
    os.environ.setdefault("SWA_TOOLS_BIN", TOOLS)
    for title in re.findall(r"^#+ (.*)", PAGE.read_text(), re.MULTILINE):
        for block in section(title, may_lack=True):
            if block.language == "python":
                compile(block.code, f"{PAGE.name}:{block.line}", "exec")
    for test in tests:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            torch.manual_seed(0)
            torch.set_num_threads(1)
            parts = [Path("data/train"), Path("data/val")]
            for seed, (part, of_each) in enumerate(zip(parts, (24, 16))):
                write_images(part, of_each, seed)
            test(read_images(parts[0]), read_images(parts[1]))
            os.chdir("/")
