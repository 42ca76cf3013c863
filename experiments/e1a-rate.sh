#!/bin/sh
# The rate of averaging for E1a, chosen on 5,000 training images that are held out: one seed at 30 epochs.
. "$(dirname "$0")/common.sh"
SEEDS=1
recipe="--preset cifar-vgg16 --samples 10000 --hold-out 5000 --arch vgg-cifar-16-bn --width 16 --lr 0.05 --wd 5e-4"

runs() {
    echo "swa-lr-0.02 $recipe --epochs 45 --swa-start 25 --swa-lr 0.02"
    for rate in 0.05 0.01; do
        echo "swa-lr-$rate $recipe --epochs 45 --swa-start 25 --swa-lr $rate --trunk $states/swa-lr-0.02-@"
    done
    echo "sgd $recipe --epochs 30 --trunk $states/swa-lr-0.02-@"
}

seed_done() { :; }

experiment "$@"
