#!/bin/sh
# E4: fine-tuning with a cyclical rate (section 4.2 of Izmailov et al. 2018, their ImageNet runs; a stand-in on CIFAR-10):
# ten cycles of an epoch from the decayed SGD of e1a.sh (the same STATES).
. "$(dirname "$0")/common.sh"
samples=10000 pixels="--preset cifar-vgg16"

runs() {
    echo "tuned $pixels --samples $samples --precision bf16 --init $base/e1a/sgd-@/results/last.safetensors --wd 5e-4" \
        "--epochs 10 --schedule sawtooth --cycle 1 --lr 0.01 --swa-lr 0.0001 --swa-start 1 --eval-every 1"
}

seed_done() {
    average tuned "$1" 1 5 swa-5
    average tuned "$1" 1 10 swa-10
    evaluate "$1" models "../e1a/sgd-$1/results/last.safetensors" "swa-5-$1.safetensors" "swa-10-$1.safetensors" \
        "tuned-$1/ckpt_0010.safetensors"
}

experiment "$@"
