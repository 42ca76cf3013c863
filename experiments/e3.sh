#!/bin/sh
# E3: a constant rate from scratch (figure 7 of Izmailov et al. 2018, scaled): Wide ResNet-10-2 on 10,000 images of CIFAR-10,
# averaged from epoch 28 of 60 on, beside SGD that decays over the same 60 epochs.
. "$(dirname "$0")/common.sh"
samples=10000 pixels="--preset cifar10"
recipe="$pixels --samples $samples --arch wideresnet-10-2 --precision bf16 --wd 5e-4 --epochs 60 --eval-every 5"

runs() {
    echo "constant $recipe --schedule constant --lr 0.05 --swa-start 28"
    echo "sgd $recipe --lr 0.05"
}

seed_done() {
    average constant "$1" 28 60 swa-1
    evaluate "$1" models "sgd-$1/results/last.safetensors" "swa-1-$1.safetensors" "constant-$1/ckpt_0060.safetensors"
}

experiment "$@"
