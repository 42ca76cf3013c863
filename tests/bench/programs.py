#!/usr/bin/env python3
"""Times exported programs in swa-eval and swa-bn-update against PyTorch and against the built-in network, on the CPU.

    VENV/bin/python tests/bench/programs.py [--minutes 15] [--pairs 5]    # VENV: fixtures/fashion-mnist/requirements.txt

- Networks on JPEGs of 500×375 in batches of 32, as in networks.py: beside the module itself (eager) and, in evaluation, beside
  the module that `torch.export.load` gives (`program.module()`; it has no training mode).
- ResNet-50 as a program beside the same one as a built-in network.
- Small networks, one image of 32×32 at a time: what running node by node costs. Seconds of SMALL images beyond those of FEW, by
  the number of images between: loading and start-up are left out, on both sides.

Ours is timed from outside, as a whole process; PyTorch inside, after its imports and with the program's loading.
Prints Markdown.
"""

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import networks
import safetensors.torch
import torch
import torchvision
from checkpoints import machine
from networks import BIN, ImageNet, paired, row
from PIL import Image

FEW, SMALL = 64, 1064


def export(model, size, path):
    example = torch.randn(2, 3, size, size)
    torch.export.save(torch.export.export(model.eval(), (example,), dynamic_shapes=({0: torch.export.Dim("batch")},)), path)


class Program(ImageNet):
    """As a program; `network` is what PyTorch runs."""

    def __init__(self, folder, arch, title, images):
        super().__init__(folder, arch, title, images)
        self.program = folder / f"{arch}.pt2"
        if not self.program.exists():
            export(self.network(), 224, self.program)
        self.builtin = list(self.flags)
        self.flags = [*self.flags, "--program", self.program]

    def network(self):
        return torchvision.models.get_model(self.arch, num_classes=4)

    def module_seconds(self):
        """Evaluation by `program.module()`."""
        started = time.perf_counter()
        network = torch.export.load(self.program).module()
        network.load_state_dict(safetensors.torch.load_file(self.model))
        correct = 0
        with torch.inference_mode():
            for x, y in self.batches("test"):
                correct += (network(x).argmax(1) == y).sum().item()
        return time.perf_counter() - started

    def builtin_seconds(self, job):
        kept, self.flags = self.flags, self.builtin
        try:
            return networks.our_seconds(self, job)
        finally:
            self.flags = kept


class Small:
    """A small network on small images, one at a time."""

    def __init__(self, folder, arch):
        torch.manual_seed(0)
        self.model = torchvision.models.get_model(arch, num_classes=4).eval()
        self.weights, self.program, self.data = folder / f"{arch}.safetensors", folder / f"{arch}-32.pt2", folder / "small"
        export(self.model, 32, self.program)
        safetensors.torch.save_file(self.model.state_dict(), self.weights)
        for i in range(0 if self.data.exists() else SMALL):
            path = self.data / f"class{i % 4}" / f"{i:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.effect_noise((32, 32), 64 + i % 64).convert("RGB").save(path)
        self.images = torch.randn(SMALL, 1, 3, 32, 32)

    def ours(self):
        seconds = []
        for count in (FEW, SMALL):
            command = [BIN / "swa-eval", self.weights, "--program", self.program, "--data", self.data, "--preset", "imagenet"]
            command += ["--resize", "32", "--crop", "32", "--batch-size", "1", "--samples", str(count), "--json", "--quiet"]
            started = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.PIPE)
            seconds.append(time.perf_counter() - started)
        return (seconds[1] - seconds[0]) / (SMALL - FEW)

    def theirs(self, network):
        with torch.inference_mode():
            for x in self.images[:FEW]:
                network(x)
            started = time.perf_counter()
            for x in self.images[FEW:]:
                network(x).argmax(1).item()
        return (time.perf_counter() - started) / (SMALL - FEW)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=5, help="at most, for each row")
    parser.add_argument("--minutes", type=float, default=15, help="for all")
    arguments = parser.parse_args()
    pairs, minutes = arguments.pairs, arguments.minutes / 15
    print(f"{machine()}, torch {torch.__version__}, interleaved pairs, medians\n")
    print("| network and data | job | ours, as a program | the other | times as fast, pair by pair (range) | pairs |")
    print("|---|---|---|---|---|---|", flush=True)
    cases = [
        ("efficientnet_b0", "EfficientNet-B0"),
        ("mobilenet_v3_large", "MobileNetV3-Large"),
        ("regnet_y_800mf", "RegNetY-800MF"),
        ("resnet50", "ResNet-50"),
    ]
    seconds = lambda t: f"{t:.2f} s"  # noqa: E731
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for arch, title in cases:
            case = Program(folder, arch, title, 96)
            ours = lambda job: networks.our_seconds(case, job)  # noqa: E731
            rows = [
                ("evaluation; eager", "eval", lambda: networks.torch_seconds(case, "eval")),
                ("evaluation; `program.module()`", "eval", case.module_seconds),
                ("batchnorm pass (`cma`); eager", "bn", lambda: networks.torch_seconds(case, "bn")),
            ]
            if arch == "resnet50":
                rows += [
                    ("evaluation; built-in", "eval", lambda: case.builtin_seconds("eval")),
                    ("batchnorm pass (`cma`); built-in", "bn", lambda: case.builtin_seconds("bn")),
                ]
            for label, job, theirs in rows:
                row(case.name, label, paired(lambda: ours(job), theirs, pairs, minutes), seconds)
        for arch, title in (("shufflenet_v2_x0_5", "ShuffleNetV2 ×0.5"), ("mobilenet_v3_small", "MobileNetV3-Small")):
            case = Small(folder, arch)
            module = torch.export.load(case.program).module()
            for label, network in (("eager", case.model), ("`program.module()`", module)):
                times = paired(case.ours, lambda: case.theirs(network), pairs, minutes / 2)
                row(f"{title}, one 32×32 image", f"evaluation, an image; {label}", times, lambda t: f"{1e3 * t:.2f} ms")


if __name__ == "__main__":
    main()
