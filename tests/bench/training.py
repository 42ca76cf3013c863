#!/usr/bin/env python3
"""Times training in swa-train against PyTorch, in turn, each on one core and one thread.

    VENV/bin/python tests/bench/training.py [--minutes 12] [--pairs 5]    # VENV: fixtures/fashion-mnist/requirements.txt

Networks of CIFAR's size on IMAGES JPEGs of 32×32, batch 128, padding, random crop and flip, SGD with momentum. Ours: the seconds
of three epochs less those of one, divided by two: start, validation and the end are left out. PyTorch, eager, channels last:
- an epoch of an ImageFolder with torchvision's transforms on Pillow, in the same process;
- as many steps on a batch that lies in memory, normalised: no decoding, no augmentation.
In fp32, and in bf16: `--precision bf16` beside `torch.autocast`. Prints Markdown.
"""

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from checkpoints import machine
from networks import BIN, paired, row
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torchvision import datasets, transforms

IMAGES, HELD_OUT, BATCH, CLASSES = 2560, 128, 128, 10


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x):
        y = self.conv1(F.relu(self.bn1(x), inplace=True))
        y = self.conv2(F.relu(self.bn2(y), inplace=True))
        return y.add_(self.shortcut(x))


def preresnet():
    layers, inputs = [nn.Conv2d(3, 16, 3, 1, 1, bias=False)], 16
    for width in (16, 32, 64):
        for block in range(3):
            layers.append(Block(inputs, width, 2 if block == 0 and width > 16 else 1))
            inputs = width
    return nn.Sequential(*layers, nn.BatchNorm2d(64), nn.ReLU(True), nn.AvgPool2d(8), nn.Flatten(), nn.Linear(64, CLASSES))


def vgg():
    layers, inputs = [], 3
    for width in (16, 16, 0, 32, 32, 0, 64, 64, 64, 0, 128, 128, 128, 0, 128, 128, 128, 0):
        if width == 0:
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(inputs, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU(True)]
            inputs = width
    hidden = [nn.Dropout(), nn.Linear(128, 128), nn.ReLU(True)]
    return nn.Sequential(*layers, nn.Flatten(), *hidden, *hidden, nn.Linear(128, CLASSES))


def write_images(folder):
    random = np.random.default_rng(0)
    for i in range(IMAGES + HELD_OUT):
        path = folder / f"class{i % CLASSES}" / f"{i:05}.jpg"
        path.parent.mkdir(exist_ok=True)
        smooth = random.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(smooth).resize((32, 32), Image.Resampling.BICUBIC).save(path, quality=90)


def theirs(build, batches, precision):
    network = build().to(memory_format=torch.channels_last).train()
    sgd = torch.optim.SGD(network.parameters(), 0.05, 0.9, weight_decay=5e-4)
    started = time.perf_counter()
    for x, y in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = F.cross_entropy(network(x.contiguous(memory_format=torch.channels_last)), y)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        loss.item()
    return time.perf_counter() - started


def ours(arch, data, folder, precision):
    def run(epochs):
        with tempfile.TemporaryDirectory(dir=folder) as run:
            flags = ["--samples", str(IMAGES), "--hold-out", str(HELD_OUT), "--batch-size", str(BATCH), "--threads", "1"]
            flags += ["--epochs", str(epochs), "--lr", "0.05", "--eval-every", "100", "--preset", "cifar10", "--quiet"]
            flags += ["--precision", precision]
            started = time.perf_counter()
            subprocess.run([BIN / "swa-train", f"{run}/run", "--data", data, *arch, *flags], check=True, stdout=subprocess.DEVNULL)
            return time.perf_counter() - started

    return (run(3) - run(1)) / 2


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=5, help="at most, for each row")
    parser.add_argument("--minutes", type=float, default=12, help="for all")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{machine()}, one core, torch {torch.__version__}, interleaved pairs, medians\n")
    print("| network | PyTorch's images | ours | PyTorch | times as fast, pair by pair (range) | pairs |")
    print("|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "images"
        data.mkdir()
        write_images(data)
        crop = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
        values = transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
        images = datasets.ImageFolder(data, transforms.Compose([*crop, values]))
        images = torch.utils.data.Subset(images, range(IMAGES))
        memory = (torch.randn(BATCH, 3, 32, 32), torch.randint(0, CLASSES, (BATCH,)))
        cases = [
            ("PreResNet-20", ["--arch", "preresnet-20"], preresnet),
            ("VGG16 with batchnorm, a quarter as wide", ["--arch", "vgg-cifar-16-bn", "--width", "16"], vgg),
        ]
        sources = [
            ("ImageFolder", lambda: torch.utils.data.DataLoader(images, BATCH, shuffle=True)),
            ("a batch in memory", lambda: [memory] * (IMAGES // BATCH)),
        ]
        rows = [(precision, *case, *source) for precision in ("fp32", "bf16") for case in cases for source in sources]
        for precision, name, arch, build, label, batches in rows:
            times = paired(
                lambda: ours(arch, data, folder, precision),
                lambda: theirs(build, batches(), precision),
                arguments.pairs,
                arguments.minutes / len(rows),
            )
            row(f"{name}, {precision}", label, times, lambda t: f"{IMAGES / t:.0f} images/s")


if __name__ == "__main__":
    main()
