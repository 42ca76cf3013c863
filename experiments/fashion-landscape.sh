#!/bin/sh
# What surrounds the optima of fashion.sh (the same DATA and STATES).
. "$(dirname "$0")/common.sh"
pixels="--preset fashion-mnist"

landscapes fashion 49 69 90
