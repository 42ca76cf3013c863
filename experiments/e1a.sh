#!/bin/sh
# E1a: VGG16 with batchnorm at a quarter of its width, on 10,000 images of CIFAR-10 (table 1 of Izmailov et al. 2018, scaled).
# B = 100 epochs; SGD at 1 and 1.5 B, SWA at 1, 1.25 and 1.5 B; the rate of averaging was chosen by e1a-rate.sh.
. "$(dirname "$0")/common.sh"
samples=10000 pixels="--preset cifar-vgg16"
recipe="$pixels --samples $samples --arch vgg-cifar-16-bn --width 16 --precision bf16 --lr 0.05 --wd 5e-4 --eval-every 5"

runs() {
    echo "swa $recipe --epochs 150 --swa-start 81 --swa-lr 0.02"
    echo "sgd-1.5 $recipe --epochs 150 --trunk $states/swa-@"
    echo "sgd $recipe --epochs 100 --trunk $states/swa-@"
}

seed_done() { budgets "$1" 81 100 125 150; }

experiment "$@"
