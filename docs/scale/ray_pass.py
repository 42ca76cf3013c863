"""Shares swa-avg, or a pass of swa-bn-update or swa-eval, between the workers of a Ray cluster.

    python ray_pass.py --parts 8 --cpus 4 \
        --part "swa-avg 'run/step-*' -o averaged --threads 4" --merge 'swa-avg --finish averaged'

    python ray_pass.py --parts 8 --cpus 4 --folder bn_parts \
        --part 'swa-bn-update swa.safetensors --data imagenet/train --threads 4 --save-stats' \
        --merge 'swa-bn-update swa.safetensors -o swa_bn.safetensors --merge-stats'

    python ray_pass.py --parts 8 --gpus 1 --folder val_parts \
        --part 'swa-eval swa_bn.safetensors --data imagenet/val --save-outcomes' \
        --merge 'swa-eval --merge-outcomes'

With --folder, commands end with the flag that takes the parts, which go there. Models, data and the folder lie where every worker sees them, and
the tools are on PATH there. A part that was interrupted goes on from its state when Ray tries it again; one that
is there already is not made again.
"""

import argparse
import os
import shlex
import subprocess

import ray


@ray.remote(max_retries=3, retry_exceptions=True)
def make(command, shard, path, folder):
    if path is None:
        subprocess.run(command + ["--shard", shard, "--quiet"], cwd=folder, check=True)
    elif not os.path.exists(path):
        more = [path, "--shard", shard, "--resume", path + ".state", "--quiet"]
        subprocess.run(command + more, cwd=folder, check=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--parts", type=int, required=True, help="how many")
    parser.add_argument("--folder", help="where the parts go, of commands that save some")
    parser.add_argument("--part", required=True, help="the command that makes a part")
    parser.add_argument("--merge", required=True, help="the command that merges them")
    parser.add_argument("--cpus", type=float, default=1, help="of each worker")
    parser.add_argument("--gpus", type=float, default=0, help="of each worker")
    args = parser.parse_args()
    paths = [None] * args.parts
    if args.folder:
        os.makedirs(args.folder, exist_ok=True)
        paths = [os.path.abspath(f"{args.folder}/{i}.part") for i in range(args.parts)]
    ray.init()
    task = make.options(num_cpus=args.cpus, num_gpus=args.gpus)
    part = shlex.split(args.part)
    ray.get(
        [
            task.remote(part, f"{i}/{args.parts}", path, os.getcwd())
            for i, path in enumerate(paths)
        ]
    )
    subprocess.run(shlex.split(args.merge) + [path for path in paths if path], check=True)


if __name__ == "__main__":
    main()
