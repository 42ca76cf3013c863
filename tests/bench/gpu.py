#!/usr/bin/env python3
"""Images a second of evaluation on a GPU, and the table of docs/performance.md, in one go (about ten minutes):

    make build                                  # with a CUDA build of PyTorch 2.11, its libtorch is found
    VENV/bin/python tests/bench/gpu.py          # VENV: fixtures/fashion-mnist/requirements.txt, torch for CUDA
    VENV/bin/python tests/bench/gpu.py --device cpu --quick      # does the script run? writes nothing

For each network and precision:

- ours: swa-eval on JPEGs of 500×375, start-up apart (`pace` in its --json), and the batch that it found;
- limit: the network in PyTorch, channels last, on images that are on the device already, 256 at a time;
- peer: the same with torchvision's ImageFolder and DataLoader, a worker a core, pinned memory;
- decoding: what the cores decode, resize and crop with nothing else to do (tests/bench/preprocess.rs, one a core).

The last column is ours over the smaller of limit and decoding.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import document
import photos
import safetensors.torch
import torch
import torchvision
from checkpoints import machine
from torchvision import datasets, transforms

ROOT = Path(__file__).parents[2]
BIN = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
NETWORKS = {"resnet50": "ResNet-50", "resnet152": "ResNet-152", "densenet161": "DenseNet-161"}
TYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}


class Run:
    """What all measurements share."""

    def __init__(self, arguments, folder):
        self.device, self.quick, self.folder = torch.device(arguments.device), arguments.quick, Path(folder)
        self.cuda = self.device.type == "cuda"
        self.images = 16 if self.quick else arguments.images
        self.classes = 8 if self.quick else 1000
        self.batch = 8 if self.quick else 256
        self.cores = len(os.sched_getaffinity(0))
        photos.write(self.folder / "photos", self.images, self.classes)

    def wait(self):
        if self.cuda:
            torch.cuda.synchronize()

    def network(self, arch, precision):
        """With the weights of the file that ours reads."""
        tf32 = precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = True
        network = torchvision.models.get_model(arch, num_classes=self.classes)
        network.load_state_dict(safetensors.torch.load_file(self.weights(arch)))
        return network.eval().to(self.device, TYPES[precision], memory_format=torch.channels_last)

    def weights(self, arch):
        path = self.folder / f"{arch}.safetensors"
        if not path.exists():
            torch.manual_seed(0)
            network = torchvision.models.get_model(arch, num_classes=self.classes)
            safetensors.torch.save_file(network.state_dict(), path)
        return path

    def ours(self, arch, precision):
        command = [BIN / "swa-eval", self.weights(arch), "--data", self.folder / "photos", "--preset", "imagenet",
                   "--precision", precision, "--device", str(self.device), "--json", "--quiet"]  # fmt: skip
        out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if out.returncode:
            sys.exit(f"{arch}, {precision}: {out.stderr.strip()}")
        return json.loads(out.stdout)

    def limit(self, network, precision):
        x = torch.rand(self.batch, 3, 224, 224, device=self.device, dtype=TYPES[precision])
        x = x.to(memory_format=torch.channels_last)
        with torch.inference_mode():
            for _ in range(1 if self.quick else 5):
                network(x)
            self.wait()
            started, count = time.perf_counter(), 0
            while count == 0 or (not self.quick and time.perf_counter() - started < 5):
                network(x)
                count += 1
                if count % 5 == 0:
                    self.wait()
            self.wait()
        return count * self.batch / (time.perf_counter() - started)

    def peer(self, network, precision):
        transform = transforms.Compose([
            transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ])  # fmt: skip
        data = datasets.ImageFolder(self.folder / "photos", transform)
        workers = 1 if self.quick else self.cores
        started, correct = time.perf_counter(), 0
        with torch.inference_mode():
            for x, y in torch.utils.data.DataLoader(data, self.batch, num_workers=workers, pin_memory=self.cuda):
                x = x.to(self.device, TYPES[precision], non_blocking=True, memory_format=torch.channels_last)
                correct += (network(x).argmax(1) == y.to(self.device, non_blocking=True)).sum()
            correct.item()
        return self.images / (time.perf_counter() - started)

    def decoding(self):
        """Of all cores together."""
        folder = next((self.folder / "photos").iterdir())
        command = [BIN / "examples/preprocess", folder, "1" if self.quick else "5"]
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(self.cores)]
        return sum(json.loads(process.communicate()[0])["images_per_second"] for process in processes)


def table(run, precisions):
    card = torch.cuda.get_device_name(run.device) if run.cuda else "no GPU"
    decoding = run.decoding()
    yield f"{machine()}; {card}; torch {torch.__version__}, {run.images} images; images/s"
    yield ""
    yield f"The cores decode {decoding:.0f} images/s."
    yield ""
    yield "| network | precision | swa-eval | its batch | its limit | PyTorch on data on the device | PyTorch with DataLoader | swa-eval / min(device, decoding) |"
    yield "|---|---|---|---|---|---|---|---|"
    for arch, name in NETWORKS.items():
        for precision in precisions:
            network = run.network(arch, precision)
            limit, peer = run.limit(network, precision), run.peer(network, precision)
            del network
            if run.cuda:
                torch.cuda.empty_cache()  # ours is another process on the same GPU
            report = run.ours(arch, precision)
            pace = report["pace"]
            rate = pace["images_per_second"]
            yield (
                f"| {name} | {precision} | {rate:.0f} | {report['batch_size']} | {pace['limit']} | {limit:.0f} "
                f"| {peer:.0f} | {rate / min(limit, decoding):.2f} |"
            )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="a few images, to see the script run")
    parser.add_argument("--images", type=int, default=16384)
    arguments = parser.parse_args()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("this Python's torch finds no GPU (--device cpu --quick tries the script without)")
    with tempfile.TemporaryDirectory() as folder:
        run = Run(arguments, folder)
        lines = []
        for line in table(run, ["fp32", "tf32", "bf16"] if run.cuda else ["fp32", "bf16"]):
            print(line, flush=True)
            lines.append(line)
    if run.cuda and not arguments.quick:
        document.put("gpu", "\n".join(lines))
        print(f"written into {document.DOCUMENT}")


if __name__ == "__main__":
    main()
