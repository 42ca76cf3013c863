#!/bin/sh
# E5: what surrounds the optima of e1a.sh (the same STATES): figures 1, 3, 4 and 5 of Izmailov et al. 2018, scaled.
. "$(dirname "$0")/common.sh"
run=$base/e1a
images="--data $data --preset cifar-vgg16 --threads $PROCESSES --wd 5e-4"

# draw NAME COMMAND MODEL…
draw() {
    out=$1
    shift
    [ ! -e "$results/$out.json" ] || return 0
    (cd "$run" && swa-landscape "$@" $images --resume "$states/$out.state" -o "$states/$out.json" --svg "$states/$out.svg" --force -q)
    keep "$states/$out.svg" "$out.svg"
    keep "$states/$out.json" "$out.json"
}

draw rays rays swa-1.5-1.safetensors sgd-1/results/last.safetensors
draw rays-norm rays swa-1.5-1.safetensors sgd-1/results/last.safetensors --units norm
draw snapshots plane swa-1/ckpt_0081.safetensors swa-1/ckpt_0115.safetensors swa-1/ckpt_0150.safetensors --project swa-1.5-1.safetensors
draw trunk plane swa-1/ckpt_0081.safetensors swa-1-1.safetensors sgd-1/results/last.safetensors
draw line line swa-1.5-1.safetensors sgd-1/results/last.safetensors
