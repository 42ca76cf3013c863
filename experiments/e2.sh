#!/bin/sh
# E2: ensembles beside SWA, from the runs of e1a.sh (the same STATES). Fast geometric ensembling (Garipov et al. 2018): a
# triangle of two epochs from epoch 81 on; snapshot ensembles (Huang et al. 2017): five cosines in the budget of SGD.
. "$(dirname "$0")/common.sh"
samples=10000 pixels="--preset cifar-vgg16"
recipe="$pixels --samples $samples --precision bf16 --wd 5e-4 --swa-start 1"

runs() {
    echo "fge $recipe --init $base/e1a/swa-@/ckpt_0081.safetensors --epochs 20 --schedule triangle --cycle 2 --lr 0.05 --swa-lr 0.005"
    echo "cosine $recipe --arch vgg-cifar-16-bn --width 16 --epochs 100 --schedule cosine --cycle 20 --lr 0.1"
}

# ensemble SEED FILE SNAPSHOT…: the snapshots' ensemble beside SGD and SWA of the same budget.
ensemble() {
    seed=$1 file=$2
    shift 2
    evaluate "$seed" "$file" "../e1a/sgd-$seed/results/last.safetensors" "../e1a/swa-1-$seed.safetensors" "$@" '--ensemble=ckpt_*'
}

seed_done() {
    cd "$states"
    ensemble "$1" fge fge-"$1"/ckpt_*.safetensors
    ensemble "$1" cosine cosine-"$1"/ckpt_*.safetensors
    # Every second snapshot within B.
    ensemble "$1" snapshots ../e1a/swa-"$1"/ckpt_00[89][02468].safetensors ../e1a/swa-"$1"/ckpt_0100.safetensors
}

experiment "$@"
