#!/usr/bin/env python3
"""Times swa-eval and swa-bn-update against the same work in PyTorch, in turn, on the CPU.

    VENV/bin/python tests/bench/networks.py [--pairs 5]        # VENV: fixtures/fashion-mnist/requirements.txt

Ours is timed from outside, as a whole process. PyTorch is timed inside, after its imports (which
ours does not have), with the same batch size and number of threads:

- PreResNet-8, 10,000 Fashion-MNIST images, batch 128: images in one tensor in memory.
- torchvision's ResNet-50, JPEGs of 500×375, batch 32: ImageFolder and DataLoader with two workers,
  torchvision's transforms on Pillow.
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
from train import PreResNet, normalise, read_idx  # noqa: E402

IMAGES = 96


class Fashion:
    name, batch = "PreResNet-8, 10,000 images of 28×28", 128

    def __init__(self, folder):
        self.model, self.folder = FASHION / "ckpt_0040.safetensors", folder
        self.train = self.test = FASHION
        self.flags = ["--preset", "fashion-mnist"]

    def network(self):
        return PreResNet()

    def batches(self, split):
        part = {"train": "train", "test": "t10k"}[split]
        x = torch.from_numpy(read_idx(FASHION / f"{part}-images-idx3-ubyte.gz"))[:, None]
        y = torch.from_numpy(read_idx(FASHION / f"{part}-labels-idx1-ubyte.gz")).long()
        for at in range(0, len(x), self.batch):
            yield normalise(x[at : at + self.batch]), y[at : at + self.batch]


class ResNet50:
    name, batch = f"ResNet-50, {IMAGES} JPEGs of 500×375", 32

    def __init__(self, folder):
        torch.manual_seed(0)
        self.folder, self.model = folder, folder / "resnet50.safetensors"
        safetensors.torch.save_file(torchvision.models.resnet50(num_classes=4).state_dict(), self.model)
        self.train = self.test = folder / "photos"
        self.flags = ["--preset", "imagenet", "--batch-size", str(self.batch)]
        photos = sorted((ROOT / "fixtures/pixels/photos").rglob("*.*"))
        for i in range(IMAGES):
            photo = Image.open(photos[i % len(photos)]).convert("RGB").rotate(i // len(photos))
            path = self.train / f"class{i % 4}" / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            photo.resize((500, 375)).save(path, quality=90)

    def network(self):
        return torchvision.models.resnet50(num_classes=4)

    def batches(self, split):
        transform = transforms.Compose([
            transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ])  # fmt: skip
        data = datasets.ImageFolder(self.train, transform)
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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=5)
    pairs = parser.parse_args().pairs
    print(f"{machine()}, torch {torch.__version__}, {pairs} interleaved pairs, medians\n")
    print("| network and data | job | ours, whole process | PyTorch, after imports | ratio, pair by pair (range) |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for case in (Fashion(Path(folder)), ResNet50(Path(folder))):
            for job, label in (("eval", "evaluation"), ("bn", "batchnorm pass (`cma`)")):
                ours, theirs = [], []
                for pair in range(pairs + 1):
                    a, b = our_seconds(case, job), torch_seconds(case, job)
                    if pair:  # the first warms up
                        ours.append(a), theirs.append(b)
                ratios = [a / b for a, b in zip(ours, theirs)]
                print(
                    f"| {case.name} | {label} | {statistics.median(ours):.2f} s | {statistics.median(theirs):.2f} s "
                    f"| {statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f}) |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
