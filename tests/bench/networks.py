#!/usr/bin/env python3
"""Times preprocessing, swa-eval and swa-bn-update against the same work in PyTorch and torchvision, in turn, on the CPU.

    VENV/bin/python tests/bench/networks.py [--minutes 11] [--pairs 5]    # VENV: fixtures/fashion-mnist/requirements.txt

- Preprocessing: decode, resize, crop of JPEGs on one thread, for two seconds at a time. Ours: tests/bench/preprocess.rs.
- PreResNet-8, 10,000 Fashion-MNIST images, batch 128: images in one tensor in memory.
- torchvision's networks, JPEGs of 500×375, batch 32: ImageFolder and DataLoader with two workers, torchvision's
  transforms on Pillow.

Ours is timed from outside, as a whole process. PyTorch is timed inside, after its imports (which ours does not have),
with the same batch size and number of threads. Each row gets its share of the minutes and ends with it; the first pair
warms up and does not count. Prints Markdown.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import photos
import safetensors.torch
import torch
import torchvision
from PIL import Image
from torchvision import datasets, transforms

ROOT = Path(__file__).parents[2]
FASHION = ROOT / "fixtures/fashion-mnist"
BIN = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
sys.path.insert(0, str(FASHION))
from checkpoints import machine  # noqa: E402
from network import PreResNet, normalise, read_idx  # noqa: E402

PIXELS = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])


class Fashion:
    name, batch = "PreResNet-8, 10,000 images of 28×28", 128

    def __init__(self, folder):
        self.model, self.folder = FASHION / "ckpt_0240.safetensors", folder
        self.train = self.test = FASHION
        self.flags = ["--preset", "fashion-mnist", "--batch-size", str(self.batch)]

    def network(self):
        return PreResNet()

    def batches(self, split):
        part = {"train": "train", "test": "t10k"}[split]
        x = torch.from_numpy(read_idx(FASHION / f"{part}-images-idx3-ubyte.gz"))[:, None]
        y = torch.from_numpy(read_idx(FASHION / f"{part}-labels-idx1-ubyte.gz")).long()
        for at in range(0, len(x), self.batch):
            yield normalise(x[at : at + self.batch]), y[at : at + self.batch]


class ImageNet:
    """One of torchvision's networks, on `images` JPEGs."""

    batch = 32

    def __init__(self, folder, arch, title, images):
        torch.manual_seed(0)
        self.name, self.arch, self.folder = f"{title}, {images} JPEGs of 500×375", arch, folder
        self.model = folder / f"{arch}.safetensors"
        safetensors.torch.save_file(self.network().state_dict(), self.model)
        self.train = self.test = folder / f"photos{images}"
        if not self.train.exists():
            photos.write(self.train, images, 4)
        self.flags = ["--preset", "imagenet", "--batch-size", str(self.batch)]

    def network(self):
        options = {"memory_efficient": False} if self.arch.startswith("densenet") else {}
        return torchvision.models.get_model(self.arch, num_classes=4, **options)

    def batches(self, split):
        normalise = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        data = datasets.ImageFolder(self.train, transforms.Compose([PIXELS, transforms.ToTensor(), normalise]))
        yield from torch.utils.data.DataLoader(data, self.batch, shuffle=split == "train", num_workers=2)


def torch_seconds(case, job):
    started = time.perf_counter()
    network = case.network()
    network.load_state_dict(safetensors.torch.load_file(case.model))
    if job == "eval":
        network.eval()
        correct = 0
        with torch.inference_mode():
            for x, y in case.batches("test"):
                correct += (network(x).argmax(1) == y).sum().item()
    else:
        torch.optim.swa_utils.update_bn(case.batches("train"), network)
        safetensors.torch.save_file(network.state_dict(), case.folder / "theirs")
    return time.perf_counter() - started


def our_seconds(case, job):
    tool = "swa-eval" if job == "eval" else "swa-bn-update"
    data = case.test if job == "eval" else case.train
    command = [BIN / tool, case.model, "--data", data, *case.flags, "--json", "--quiet"]
    if job != "eval":
        command += ["-o", case.folder / "ours", "--force", "--method", "cma"]
    started = time.perf_counter()
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    seconds = time.perf_counter() - started
    json.loads(out.stdout)
    return seconds


def our_pixels(folder, seconds):
    """Seconds an image."""
    command = [BIN / "examples/preprocess", folder, str(seconds)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, "RAYON_NUM_THREADS": "1"})
    return 1 / json.loads(out.stdout)["images_per_second"]


def their_pixels(folder, seconds):
    files, images, started = sorted(folder.iterdir()), 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        for path in files:
            PIXELS(Image.open(path).convert("RGB"))
        images += len(files)
    return (time.perf_counter() - started) / images


def paired(ours, theirs, pairs, minutes):
    """Times in turn, until there are enough or the minutes are over; at least one pair counts."""
    end = time.monotonic() + 60 * minutes
    times = []
    while len(times) <= pairs:
        started = time.monotonic()
        times.append((ours(), theirs()))
        now = time.monotonic()
        if len(times) > 1 and now + (now - started) > end:
            break
    return times[1:]


def row(name, job, times, text):
    ours, theirs = zip(*times)
    ratios = [b / a for a, b in times]
    print(
        f"| {name} | {job} | {text(statistics.median(ours))} | {text(statistics.median(theirs))} "
        f"| {statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f}) | {len(times)} |",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=5, help="at most, for each row")
    parser.add_argument("--minutes", type=float, default=11, help="for all")
    arguments = parser.parse_args()
    pairs = arguments.pairs
    print(f"{machine()}, torch {torch.__version__}, interleaved pairs, medians\n")
    print("| network and data | job | ours | PyTorch | times as fast, pair by pair (range) | pairs |")
    print("|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        cases = [
            # What is asked for, and its share of the time.
            (lambda: Fashion(folder), 2),
            (lambda: ImageNet(folder, "resnet50", "ResNet-50", 96), 4),
            (lambda: ImageNet(folder, "resnet152", "ResNet-152", 32), 2.5),
            (lambda: ImageNet(folder, "densenet161", "DenseNet-161", 32), 2.5),
        ]
        share = arguments.minutes / 11.5
        photos.write(folder / "pixels", 64, 1)
        files = folder / "pixels/class0000"
        pixels = paired(lambda: our_pixels(files, 2), lambda: their_pixels(files, 2), pairs, share / 2)
        name = f"JPEGs of 500×375, {1e3 * photos.megabytes(files):.0f} kB"
        row(name, "decode, resize, crop, one thread", pixels, lambda t: f"{1 / t:.0f} images/s")
        for make, part in cases:
            case = make()
            for job, label in (("eval", "evaluation"), ("bn", "batchnorm pass (`cma`)")):
                times = paired(lambda: our_seconds(case, job), lambda: torch_seconds(case, job), pairs, share * part / 2)
                row(case.name, label, times, lambda t: f"{t:.2f} s")


if __name__ == "__main__":
    main()
