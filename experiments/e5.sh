#!/bin/sh
# E5: what surrounds the optima of e1a.sh (the same DATA and STATES).
. "$(dirname "$0")/common.sh"
pixels="--preset cifar-vgg16"

landscapes e1a 81 115 150
