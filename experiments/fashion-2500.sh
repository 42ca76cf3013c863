#!/bin/sh
# PreResNet-8 on 2,500 of the shipped training images of Fashion-MNIST: DATA is fixtures/fashion-mnist. So few leave a gap
# between training and test images. The snapshots of `make demo` are of seed 1.
# B = 160 epochs; SGD at 1 and 1.5 B, SWA at 1, 1.25 and 1.5 B; the rate of averaging was chosen by fashion-2500-rate.sh.
. "$(dirname "$0")/common.sh"
samples=2500 pixels="--preset fashion-mnist" augment=crop
recipe="$pixels --augment $augment --samples $samples --arch preresnet-8 --precision bf16 --lr 0.1 --wd 5e-4 --eval-every 8"

runs() {
    echo "swa $recipe --epochs 240 --swa-start 129 --swa-lr 0.1"
    echo "sgd-1.5 $recipe --epochs 240 --trunk $states/swa-@"
    echo "sgd $recipe --epochs 160 --trunk $states/swa-@"
}

seed_done() { budgets "$1" 129 160 200 240; }

experiment "$@"
