#!/usr/bin/env python3
"""The same mean in other ways, for comparison: python3 tests/bench/peers.py timm|lerp INPUT... OUTPUT

timm: as timm's avg_checkpoints.py goes about it, on timm's own reader: every tensor summed in f64, written as f32.
lerp: the running average that is mostly written by hand, torch.lerp in the tensors' own type.
"""

import sys

import torch


def timm(inputs, output):
    from timm.models import load_state_dict

    total = {}
    for path in inputs:
        for name, value in load_state_dict(path, use_ema=False, device="cpu").items():
            value = value.to(torch.float64)
            total[name] = total[name] + value if name in total else value
    torch.save({name: (value / len(inputs)).to(torch.float32) for name, value in total.items()}, output)


def lerp(inputs, output):
    from safetensors.torch import load_file, save_file

    mean = {}
    for n, path in enumerate(inputs, 1):
        for name, value in load_file(path).items():
            if n > 1 and value.is_floating_point():
                mean[name].lerp_(value, 1 / n)
            else:
                mean[name] = value
    save_file(mean, output)


if __name__ == "__main__":
    with torch.no_grad():
        globals()[sys.argv[1]](sys.argv[2:-1], sys.argv[-1])
