"""What to measure with: checkpoints with real models' names and shapes and Gaussian values; and the machine's name.
Standard library only."""

import array
import json
import math
import os
import platform
import random
import struct
from datetime import date


def resnet152():
    """Names and shapes of torchvision's ResNet-152."""
    tensors = {}

    def conv(name, o, i, k):
        tensors[f"{name}.weight"] = [o, i, k, k]

    def norm(name, n):
        for part in ("weight", "bias", "running_mean", "running_var"):
            tensors[f"{name}.{part}"] = [n]
        tensors[f"{name}.num_batches_tracked"] = []

    conv("conv1", 64, 3, 7)
    norm("bn1", 64)
    inputs = 64
    for stage, blocks in enumerate((3, 8, 36, 3)):
        width = 64 << stage
        for block in range(blocks):
            at = f"layer{stage + 1}.{block}"
            for i, shape in enumerate([(width, inputs, 1), (width, width, 3), (4 * width, width, 1)], 1):
                conv(f"{at}.conv{i}", *shape)
                norm(f"{at}.bn{i}", shape[0])
            if block == 0:
                conv(f"{at}.downsample.0", 4 * width, inputs, 1)
                norm(f"{at}.downsample.1", 4 * width)
            inputs = 4 * width
    tensors["fc.weight"], tensors["fc.bias"] = [1000, 2048], [1000]
    return tensors


def language_model():
    """Names and shapes of a language model of 1.1 billion parameters."""
    tensors = {"model.embed_tokens.weight": [32000, 2048]}
    parts = {"q": [2048, 2048], "k": [256, 2048], "v": [256, 2048], "o": [2048, 2048], "norm": [2048],
             "gate": [5632, 2048], "up": [5632, 2048], "down": [2048, 5632]}
    for i in range(22):
        tensors |= {f"model.layers.{i}.{name}.weight": shape for name, shape in parts.items()}
    return tensors | {"lm_head.weight": [32000, 2048]}


def square(size):
    """One matrix in fp32 of about so many bytes."""
    return {"weight": [math.isqrt(size // 4)] * 2}


def small(count):
    """So many small tensors."""
    return {f"blocks.{i}.weight": [8, 8] for i in range(count)}


def values(dtype):
    """Gaussian values: enough that no two tensors of a model begin alike."""
    rng = random.Random(0)
    if dtype == "F32":
        return array.array("f", (rng.gauss(0, 0.05) for _ in range(100_003))).tobytes()
    return b"".join(struct.pack("<f", rng.gauss(0, 0.02))[2:] for _ in range(500_003))


def write_all(folder, tensors, dtype, count):
    """So many safetensors files; each begins elsewhere in the values. Tensors without dimensions are integers."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors.items():
        kind, size = (dtype, {"F32": 4, "BF16": 2}[dtype]) if shape else ("I64", 8)
        end = at + size * math.prod(shape)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    pool = values(dtype)
    for i in range(count):
        turn = 4 * 7919 * i % len(pool)
        own, left = pool[turn:] + pool[:turn], at
        with open(folder / f"ckpt_{i:04}.safetensors", "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            while left > 0:
                file.write(own[:left])
                left -= len(own)


def machine():
    """Today, and what the figures are from."""
    lines = open("/proc/cpuinfo").read().splitlines()
    models = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kernel = platform.release().split("-")[0]
    model = models[0] if models else platform.machine()
    return f"{date.today()}, {os.cpu_count()} cores of {model}, {memory:.0f} GiB, Linux {kernel}"
