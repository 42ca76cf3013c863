#!/bin/sh
# The rate of averaging for fashion-2500.sh, chosen on 2,000 other training images that are held out: one seed.
# DATA is fixtures/fashion-mnist.
. "$(dirname "$0")/common.sh"
SEEDS=1
recipe="--preset fashion-mnist --augment crop --hold-out 2000 --samples 2500 --arch preresnet-8 --width 16 --precision bf16 --lr 0.1 --wd 5e-4 --eval-every 16"

runs() {
    echo "swa-lr-0.05 $recipe --epochs 240 --swa-start 129 --swa-lr 0.05"
    for rate in 0.1 0.02; do
        echo "swa-lr-$rate $recipe --epochs 240 --swa-start 129 --swa-lr $rate --trunk $states/swa-lr-0.05-@"
    done
    echo "sgd $recipe --epochs 160 --trunk $states/swa-lr-0.05-@"
    echo "sgd-1.5 $recipe --epochs 240 --trunk $states/swa-lr-0.05-@"
}

seed_done() { :; }

experiment "$@"
