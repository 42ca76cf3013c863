#!/bin/sh
# PreResNet-8 on the 10,000 training images of Fashion-MNIST that are shipped: DATA is fixtures/fashion-mnist.
# B = 60 epochs; SGD at 1 and 1.5 B, SWA at 1, 1.25 and 1.5 B; the rate of averaging was chosen by fashion-rate.sh.
. "$(dirname "$0")/common.sh"
samples=10000 pixels="--preset fashion-mnist" augment=crop
recipe="$pixels --augment $augment --arch preresnet-8 --lr 0.1 --wd 5e-4 --eval-every 5"

runs() {
    echo "swa $recipe --epochs 90 --swa-start 49 --swa-lr 0.02"
    echo "sgd-1.5 $recipe --epochs 90 --trunk $states/swa-@"
    echo "sgd $recipe --epochs 60 --trunk $states/swa-@"
}

seed_done() { budgets "$1" 49 60 75 90; }

experiment "$@"
