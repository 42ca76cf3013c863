#!/bin/sh
# E1b: PreResNet-20 on 10,000 images of CIFAR-10 (table 1 of Izmailov et al. 2018, scaled).
# B = 48 epochs; SGD at 1 and 1.5 B, SWA at 1, 1.25 and 1.5 B; the rate of averaging was chosen by e1b-rate.sh.
. "$(dirname "$0")/common.sh"
samples=10000 pixels="--preset cifar10"
recipe="$pixels --samples $samples --arch preresnet-20 --precision bf16 --lr 0.1 --wd 3e-4 --eval-every 6"

runs() {
    echo "swa $recipe --epochs 72 --swa-start 41 --swa-lr 0.05"
    echo "sgd-1.5 $recipe --epochs 72 --trunk $states/swa-@"
    echo "sgd $recipe --epochs 48 --trunk $states/swa-@"
}

seed_done() { budgets "$1" 41 48 60 72; }

experiment "$@"
