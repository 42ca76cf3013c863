#!/bin/sh
# The rate of averaging for E1b, chosen on 5,000 training images that are held out: one seed at 24 epochs.
. "$(dirname "$0")/common.sh"
SEEDS=1
recipe="--preset cifar10 --samples 10000 --hold-out 5000 --arch preresnet-20 --precision bf16 --lr 0.1 --wd 3e-4"

runs() {
    echo "swa-lr-0.05 $recipe --epochs 36 --swa-start 21 --swa-lr 0.05"
    for rate in 0.02 0.01; do
        echo "swa-lr-$rate $recipe --epochs 36 --swa-start 21 --swa-lr $rate --trunk $states/swa-lr-0.05-@"
    done
    echo "sgd $recipe --epochs 24 --trunk $states/swa-lr-0.05-@"
}

seed_done() { :; }

experiment "$@"
