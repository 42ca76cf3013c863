#!/bin/sh
# The rate of averaging for fashion.sh, chosen on 2,000 of the shipped training images that are held out: one seed.
# DATA is fixtures/fashion-mnist.
. "$(dirname "$0")/common.sh"
SEEDS=1
recipe="--preset fashion-mnist --augment crop --hold-out 2000 --arch preresnet-8 --lr 0.1 --wd 5e-4"

runs() {
    echo "swa-lr-0.05 $recipe --epochs 60 --swa-start 33 --swa-lr 0.05"
    for rate in 0.1 0.02; do
        echo "swa-lr-$rate $recipe --epochs 60 --swa-start 33 --swa-lr $rate --trunk $states/swa-lr-0.05-@"
    done
    echo "sgd $recipe --epochs 40 --trunk $states/swa-lr-0.05-@"
}

seed_done() { :; }

experiment "$@"
